"""Returns of many policies on all tasks of an environment, in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from lightning_pz.common.errors import UserError
from lightning_pz.envs.forward import BatchForward, one_blas_thread
from lightning_pz.envs.own_tasks import TaskFunction, earn
from lightning_pz.envs.simulators import Simulator, make_simulator
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.policy import PolicyNetwork

Params = Float[Tensor, "policies params"] | Callable[[range], Float[Tensor, "policies params"]]
"""Flat weights (N, P), or a function from the numbers of some policies to theirs."""

_CHUNK_FLOATS = 1 << 26
"""Weights that a chunk may hold: 256 MiB."""
_CHUNK_EPISODES = 2048
_CHUNK_POLICIES = 256


@dataclass(frozen=True)
class Rollouts:
    """What N policies did in E episodes each.

    Attributes:
        returns: Undiscounted sum of each task's reward over each episode, by task name, (N, E) float64; NaN
            where the episode is invalid.
        lengths: Steps of each episode, (N, E) int64; of an invalid one, the steps before it turned invalid.
        valid: False where an observation, an action or a reward turned non-finite, (N, E) bool.
        observations: Raw observations that the policies acted on, (V, O) float32: policy after policy,
            episode after episode, step after step; None unless asked for.
    """

    returns: dict[str, np.ndarray]
    lengths: np.ndarray
    valid: np.ndarray
    observations: np.ndarray | None = None

    @property
    def steps(self) -> int:
        """Environment steps taken in all, those of invalid episodes included.

        An episode costs at least one, even if it is invalid before its first: no search can go on for nothing.
        """
        return int(np.maximum(self.lengths, 1).sum())

    def visited(self, policy: int, episode: int) -> np.ndarray:
        """Return the observations of one episode, (steps, O) float32.

        Raises:
            ValueError: Observations were not kept.
        """
        if self.observations is None:
            raise ValueError("observations were not kept: call rollout with keep_observations=True")
        ends = self.lengths.cumsum().reshape(self.lengths.shape)
        end = ends[policy, episode]
        return self.observations[end - self.lengths[policy, episode] : end]


def rollout(
    network: PolicyNetwork,
    params: Params,
    spec: EnvSpec,
    seeds: Sequence[int],
    tasks: Mapping[str, TaskFunction],
    *,
    policies: int | None = None,
    horizon: int | None = None,
    chunk: int | None = None,
    threads: int = 1,
    keep_observations: bool = False,
    progress: bool = False,
    simulator: Simulator | None = None,
) -> Rollouts:
    """Let every policy play one episode per seed, and add up all tasks' rewards.

    Every policy gets the same seeds, so each has the same share of episodes however long they last, and
    differences between policies are not differences of luck. A policy's result depends neither on the other
    policies, nor on the chunk, nor on the threads, to the last bit; it does depend, by float32 rounding, on
    how many seeds there are, since a policy's episodes go through one matrix product.

    Args:
        network: What the policies share: layout, standardization, action box.
        params: Weights of all policies, (N, P), or a function that makes those of a range of policies, so
            that no more than a chunk is ever in memory.
        spec: The environment.
        seeds: Seeds of the episodes, E of them.
        tasks: Reward functions by name; see `lightning_pz.envs.tasks.find_tasks`.
        policies: N, when `params` is a function.
        horizon: Steps after which an episode is cut off; the environment's if not given.
        chunk: Policies to simulate at a time, which bounds memory; chosen by their size if not given.
        threads: Threads that step physics.
        keep_observations: Whether to return all visited observations.
        progress: Whether to draw a progress bar over episodes.
        simulator: One to use again, with at least chunk * E slots; made if not given.

    Raises:
        UserError: Nothing to do: no policies, no seeds, no tasks, a horizon or chunk below 1; or a network
            of another environment's sizes.
    """
    count = _count_policies(params, policies)
    horizon = spec.horizon if horizon is None else horizon
    _check(network, spec, count, len(seeds), len(tasks), horizon, chunk)
    chunk = min(chunk or _default_chunk(network, len(seeds)), count)
    if simulator is None:
        simulator = make_simulator(spec, chunk * len(seeds), threads)
    parts = []
    bar = tqdm(total=count * len(seeds), unit="episode", disable=not progress, leave=False)
    with bar, one_blas_thread():
        for first in range(0, count, chunk):
            numbers = range(first, min(first + chunk, count))
            weights = params(numbers) if callable(params) else params[first : numbers.stop]
            if weights.shape != (len(numbers), network.layout.num_params):
                raise ValueError(
                    f"expected params of shape {(len(numbers), network.layout.num_params)} for policies "
                    f"{numbers.start} to {numbers.stop - 1}, but got {tuple(weights.shape)}"
                )
            forward = BatchForward(network, weights)
            parts.append(_play(forward, simulator, len(numbers), seeds, tasks, horizon, keep_observations, bar))
    return Rollouts(
        returns={name: np.concatenate([part.returns[name] for part in parts]) for name in tasks},
        lengths=np.concatenate([part.lengths for part in parts]),
        valid=np.concatenate([part.valid for part in parts]),
        observations=np.concatenate([part.observations for part in parts if part.observations is not None])
        if keep_observations
        else None,
    )


# What turns non-finite is found and marked below; NumPy need not say so as well.
@np.errstate(all="ignore")
def _play(
    forward: BatchForward,
    simulator: Simulator,
    policies: int,
    seeds: Sequence[int],
    tasks: Mapping[str, TaskFunction],
    horizon: int,
    keep_observations: bool,
    bar: tqdm,
) -> Rollouts:
    """Play the episodes of one chunk. Slot p * E + e holds episode e of policy p."""
    episodes = len(seeds)
    slots = policies * episodes
    # The policies' view of all slots; rows of finished episodes stay as they were and are not looked at.
    observations = simulator.reset(list(seeds) * policies)
    totals = np.zeros((len(tasks), slots))
    lengths, valid = np.zeros(slots, dtype=np.int64), np.ones(slots, dtype=bool)
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    active = np.flatnonzero(np.isfinite(observations).all(axis=1))
    valid[np.setdiff1d(np.arange(slots), active)] = False
    acting, rows = _rows_of(active, episodes)
    bar.update(slots - len(active))
    step = 0
    while step < horizon and len(active):
        actions = forward.act(observations.reshape(policies, episodes, -1), acting)
        actions = actions.reshape(len(acting) * episodes, -1)
        actions = actions if len(rows) == len(actions) else actions[rows]
        ended = np.zeros(len(active), dtype=bool)
        if not _surely_finite(actions):
            finite = np.isfinite(actions).all(axis=1)
            valid[active[~finite]] = False
            bar.update(int((~finite).sum()))
            active, actions, ended = active[finite], actions[finite], ended[finite]
            acting, rows = _rows_of(active, episodes)
            if not len(active):
                break
        if keep_observations:
            kept.append((active, observations[active].astype(np.float32)))
        transition = simulator.step(actions, active)
        rewards = [earn(task, transition, step, seeds, active) for task in tasks.values()]
        whole = slice(None) if len(active) == slots else active
        observations[whole] = transition.next_observations
        for total, reward in zip(totals, rewards, strict=True):
            total[whole] += reward
        lengths[whole] += 1
        checked = (transition.next_observations, transition.rewards, *rewards)
        if not all(map(_surely_finite, checked)):
            finite = np.isfinite(transition.next_observations).all(axis=1)
            finite &= np.isfinite([transition.rewards, *rewards]).all(axis=0)
            valid[active[~finite]] = False
            ended |= ~finite
        ended |= transition.terminated
        step += 1
        if ended.any():
            active = active[~ended]
            acting, rows = _rows_of(active, episodes)
            bar.update(int(ended.sum()))
    bar.update(len(active))
    totals[:, ~valid] = np.nan
    shape = (policies, episodes)
    return Rollouts(
        returns={name: totals[i].reshape(shape) for i, name in enumerate(tasks)},
        lengths=lengths.reshape(shape),
        valid=valid.reshape(shape),
        observations=_in_order(kept, observations.shape[1]) if keep_observations else None,
    )


def _surely_finite(numbers: np.ndarray) -> bool:
    """Return False if a number is not finite, or if they are so large that a look at each must decide.

    A dot product is several times faster than `isfinite` and `all`.
    """
    flat = numbers.ravel()
    return math.isfinite(np.vdot(flat, flat))


def _rows_of(active: np.ndarray, episodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the policies that still act, and the row of each active slot among those policies' episodes."""
    if episodes == 1:
        return active, np.arange(len(active))
    acting, which = np.unique(active // episodes, return_inverse=True)
    return acting, which * episodes + active % episodes


def _in_order(kept: list[tuple[np.ndarray, np.ndarray]], size: int) -> np.ndarray:
    """Sort observations that were kept step by step into episode after episode."""
    if not kept:
        return np.empty((0, size), dtype=np.float32)
    order = np.argsort(np.concatenate([active for active, _ in kept]), kind="stable")
    return np.concatenate([observations for _, observations in kept])[order]


def _default_chunk(network: PolicyNetwork, episodes: int) -> int:
    by_memory = _CHUNK_FLOATS // network.layout.num_params
    return max(1, min(_CHUNK_POLICIES, by_memory, _CHUNK_EPISODES // episodes))


def _count_policies(params: Params, policies: int | None) -> int:
    if not callable(params):
        return len(params)
    if policies is None:
        raise ValueError("rollout needs the number of policies when their params come from a function")
    return policies


def _check(
    network: PolicyNetwork,
    spec: EnvSpec,
    count: int,
    episodes: int,
    tasks: int,
    horizon: int,
    chunk: int | None,
) -> None:
    counts = {"policies": count, "episode seeds": episodes, "tasks": tasks, "horizon (steps)": horizon}
    for name, value in (counts | ({} if chunk is None else {"chunk (policies)": chunk})).items():
        if value < 1:
            raise UserError(f"a rollout needs at least 1 of {name}, but got {value}")
    sizes = network.layout.observation_size, network.layout.action_size
    if sizes != (spec.observation_size, spec.action_size):
        raise UserError(
            f"{spec.id} has {spec.observation_size} observations and {spec.action_size} actions, but the "
            f"policy network takes {sizes[0]} and gives {sizes[1]}: it was made for another environment"
        )
