"""How many threads a command takes."""

import pytest

from lightning_pz.common import processes
from lightning_pz.common.errors import UserError
from lightning_pz.evaluation.groups import EvaluateConfig
from lightning_pz.pool.grown_recipe import GrownRecipe


@pytest.mark.parametrize(
    ("asked", "shared", "wanted"),
    [
        (None, None, 16),
        (None, "1", 1),
        (None, "4", 4),
        (None, "64", 16),
        (None, "", 16),
        (None, "4,2", 16),
        (None, "0", 16),
        (3, "1", 3),
        (32, None, 32),
    ],
)
def test_threads_are_those_asked_for_or_what_this_process_may_use(asked, shared, wanted, monkeypatch):
    monkeypatch.setattr(processes, "available_cores", lambda: 16)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if shared is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", shared)
    assert (
        processes.threads_or_all(asked)
        == GrownRecipe(threads=asked).cores
        == EvaluateConfig(threads=asked).cores
        == wanted
    )


@pytest.mark.parametrize("kind", [GrownRecipe, EvaluateConfig])
def test_no_threads_are_refused(kind):
    with pytest.raises(UserError, match="--threads expects at least 1, but got 0"):
        kind(threads=0)
