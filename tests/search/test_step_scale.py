"""The first step told in what policies do: checked by taking it, and off unless asked for."""

from dataclasses import replace

import pytest
import torch

from lightning_pz.autoencoder.module import load_autoencoder
from lightning_pz.errors import UserError
from lightning_pz.policy import act_shared
from lightning_pz.search.algorithm_settings import CmaesSettings, PgpeSettings
from lightning_pz.search.settings import SearchSettings
from lightning_pz.search.step_scale import with_behavior_step
from lightning_pz.single_run import build


@pytest.mark.parametrize("change", [0.02, 0.001])
def test_a_sigma_along_the_steepest_direction_changes_behavior_as_told(network, latents, change):
    states = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    settings = with_behavior_step(SearchSettings(behavior_step=change), network.layout, states, latents)
    sigma = settings.pgpe.sigma
    assert settings.cmaes.sigma == sigma
    generator = torch.Generator().manual_seed(1)
    directions = torch.nn.functional.normalize(torch.randn(2000, 3, generator=generator, dtype=torch.double), dim=1)
    steepest = []
    with torch.no_grad():
        for point in latents.draw(32, 0):
            here = act_shared(network.layout, latents.decode(point[None]), states).double()
            there = act_shared(network.layout, latents.decode(point + sigma * directions), states).double()
            steepest.append((there - here).square().mean((1, 2)).sqrt().max())
    # Finite steps in the best of many random directions, against derivatives along the very best one.
    assert float(torch.stack(steepest).mean()) == pytest.approx(change, rel=0.05)


def test_it_is_off_unless_asked_for(network, latents):
    plain = SearchSettings()
    assert with_behavior_step(plain, network.layout, torch.zeros(1, 2), latents) is plain
    # Runs that were finished before this setting existed are found again.
    assert "behavior_step" not in plain.identity()
    assert replace(plain, behavior_step=0.1).identity() != plain.identity()


def test_the_search_begins_with_it(fitted):
    model = load_autoencoder(fitted.summary["checkpoint"])
    sigmas = []
    for step in (None, 0.05, 0.1):
        _, search = build(model, SearchSettings(behavior_step=step, starts=2), 1)
        sigmas.append(search.optimizer.settings.sigma)
    assert sigmas[0] == PgpeSettings().sigma and sigmas[2] == pytest.approx(2 * sigmas[1])
    _, search = build(model, SearchSettings(algorithm="cmaes", behavior_step=0.05, starts=2), 1)
    assert search.optimizer.settings.sigma == sigmas[1] != CmaesSettings().sigma


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"behavior_step": 0.0}, "--behavior_step expects a number above 0"),
        ({"behavior_step": 0.1, "algorithm": "parameter_pgpe"}, "--behavior_step goes with --algorithm pgpe or cmaes"),
    ],
)
def test_bad_settings(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        SearchSettings(**settings).check()
