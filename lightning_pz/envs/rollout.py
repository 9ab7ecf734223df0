"""Returns of many policies on all tasks of an environment, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lightning_pz.common.errors import UserError
from lightning_pz.common.progress import ProgressBar
from lightning_pz.envs.episodes import Ends, Observer, TaskReturns, VisitedStates, play_episodes
from lightning_pz.envs.forward import BatchForward
from lightning_pz.envs.own_tasks import TaskFunction
from lightning_pz.envs.simulators import Simulator, make_simulator
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.policy import PolicyNetwork

ParamsSource = Float[Tensor, "policies params"] | Callable[[range], Float[Tensor, "policies params"]]
"""Flat weights (N, P), or a function from the numbers of some policies to theirs."""

_CHUNK_FLOATS = 1 << 26
"""Weights that a chunk may hold: 256 MiB."""
_CHUNK_EPISODES = 2048
_CHUNK_POLICIES = 256


@dataclass(frozen=True)
class Rollouts(Ends):
    """What N policies did in E episodes each; lengths and validity are (N, E).

    Returns are undiscounted, by task name, (N, E) float64; NaN where the episode is invalid, as one with a reward that is
    not finite. Observations that the policies acted on are raw, (V, O) float32: policy after policy, episode after episode,
    step after step; None unless asked for.
    """

    returns: dict[str, np.ndarray]
    observations: np.ndarray | None = None

    def visited(self, policy: int, episode: int) -> np.ndarray:
        """Return the observations of one episode, (steps, O) float32; `ValueError` if they were not kept."""
        if self.observations is None:
            raise ValueError("observations were not kept: call rollout with keep_observations=True")
        end = self.lengths.cumsum().reshape(self.lengths.shape)[policy, episode]
        return self.observations[end - self.lengths[policy, episode] : end]


def rollout(
    network: PolicyNetwork,
    params: ParamsSource,
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
        params: Weights, (N, P), or a function that makes those of a range of policies: one chunk at a time is in memory.
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
        UserError: Nothing to do, a horizon or chunk below 1, or a network of another environment's sizes.
    """
    count = policies if callable(params) else len(params)
    if count is None:
        raise ValueError("rollout needs the number of policies when their params come from a function")
    horizon, episodes, size = spec.horizon if horizon is None else horizon, len(seeds), network.layout.num_params
    counts = {"policies": count, "episode seeds": episodes, "tasks": len(tasks), "horizon (steps)": horizon}
    _check(network, spec, counts | ({} if chunk is None else {"chunk (policies)": chunk}))
    if chunk is None:
        chunk = max(1, min(_CHUNK_POLICIES, _CHUNK_FLOATS // size, _CHUNK_EPISODES // episodes))
    chunk = min(chunk, count)
    if simulator is None:
        simulator = make_simulator(spec, chunk * episodes, threads)
    ends, totals, seen = [], [], []
    with ProgressBar(total=count * episodes, unit="episode", progress=progress, leave=False) as bar:
        for first in range(0, count, chunk):
            numbers = range(first, min(first + chunk, count))
            weights = params(numbers) if callable(params) else params[first : numbers.stop]
            if weights.shape != (len(numbers), size):
                raise ValueError(
                    f"expected params of shape {(len(numbers), size)} for policies {numbers.start} to "
                    f"{numbers.stop - 1}, but got {tuple(weights.shape)}"
                )
            # Slot p * E + e holds episode e of policy p.
            slots = list(seeds) * len(numbers)
            returns, visited = TaskReturns(tasks, len(slots)), VisitedStates((spec.observation_size,))
            observers: list[Observer] = [returns, visited] if keep_observations else [returns]
            act = BatchForward(network, weights, episodes, slots)
            ends.append(play_episodes(act, simulator, slots, horizon, observers, bar.update))
            totals.append(returns.totals)
            seen.append(visited.by_episode())
    lengths, valid = (np.concatenate([getattr(end, name) for end in ends]) for name in ("lengths", "valid"))
    each = np.where(valid, np.concatenate(totals, axis=1), np.nan).reshape(len(tasks), count, episodes)
    lengths, valid = lengths.reshape(count, episodes), valid.reshape(count, episodes)
    observations = np.concatenate(seen) if keep_observations else None
    return Rollouts(lengths, valid, dict(zip(tasks, each, strict=True)), observations)


def _check(network: PolicyNetwork, spec: EnvSpec, counts: Mapping[str, int]) -> None:
    for name, value in counts.items():
        if value < 1:
            raise UserError(f"a rollout needs at least 1 of {name}, but got {value}")
    layout = network.layout
    if layout.head.choices != spec.choices:
        raise UserError(
            f"{spec.id} has {_choices(spec.choices)}, but the policy network gives {_choices(layout.head.choices)}: it was made "
            "for another environment"
        )
    sizes = layout.observation_size, layout.action_size
    if sizes != (spec.observation_size, spec.action_size):
        raise UserError(
            f"{spec.id} has {spec.observation_size} observations and {spec.action_size} actions, but the "
            f"policy network takes {sizes[0]} and gives {sizes[1]}: it was made for another environment"
        )


def _choices(choices: tuple[int, ...]) -> str:
    return f"actions of {' x '.join(map(str, choices))} choices" if choices else "actions in a box"
