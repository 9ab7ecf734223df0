"""One trained autoencoder with short episodes, for the tests of `finetune`."""

import pytest

from lightning_pz import fit


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
