"""Ranks against a plain sort; settings outside their range are refused in a sentence."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from lightning_pz.common.errors import UserError
from lightning_pz.search.algorithm_settings import CmaesSettings, GradientSettings, PgpeSettings, RandomLatentSettings
from lightning_pz.search.optimizers.protocol import centered_ranks
from lightning_pz.search.settings import SearchSettings


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=20))
def test_ranks_equal_those_of_scipy(values):
    expected = (rankdata(values) - 1) / (len(values) - 1) - 0.5
    found = centered_ranks(torch.tensor(values, dtype=torch.double))
    assert torch.allclose(found, torch.from_numpy(expected), atol=1e-12)
    assert abs(float(found.mean())) < 1e-12


def test_what_is_not_finite_ranks_last():
    ranks = centered_ranks(torch.tensor([1.0, torch.nan, -50.0, -torch.inf], dtype=torch.double))
    assert ranks.tolist() == pytest.approx([0.5, -1 / 3, 1 / 6, -1 / 3])
    assert centered_ranks(torch.tensor([3.0])).tolist() == [0.0]


@pytest.mark.parametrize(
    "settings, sentence",
    [
        (SearchSettings(algorithm="pgep"), "Did you mean 'pgpe'"),
        (SearchSettings(budget=0), "--budget expects at least 1, but got 0"),
        (SearchSettings(test_episodes=1), "--test_episodes expects at least 2"),
        (SearchSettings(evaluate_every=0), "--evaluate_every expects"),
        (SearchSettings(checkpoint_seconds=-1.0), "--checkpoint_seconds expects"),
        (SearchSettings(algorithm="cmaes", release_decoder_at=5), "goes with --algorithm gradient"),
        (SearchSettings(algorithm="gradient", starts=2), "at most --starts"),
        (SearchSettings(pgpe=PgpeSettings(population=5)), "even number"),
        (SearchSettings(pgpe=PgpeSettings(sigma=float("nan"))), "--pgpe.sigma expects"),
        (SearchSettings(pgpe=PgpeSettings(momentum=1.0)), "--pgpe.momentum expects a share"),
        (SearchSettings(pgpe=PgpeSettings(sigma_rate=-1.0)), "--pgpe.sigma_rate expects"),
        (SearchSettings(pgpe=PgpeSettings(optimizer="clip")), "Did you mean 'clipup'"),
        (SearchSettings(cmaes=CmaesSettings(population=1)), "--cmaes.population expects"),
        (SearchSettings(random_latent=RandomLatentSettings(episodes=0)), "--random_latent.episodes expects"),
        (SearchSettings(gradient=GradientSettings(episodes=1)), "--gradient.episodes expects at least 2"),
        (SearchSettings(gradient=GradientSettings(discount=1.1)), "--gradient.discount expects"),
    ],
)
def test_settings_outside_their_range(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        settings.check()


def test_starts_take_their_share_of_the_budget_at_most():
    settings = SearchSettings(budget=200_000, starts=200, start_share=0.2)
    assert settings.count_starts(999) == 40 and settings.count_starts(50) == 200
    assert dataclasses.replace(settings, start_episodes=4).count_starts(999) == 10
    assert dataclasses.replace(settings, budget=10).count_starts(999) == 1
    assert dataclasses.replace(settings, budget=10, algorithm="gradient").count_starts(999) == 4
    with pytest.raises(UserError, match="--start_share expects"):
        SearchSettings(start_share=0.0).check()


def test_identity_holds_what_decides_the_result_and_nothing_else():
    base = SearchSettings()
    same = dataclasses.replace(base, checkpoint_seconds=1.0, cmaes=CmaesSettings(sigma=9.0))
    other = dataclasses.replace(base, pgpe=PgpeSettings(sigma=9.0))
    assert base.identity() == same.identity() != other.identity()
    assert "budget" in base.identity() and "starts" not in SearchSettings(algorithm="sac").identity()
