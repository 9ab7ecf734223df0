"""A short Mountain Car search whose old data are those of a made-up policy."""

import dataclasses

import numpy as np
import pytest

from lightning_pz.replay.transitions import Transitions
from lightning_pz.search.algorithm_settings import OffPolicySettings
from lightning_pz.search.algorithms import make_search
from lightning_pz.search.objective import Objective
from lightning_pz.search.settings import SearchSettings

SPACES = ("latent", "widened", "weights")
SMALL = OffPolicySettings(
    enough=60, critic_updates=6, joint_updates=4, hidden=[8, 8], batch=16, latent_rate=0.1, actor_rate=1e-2
)


@pytest.fixture(scope="session")
def old_transitions() -> Transitions:
    """Return 300 transitions that no environment made: a position that the action moves, rewarded, with a few ends."""
    generator = np.random.default_rng(0)
    before = generator.uniform((-1.0, -0.05), (0.5, 0.05), (300, 2)).astype(np.float32)
    actions = generator.uniform(-1, 1, (300, 1)).astype(np.float32)
    after = before + np.float32(0.01) * actions
    ends = generator.random(300) < 0.1
    return Transitions(before, actions, after[:, 0].astype(np.float64), after, ends, np.arange(300) // 30)


@pytest.fixture(scope="module")
def problem(short_problem):
    return dataclasses.replace(short_problem, spec=dataclasses.replace(short_problem.spec, horizon=25))


def settings_of(algorithm="td3", space="widened", **more):
    given = {
        "budget": 300, "evaluate_every": 100, "starts": 2, "start_share": 1.0, "evaluation_episodes": 2, "test_episodes": 2, "checkpoint_seconds": 0.0,
        "off_policy": SMALL,
    }  # fmt: skip
    return SearchSettings(algorithm=algorithm, space=space, **given | more)


@pytest.fixture
def make(problem, latents, weights, old_transitions):
    """Return a function from settings to a search with old data if the settings have any."""

    def made(settings, **more):
        old = (lambda: old_transitions) if settings.reads_old_data else None
        return make_search(settings, Objective(problem), latents, weights, old=old, **more)

    return made


def to_the_end(search, state):
    taken = []
    while state.learner.steps + search.cost(state) <= search.budget:
        state, generation = search.step(state)
        taken.append(generation)
    return state, taken


def weights_of(state):
    return state.learner.params()


def settings_size(make):
    return make(settings_of()).problem.network.layout.num_params
