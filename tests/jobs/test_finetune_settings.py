"""Words that a search does not use are told, by the flags that were written."""

import pytest

from lightning_pz.common.errors import UserError
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


_CHANGES = {
    "starts": 7, "start_share": 0.5, "start_episodes": 3, "latents": "gaussian", "anchor": False, "replay": 0.25,
    "answers_by": "steps", "answer_episodes": 77,
}  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--algorithm", "bo"],
        ["--algorithm", "ppo"],
        ["--algorithm", "pgpe", "--start", "pool_best"],
        ["--algorithm", "cmaes", "--start", "pool_top"],
        ["--algorithm", "parameter_pgpe", "--answers_at", "[1, 2]"],
        ["--algorithm", "random_latent"],
        ["--algorithm", "td3", "--space", "weights", "--start", "pool_best"],
        ["--algorithm", "tqc", "--space", "widened"],
        OWN,
    ],
)
@pytest.mark.parametrize("name", _CHANGES)
def test_a_setting_decides_something_or_is_told(words, name):
    given = [*words, f"--{name}={_CHANGES[name]}"]
    try:
        changed = parse(given)[1]
    except UserError:  # refused
        return
    decides = changed.identity() != parse(words)[1].identity()
    assert decides != (f"--{name}" in unused_words(given, changed))
