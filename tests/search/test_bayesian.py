"""Bayesian optimization by single episodes: what it tries, what it answers, and how soon."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.policy import Layout, PolicyNetwork
from lightning_pz.search.algorithm_settings import BoSettings
from lightning_pz.search.bayesian import ANCHORED, DECODED, GIVEN, BoSearch, Candidate
from lightning_pz.search.objective import Objective, PolicyReturns
from lightning_pz.search.settings import SearchSettings
from lightning_pz.search.spaces import SearchSpace

SIZE, NOISE = 4, 0.3
NETWORK = PolicyNetwork(Layout(1, (1,), 1), *torch.tensor([[0.0], [1.0], [-1.0], [1.0]]))  # with 4 weights


class Quadratic(Objective):
    """An objective whose noisy returns fall with the squared distance from a point; `broken` gives NaN."""

    problem = SimpleNamespace(network=NETWORK, spec=SimpleNamespace(horizon=5))
    target = torch.tensor([0.8, -0.5, 1.0, 0.3])

    def __init__(self, noise=NOISE, broken=lambda params: False):
        self.noise, self.broken, self.tried = noise, broken, []

    def value(self, params):
        return -(params.double() - self.target).square().sum(1)

    def __call__(self, params, seeds):
        self.tried.append(params.clone())
        noise = np.stack([np.random.default_rng(seed).standard_normal(len(params)) for seed in seeds], axis=1)
        each = self.value(params).numpy()[:, None] + self.noise * noise
        each[[self.broken(row) for row in params]] = np.nan
        return PolicyReturns(each.mean(1), each, 5 * each.size)


def identity(points):
    return points.float()


def sample(count, generator):
    return torch.randn(count, SIZE, generator=generator, dtype=torch.double)


SPACE = SearchSpace(
    SIZE, identity, lambda n, seed: torch.zeros(n, SIZE, dtype=torch.double), lambda params: params.double(), sample
)


def run(search, episodes):
    state = search.begin()
    for _ in range(episodes):
        state, _ = search.step(state)
    return state


def test_it_finds_the_optimum_of_a_noisy_quadratic_sooner_than_random_search():
    after = {"bo": [], "random": []}
    for seed in range(4):
        objective = Quadratic()
        search = BoSearch(objective=objective, space=SPACE, settings=BoSettings(step=1.0), seed=seed)
        answer = search.incumbent(run(search, 40)).params[None]
        after["bo"].append(float(objective.value(answer)))
        points = identity(sample(40, torch.Generator().manual_seed(seed)))
        after["random"].append(float(objective.value(points[objective(points, [seed]).mean.argmax()][None])))
    assert np.mean(after["bo"]) > -0.5 and np.mean(after["bo"]) > np.mean(after["random"]) + 0.3


def test_before_the_first_episode_the_first_given_policy_is_the_answer_and_it_is_played_first():
    given = torch.randn(3, SIZE, generator=torch.Generator().manual_seed(0))
    objective = Quadratic()
    search = BoSearch(objective=objective, space=SPACE, settings=BoSettings(), seed=0, given=given)
    state = search.begin()
    assert torch.equal(search.incumbent(state).params, given[0]) and search.cost(state) == search.least_budget == 5
    after, generation = search.step(state)
    assert torch.equal(objective.tried[0], given[:1]) and generation.steps == after.steps == 5
    assert len(state.played) == 0 and torch.equal(search.incumbent(after).params, given[0])


def test_given_policies_are_tried_in_each_form():
    """The first as it is; all decoded, and decoded with their own shift, as are the steps from an anchored one."""
    given = Quadratic.target + torch.randn(6, SIZE, generator=torch.Generator().manual_seed(0))
    objective, anchored = Quadratic(), []

    def anchor(decoded, params):
        anchored.append(params.clone())
        return 0.1 * (params - params.roll(1, 1))

    def lossy(points):
        return 0.5 * points.float()

    space = SearchSpace(SIZE, lossy, SPACE.draw, SPACE.encode, sample)
    search = BoSearch(objective=objective, space=space, settings=BoSettings(), seed=0, given=given, anchor=anchor)
    state = run(search, 40)
    assert set(state.forms.tolist()) == {GIVEN, DECODED, ANCHORED} and set(state.origins.tolist()) <= set(range(6))
    for number, params in zip(state.played.tolist(), objective.tried, strict=True):
        origin, form, point = int(state.origins[number]), int(state.forms[number]), state.points[number]
        own = given[origin]
        shift = 0.1 * (own - own.roll(1, 0))
        wanted = {GIVEN: own, DECODED: lossy(point), ANCHORED: lossy(point) + shift}[form]
        torch.testing.assert_close(params[0], wanted)
    # Each shift is made once, and only for a policy that is tried.
    assert len({tuple(params[0].tolist()) for params in anchored}) == len(anchored) <= 6
    assert set(state.origins[state.forms == GIVEN].tolist()) == {0}
    pairs = list(zip(state.forms.tolist(), map(tuple, state.points.tolist()), state.origins.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)


def test_a_state_is_all_that_a_search_needs_to_go_on():
    """Another search from the state of the first goes the same way, its shifts made anew."""
    given = Quadratic.target + torch.randn(3, SIZE, generator=torch.Generator().manual_seed(0))

    def search():
        return BoSearch(
            objective=Quadratic(), space=SPACE, settings=BoSettings(), seed=1, given=given,
            anchor=lambda decoded, params: params - 0.5 * decoded,
        )  # fmt: skip

    straight, half, other = run(search(), 16), run(search(), 8), search()
    for _ in range(8):
        half, _ = other.step(half)
    assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(straight, half, strict=True))
    assert len(straight.played) == 16


@pytest.mark.parametrize("step", [1e-6, 0.01, 0.5])
def test_steps_have_at_most_the_standard_deviation_that_was_asked_for(step):
    search = BoSearch(objective=Quadratic(), space=SPACE, settings=BoSettings(step=step), seed=0)
    parent = Candidate(torch.zeros(SIZE, dtype=torch.double), DECODED, -1)
    steps = torch.stack([one.point for one in search._children([parent] * 200, torch.Generator().manual_seed(0))])
    # Lengths are uniform in their logarithm, from 0.03 or less: no rms beyond the largest, and many steps near it.
    assert steps.square().mean().sqrt() <= 1.01 * step
    assert steps.square().mean(1).sqrt().max() > 0.8 * step


def test_without_an_anchor_steps_go_from_what_the_decoder_makes():
    given = Quadratic.target + 0.1 * torch.randn(1, SIZE, generator=torch.Generator().manual_seed(0))
    search = BoSearch(objective=Quadratic(), space=SPACE, settings=BoSettings(), seed=0, given=given)
    state = run(search, 12)
    assert set(state.forms.tolist()) == {GIVEN, DECODED} and len(state.forms) > 3


def test_the_answer_is_the_best_mean_of_many_episodes_not_the_luckiest_one():
    """Between two policies with much noise, playing both again tells them apart."""
    given = torch.stack([Quadratic.target + 0.2, Quadratic.target + 1.2])
    right = 0
    for seed in range(3):
        objective = Quadratic(noise=2.0)
        search = BoSearch(objective=objective, space=SPACE, settings=BoSettings(step=0.05), seed=seed, given=given)
        state = run(search, 40)
        assert len(state.forms) < len(state.played)
        right += float(objective.value(search.incumbent(state).params[None])) > -1.5
    assert right == 3


def test_a_policy_that_turns_non_finite_is_never_the_answer():
    bad = torch.tensor([9.0, 9.0, 9.0, 9.0])
    given = torch.stack([bad, Quadratic.target + 3, Quadratic.target])
    objective = Quadratic(broken=lambda params: bool(torch.equal(params, bad)))
    search = BoSearch(objective=objective, space=SPACE, settings=BoSettings(), seed=0, given=given)
    state, generation = search.step(search.begin())
    assert np.isnan(generation.returns).all() and generation.is_lost
    for _ in range(8):
        state, _ = search.step(state)
        if torch.isfinite(state.returns).any():
            assert not torch.equal(search.incumbent(state).params, bad)
    assert torch.isfinite(state.returns).sum() > 4


def test_a_long_search_remembers_the_best_and_the_latest(monkeypatch):
    """Its answer is as good, and no episode costs more than those before."""
    monkeypatch.setattr("lightning_pz.search.bayesian._REMEMBERED", 12)
    objective = Quadratic()
    search = BoSearch(objective=objective, space=SPACE, settings=BoSettings(step=1.0), seed=0)
    state = run(search, 60)
    assert len(state.forms) > 12
    assert float(objective.value(search.incumbent(state).params[None])) > -1


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"start": "pool_top"}, "give --start pool_best, and --bo.policies"),
        ({"widen": 0.5}, "--widen 0.5 goes with --algorithm pgpe"),
    ],
)
def test_settings_that_do_not_go_with_it(given, sentence):
    with pytest.raises(UserError, match=sentence):
        SearchSettings(algorithm="bo", **given)


def test_its_identity_holds_its_own_settings_and_no_starts():
    one = SearchSettings(algorithm="bo").identity()
    assert one["bo"] == {"policies": 40, "step": 0.5} and not {"pgpe", "starts", "start_share"} & set(one)
    assert "bo" not in SearchSettings().identity()
