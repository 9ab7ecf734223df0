"""Latents with an offset of all weights beside them: against the two spaces that it is made of."""

import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.policy import Prior, prior_scale
from lightning_pz.search.algorithm_settings import PgpeSettings
from lightning_pz.search.algorithms import make_search
from lightning_pz.search.objective import Objective
from lightning_pz.search.settings import SearchSettings
from lightning_pz.search.spaces import widened_space


def test_without_an_offset_it_is_the_decoder_and_an_offset_is_in_units_of_the_prior(network, latents, weights):
    space, k = widened_space(latents, weights, 0.5), latents.size
    points = space.draw(4, 0)
    assert points.shape == (4, k + network.layout.num_params) and not points[:, k:].any()
    torch.testing.assert_close(points[:, :k], latents.draw(4, 0))
    with torch.no_grad():
        torch.testing.assert_close(space.decode(points), latents.decode(points[:, :k]))
        offset = torch.randn(4, weights.size, generator=torch.Generator().manual_seed(0), dtype=torch.double)
        moved = space.decode(points + torch.cat([torch.zeros(4, k), offset], 1)) - space.decode(points)
    torch.testing.assert_close(
        moved, (0.5 * offset * prior_scale(Prior(), network.layout)).float(), rtol=1e-3, atol=1e-5
    )


def test_the_latent_part_of_a_step_is_what_it_is_alone(latents, weights, short_problem):
    """Noise of many more coordinates does not drown it: the longest step grows with their number."""
    objective = Objective(short_problem)

    def first_steps(widen):
        lengths = []
        for seed in range(20):
            settings = SearchSettings(starts=1, seed=seed, widen=widen, pgpe=PgpeSettings(population=4))
            search = make_search(settings, objective, latents, weights)
            state = search.step(search.begin())[0]
            before = state.inner.center[: latents.size]
            lengths.append(float((search.step(state)[0].inner.center[: latents.size] - before).norm()))
        return torch.tensor(lengths)

    alone, beside = first_steps(None), first_steps(1e-9)
    # An offset of no weight leaves returns as they are; a step of fixed length is shared among directions of noise.
    assert float(beside.mean()) == pytest.approx(float(alone.mean()), rel=0.35)


def test_identity_and_bad_settings():
    assert "widen" not in SearchSettings().identity() and SearchSettings(widen=0.5).identity()["widen"] == 0.5
    for settings, sentence in (
        ({"widen": 0.0}, "--widen expects a number above 0"),
        ({"widen": 0.5, "algorithm": "cmaes"}, "--widen 0.5 goes with --algorithm pgpe"),
    ):
        with pytest.raises(UserError, match=sentence):
            SearchSettings(**settings)
