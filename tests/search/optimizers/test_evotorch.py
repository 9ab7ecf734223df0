"""Step by step equal to EvoTorch's functional PGPE, given the same noise. Runs where EvoTorch is installed."""

import pytest
import torch

from lightning_pz.search.algorithm_settings import PgpeSettings
from lightning_pz.search.optimizers.pgpe import Pgpe

functional = pytest.importorskip("evotorch.algorithms.functional")


@pytest.mark.parametrize("optimizer", ["clipup", "adam"])
def test_equal_to_evotorch(optimizer):
    size, sigma = 5, 0.4
    settings = PgpeSettings(
        population=12, sigma=sigma, sigma_rate=0.3, optimizer=optimizer, max_speed=0.5, learning_rate=0.25
    )
    start = torch.linspace(-1, 1, size, dtype=torch.double)
    speed = settings.max_speed * sigma * size**0.5
    rate, config = (
        (speed / 2, {"max_speed": speed, "momentum": settings.momentum})
        if optimizer == "clipup"
        else (0.25 * sigma, {})
    )
    theirs = functional.pgpe(
        center_init=start, center_learning_rate=rate, stdev_learning_rate=0.3, objective_sense="max",
        ranking_method="centered", optimizer=optimizer, optimizer_config=config, stdev_init=sigma, stdev_max_change=0.2,
    )  # fmt: skip
    pgpe = Pgpe(settings)
    ours = pgpe.begin(start, 3)
    scale = torch.tensor([1.0, 4.0, 0.5, 2.0, 1.0], dtype=torch.double)
    for _ in range(30):
        ours, points = pgpe.ask(ours)
        fitness = -(scale * (points - 0.3).square()).sum(1)
        theirs = functional.pgpe_tell(theirs, points, fitness)
        ours = pgpe.tell(ours, points, fitness)
        assert torch.allclose(ours.center, theirs.optimizer_state.center, atol=1e-12)
        assert torch.allclose(ours.sigma, theirs.stdev, atol=1e-12)
    assert not torch.allclose(ours.sigma, torch.full_like(ours.sigma, sigma), rtol=0.05)
