"""Outcomes against a plain Gymnasium loop, exact kernels, and closed forms."""

import gymnasium
import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

from lightning_pz.common.errors import UserError
from lightning_pz.envs.episodes import Step, TaskReturns, play_episodes
from lightning_pz.envs.forward import BatchForward
from lightning_pz.envs.rollout import rollout
from lightning_pz.envs.simulators import Physics, Transition, make_simulator
from lightning_pz.envs.specs import env_spec
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.growth.outcomes import (
    OutcomeObserver,
    effective_dimension,
    fourier_features,
    make_embedding,
    whiten,
)
from lightning_pz.policy import Layout, PolicyNetwork, Prior, draw_params

HORIZON = 40


def setting(env_id, count):
    spec = env_spec(env_id)
    layout = Layout(spec.observation_size, (6,), spec.action_size)
    size = spec.observation_size
    network = PolicyNetwork(
        layout, torch.linspace(-0.2, 0.3, size), torch.linspace(0.5, 2, size), torch.tensor(spec.action_low),
        torch.tensor(spec.action_high),
    )  # fmt: skip
    return spec, network, draw_params(Prior(gain=2.0), layout, 0, range(count))


def gymnasium_episode(spec, network, params, seed):
    """Standardized observations and actions in -1..1 of one episode, one line after another."""
    env = gymnasium.make(spec.id)
    module = network.layout.to_sequential(params)
    observation, _ = env.reset(seed=seed)
    seen, done, terminated = [], [], False
    with torch.no_grad():
        while len(seen) < HORIZON and not terminated:
            standardized = network.standardize(torch.as_tensor(observation).float())
            action = module(standardized)
            seen.append(standardized.double().numpy())
            done.append(action.double().numpy())
            observation, _, terminated, _, _ = env.step(network.scale(action).numpy())
    env.close()
    return np.array(seen), np.array(done)


@pytest.mark.parametrize("env_id", ["Hopper-v5", "MountainCarContinuous-v0", "Reacher-v5"])
@pytest.mark.parametrize("kind", ["mean", "mean_spread", "fourier"])
def test_outcomes_are_those_of_a_plain_loop(env_id, kind):
    spec, network, params = setting(env_id, 6)
    embedding = make_embedding(kind, spec.observation_size, spec.action_size, 16, seed=3)
    observer = OutcomeObserver(embedding, network, len(params), HORIZON, keep=4, seed=0)
    ends = play_episodes(BatchForward(network, params), make_simulator(spec, 8), [7] * 6, HORIZON, [observer])
    found = observer.outcomes()
    for row, one in enumerate(params):
        seen, done = gymnasium_episode(spec, network, one, 7)
        if kind == "fourier":
            drawn = fourier_features(
                spec.observation_size + spec.action_size, 16, np.sqrt(seen.shape[1] + done.shape[1]), 3
            )
            expected = [drawn(np.concatenate([seen, done], axis=1)).mean(0)]
        else:
            expected = [seen.mean(0), seen.std(0)] if kind == "mean_spread" else [seen.mean(0)]
        expected = np.concatenate([*expected, [len(seen) / HORIZON]])
        np.testing.assert_allclose(found[row], expected, atol=2e-4)
        assert ends.lengths[row] == len(seen) and ends.valid[row]
        # Every kept state was visited.
        visited = network.standardize(torch.from_numpy(observer.visited()[row])).numpy()
        assert np.abs(visited[:, None] - seen[None]).max(-1).min(1).max() < 1e-3
    assert len(embedding.names) == found.shape[1]


def test_the_ledger_adds_up_what_a_rollout_adds_up():
    spec, network, params = setting("HalfCheetah-v5", 5)
    tasks = find_tasks(spec.id)
    ledger = TaskReturns(tasks, 5, decisive=False)
    play_episodes(BatchForward(network, params), make_simulator(spec, 5), [3] * 5, HORIZON, [ledger])
    played = rollout(network, params, spec, [3], tasks, horizon=HORIZON)
    np.testing.assert_array_equal(ledger.totals, [played.returns[name][:, 0] for name in tasks])


def test_features_approximate_the_exact_kernel_and_their_means_its_distance():
    generator = np.random.default_rng(0)
    one, other = generator.standard_normal((60, 5)), generator.standard_normal((50, 5)) + 0.7
    bandwidth = 1.7
    drawn = fourier_features(5, 20_000, bandwidth, seed=1)
    gamma = 1 / (2 * bandwidth**2)
    exact = rbf_kernel(one, other, gamma=gamma)
    # The standard error of a mean of 20,000 products of size at most 2 is below 0.01.
    np.testing.assert_allclose(drawn(one) @ drawn(other).T, exact, atol=0.05)
    discrepancy = (
        rbf_kernel(one, one, gamma=gamma).mean() + rbf_kernel(other, other, gamma=gamma).mean() - 2 * exact.mean()
    )
    found = np.square(drawn(one).mean(0) - drawn(other).mean(0)).sum()
    assert found == pytest.approx(discrepancy, rel=0.05)


def test_every_state_of_an_episode_is_kept_with_equal_chance():
    """A fake episode whose observation is the step number: kept steps are uniform, by a chi-square of 19 degrees."""
    _, network, _ = setting("MountainCarContinuous-v0", 1)
    observer = OutcomeObserver(make_embedding("mean", 2, 1, 0, 0), network, 4000, 20, keep=3, seed=0)
    slots, still, none = np.arange(4000), np.zeros((4000, 1), dtype=np.float32), np.zeros(4000)
    for number in range(20):
        seen, physics = np.full((4000, 2), float(number)), Physics(still, still)
        transition = Transition(seen, still, seen + 1, none, none > 0, physics, physics, 1.0)
        observer.see(Step(number, slots, slots, still, transition))
    kept = observer.visited()[:, :, 0].astype(int)
    assert (np.diff(np.sort(kept, axis=1)) > 0).all()  # without repetition
    counts = np.bincount(kept.ravel(), minlength=20)
    assert np.square(counts - 600).sum() / 600 < 44  # exceeded once in a thousand


def test_whitened_outcomes_have_unit_covariance_and_still_coordinates_are_left_out():
    generator = np.random.default_rng(0)
    mixed = generator.standard_normal((5000, 3)) @ np.array([[2.0, 0.3, 0.0], [0.0, 0.5, 0.1], [0.0, 0.0, 9.0]])
    outcomes = np.concatenate(
        [mixed[:, :2], 4.0 + 0.05 * generator.standard_normal((5000, 1)), mixed[:, 2:]], axis=1
    ).astype(np.float32)
    whitening = whiten(outcomes, np.ones(4))
    assert whitening.kept.tolist() == [0, 1, 3]
    white = whitening(outcomes)
    np.testing.assert_allclose(np.cov(white.T), np.eye(3), atol=0.06)
    # Symmetric: each whitened coordinate follows its own outcome coordinate most.
    correlations = np.corrcoef(white.T, outcomes[:, whitening.kept].T)[:3, 3:]
    assert (correlations.argmax(1) == np.arange(3)).all()


def test_outcomes_that_are_all_the_same_are_refused():
    with pytest.raises(UserError, match="do episodes end at once"):
        whiten(np.ones((10, 3), dtype=np.float32), np.ones(3), "the outcomes")


def test_effective_dimension_of_known_spectra():
    generator = np.random.default_rng(0)
    wide = generator.standard_normal((20_000, 6)).astype(np.float32)
    assert effective_dimension(wide, np.ones(6)) == pytest.approx(6, rel=0.01)
    line = generator.standard_normal((1000, 1)).astype(np.float32)
    assert effective_dimension(np.concatenate([line, -line, 3 * line], axis=1), np.ones(3)) == pytest.approx(1)
