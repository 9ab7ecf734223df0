"""Relabeled transitions are those of Gymnasium itself, step by step, with the reward of any task."""

import gymnasium
import numpy as np
import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.envs.tasks import TaskWrapper, find_task
from lightning_pz.replay.replay_episodes import growth_recipe
from lightning_pz.replay.transitions import relabeled_transitions


def low(transition):
    return -transition.after.positions[:, 1]


@pytest.mark.parametrize(
    ("env_id", "task"),
    [("Hopper-v5", low), ("MountainCarContinuous-v0", find_task("MountainCarContinuous-v0", "height"))],
)
def test_one_episode_step_by_step_against_gymnasium(env_id, task, grown_pools):
    pool = grown_pools(env_id)
    rows = np.array([len(pool) - 1, 5, len(pool) // 2])
    found = relabeled_transitions(pool, rows, task, threads=2)
    lengths = pool.arrays["lengths"][rows]
    np.testing.assert_array_equal(found.episode, np.repeat(np.arange(3), lengths))
    recipe = growth_recipe(pool)
    env = TaskWrapper(gymnasium.make(env_id), task)
    for number, row in enumerate(rows):
        own = np.flatnonzero(found.episode == number)
        generation = int(recipe.generation_of(np.array(pool.arrays["indices"][[row]]))[0])
        seen, _ = env.reset(seed=recipe.episode_seed(generation))
        for i in own:
            np.testing.assert_array_equal(found.observations[i], np.float32(seen))
            wanted = pool.network(pool.params(rows[[number]]), torch.from_numpy(np.float32(seen))[None, None])[0, 0]
            np.testing.assert_allclose(found.actions[i], wanted.clip(*map(torch.tensor, (-1.0, 1.0))), atol=1e-5)
            seen, reward, terminated, _, _ = env.step(found.actions[i])
            np.testing.assert_array_equal(found.next_observations[i], np.float32(seen))
            assert (found.rewards[i], found.terminated[i]) == (reward, terminated)
        assert len(own) == lengths[number]


def test_types_and_an_empty_choice(grown_pools):
    pool = grown_pools("Hopper-v5")
    found, none = (relabeled_transitions(pool, rows, low) for rows in (np.arange(9), np.arange(0)))
    for name in ("observations", "actions", "rewards", "next_observations", "terminated", "episode"):
        one, other = getattr(found, name), getattr(none, name)
        assert (one.dtype, one.shape[1:], len(other)) == (other.dtype, other.shape[1:], 0)
        assert one.dtype == {"rewards": np.float64, "terminated": bool, "episode": np.int64}.get(name, np.float32)
    assert len(found) == pool.arrays["lengths"][:9].sum() and (np.abs(found.actions) <= 1).all()
    # An episode of the horizon was cut, a shorter one ended.
    ends = np.flatnonzero(np.diff(found.episode, append=9))
    np.testing.assert_array_equal(found.terminated[ends], pool.arrays["lengths"][:9] < 40)
    assert found.terminated.sum() == found.terminated[ends].sum() > 0


def test_a_reward_that_is_not_finite_is_refused(grown_pools):
    pool = grown_pools("Hopper-v5")

    def divides(transition):
        return 1 / (transition.after.positions[:, 1] * 0)

    with pytest.raises(UserError, match="the task gave a reward that is not finite, inf, in step 1 of the episode of"):
        relabeled_transitions(pool, np.arange(5), divides)


def test_a_task_that_raises_says_where(grown_pools, tmp_path, monkeypatch):
    (tmp_path / "failing_task.py").write_text("def crouch(transition):\n    return transition.nothing\n")
    monkeypatch.syspath_prepend(tmp_path)
    pool = grown_pools("Hopper-v5")
    with pytest.raises(UserError, match=r"'failing_task:crouch' raised AttributeError.* in step 1 of 5 episodes"):
        relabeled_transitions(pool, np.arange(5), find_task("Hopper-v5", "failing_task:crouch"))


def test_an_episode_that_its_environment_cut_has_no_end(grown_pools):
    """Else a critic would learn that nothing follows, where the same episode, played anew, goes on."""
    pool = grown_pools("odd_environments:OwnTruncation-v0")
    found = relabeled_transitions(pool, np.arange(9), lambda transition: transition.rewards)
    lengths = pool.arrays["lengths"][:9]
    assert (lengths < 40).all() and len(found) == lengths.sum() and not found.terminated.any()
