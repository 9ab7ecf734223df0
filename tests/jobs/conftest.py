"""Trained autoencoders with short episodes: one for the tests of `finetune`, one of several sizes of policy."""

import pytest

from lightning_pz import collect, fit


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the checkpoint of a tiny fit on Mountain Car, with episodes of 100 steps."""
    result = fit.main([
        "--env", "mountaincar", "--env.horizon", "100", "--policy", "small", "--model.latent_dim", "2",
        "--logs", str(tmp_path_factory.mktemp("logs")),
        "--data.random.candidates", "200", "--data.random.neighbors", "3",
        "--data.random.states", "{probe: 16, train: 16, val: 8, test: 8, episodes: 2}",
        "--data.steps_per_epoch", "20", "--trainer.max_steps", "20", "--trainer.log_every_n_steps", "10",
        "--data.batch_size", "16", "--data.states_per_step", "8",
        "--model.encoder_widths", "[16]", "--model.decoder_widths", "[16]",
    ])  # fmt: skip
    return result.summary["checkpoint"]


STATES = "{probe: 16, train: 24, val: 12, test: 12}"
TINY_SIZES = [
    "--env", "mountaincar", "--policy", "small", "--model.latent_dim", "2", "--model.encoder_widths", "[32]",
    "--model.decoder_widths", "[32]", "--data.batch_size", "32", "--data.states_per_step", "8", "--data.steps_per_epoch", "10",
    "--trainer.max_steps", "30", "--trainer.log_every_n_steps", "5", "--decodes", "6-5", "--env.horizon", "40",
]  # fmt: skip
PAIRED = ["--policies", "8", "--episodes", "2", "--draws", "10", "--best", "3", "--threads", "1"]
DISTILLED = ["--fresh_episodes", "3", "--threads", "1"]
PLAYED = [*PAIRED, *DISTILLED]


@pytest.fixture(scope="session")
def two_pools(tmp_path_factory):
    """Make two_pools of two sizes, with states of their own; returns both folders with a comma between them."""
    folder = tmp_path_factory.mktemp("pools")
    for policy, seed in (("small", "0"), ("4", "1")):
        widths = [] if policy == "small" else ["--policy.hidden", "[4]", "--policy.name", "four"]
        collect.main([
            "--env", "mountaincar", "--policy", "small", *widths, "--candidates", "300", "--neighbors", "5", "--seed", seed,
            "--states", STATES, "--env.horizon", "40", "--pool", str(folder / policy),
        ])  # fmt: skip
    return f"{folder / 'small'},{folder / '4'}"


@pytest.fixture(scope="session")
def fitted_sizes(two_pools, tmp_path_factory):
    """Finish a tiny fit of two pools and a third size; returns its `FitResult`."""
    return fit.main([*TINY_SIZES, "--data.pool", two_pools, "--logs", str(tmp_path_factory.mktemp("sizes"))])
