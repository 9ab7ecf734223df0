"""The first step by the change of behavior that it makes: checked by taking it, and off by default."""

from dataclasses import replace

import pytest
import torch

from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.jobs.finetune_run import build_search
from lightning_pz.policy import act_shared
from lightning_pz.search.algorithm_settings import CmaesSettings, PgpeSettings
from lightning_pz.search.algorithms import make_search
from lightning_pz.search.objective import Objective
from lightning_pz.search.settings import SearchSettings
from lightning_pz.search.starts import behavior_sigma


@pytest.mark.parametrize("change", [0.02, 0.001])
def test_a_sigma_along_the_steepest_direction_changes_behavior_by_that_much(network, latents, change):
    states = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    sigma = behavior_sigma(SearchSettings(behavior_step=change), network.layout, states, latents)
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
    assert behavior_sigma(plain, network.layout, torch.zeros(1, 2), latents) is None
    # Runs that were finished before this setting existed are found again.
    assert "behavior_step" not in plain.identity()
    assert replace(plain, behavior_step=0.1).identity() != plain.identity()


def test_the_search_begins_with_it(fitted):
    model = load_autoencoder(fitted.summary["checkpoint"])
    sigmas = []
    for step in (None, 0.05, 0.1):
        _, search = build_search(model, SearchSettings(behavior_step=step, starts=2), 1)
        sigmas.append(search.optimizer.settings.sigma)
    assert sigmas[0] == PgpeSettings().sigma and sigmas[2] == pytest.approx(2 * sigmas[1])
    _, search = build_search(model, SearchSettings(algorithm="cmaes", behavior_step=0.05, starts=2), 1)
    assert search.optimizer.settings.sigma == sigmas[1] != CmaesSettings().sigma


@pytest.mark.parametrize("widen", [None, 0.5])
def test_it_is_a_length_of_the_latents_alone(latents, weights, short_problem, widen):
    """Weights keep their own unit: as an offset beside the latents, and once the decoder is released."""
    settings = SearchSettings(starts=2, widen=widen, release_decoder_at=1, pgpe=PgpeSettings(population=4))
    spread, steps = {}, {}
    for sigma in (None, 8.0):
        search = make_search(settings, Objective(short_problem), latents, weights, latent_sigma=sigma)
        state = search.step(search.begin())[0]
        assert float(search.optimizer.sigma(state.inner)) == pytest.approx(sigma or 0.15)
        if widen is not None:
            aside = torch.zeros(1, search.space.size, dtype=torch.double)
            aside[0, -1] = float(state.inner.sigma[-1])
            spread[sigma] = search.space.decode(aside) - search.space.decode(torch.zeros_like(aside))
        state, generation = search.step(state)
        assert state.released and generation.sigma == pytest.approx(0.15, rel=0.2)
        steps[sigma] = state.inner.mover.max_speed
    assert steps[8.0] == steps[None] == pytest.approx(0.3 * 0.15 * weights.size**0.5)
    if widen is not None:
        torch.testing.assert_close(spread[8.0], spread[None])


def test_a_released_search_does_not_carry_it_into_weights(fitted):
    model = load_autoencoder(fitted.summary["checkpoint"])
    _, search = build_search(
        model, SearchSettings(behavior_step=0.5, release_decoder_at=1, starts=1, pgpe=PgpeSettings(population=4)), 1
    )
    state, first = search.step(search.begin())
    _, released = search.step(state)
    assert first.sigma > 1 and released.sigma == pytest.approx(PgpeSettings().sigma, rel=0.2)


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"behavior_step": 0.0}, "--behavior_step expects a number above 0"),
        (
            {"behavior_step": 0.1, "algorithm": "parameter_pgpe"},
            "--behavior_step 0.1 goes with --algorithm pgpe or cmaes",
        ),
    ],
)
def test_bad_settings(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        SearchSettings(**settings)
