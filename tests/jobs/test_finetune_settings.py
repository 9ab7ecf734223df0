"""Words that a search does not use are told, by the flags that were written."""

import pytest

from lightning_pz.finetune import parse
from lightning_pz.jobs.finetune_settings import unused_words

OWN = ["--algorithm", "sac", "--space", "own", "--replay", "0.5"]


@pytest.mark.parametrize(
    "words, told",
    [
        (["--pgpe.sigma", "0.4", "--budget=300"], []),
        (["--algorithm", "cmaes", "--pgpe.sigma=0.4", "--pgpe.sigma=0.5", "--cmaes.sigma", "1"], ["--pgpe.sigma"]),
        (["--algorithm", "parameter_pgpe", "--pgpe.sigma", "0.4", "--bo.step", "0.1"], ["--bo.step"]),
        (["--algorithm", "sac", "--off_policy.discount", "0.5"], ["--off_policy.discount"]),
        (["--algorithm", "sac", "--space", "weights", "--start", "pool_best", "--off_policy.discount", "0.5"], []),
        (["--algorithm", "sac", "--space", "weights", "--baselines.chunk", "50"], ["--baselines.chunk"]),
        (
            [*OWN, "--off_policy.best", "6", "--off_policy.enough", "9", "--off_policy.batch", "8"],
            ["--off_policy.batch"],
        ),
    ],
)
def test_flags_of_sections_that_are_not_used(words, told):
    assert unused_words(words, parse(words)[1]) == told
