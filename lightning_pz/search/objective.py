"""Returns of policies on one task, from one batched rollout that counts every environment step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lightning_pz.envs.episodes import Episodes, record_episodes
from lightning_pz.envs.forward import Act, saved_act
from lightning_pz.envs.rollout import rollout
from lightning_pz.envs.simulators import Simulator, make_simulator
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import TaskFunction
from lightning_pz.policy import PolicyNetwork
from lightning_pz.policy.saved import SavedPolicy

_CHUNK_POLICIES, _CHUNK_EPISODES = 256, 2048


@dataclass(frozen=True)
class Problem:
    """One task of one environment, and what its policies share."""

    network: PolicyNetwork  # Layout, standardization and action box
    spec: EnvSpec
    task: str
    reward: TaskFunction


class PolicyReturns(NamedTuple):
    """Returns of some policies."""

    mean: np.ndarray  # Mean return of each policy over the episodes, (N,) float64; NaN if one of them was invalid
    each: np.ndarray  # Return of each episode, (N, E)
    steps: int  # Environment steps taken

    @property
    def is_lost(self) -> bool:
        """Whether no episode stayed finite."""
        return not np.isfinite(self.each).any()


class Objective:
    """Returns of policies on one task, with one simulator for all generations; they do not depend on `threads`."""

    def __init__(self, problem: Problem, threads: int = 1) -> None:
        self.problem, self.threads = problem, threads
        self._simulator: Simulator | None = None

    def __call__(self, params: Float[Tensor, "policies params"], seeds: list[int]) -> PolicyReturns:
        """Play one episode per policy, (N, P), and seed; every policy gets the same seeds."""
        return self._returns(self.problem.network, params, seeds)

    def measure(self, policy: SavedPolicy, seeds: list[int]) -> PolicyReturns:
        """Play one episode per seed with one policy, whatever its statistics and last layer."""
        if policy.is_plain:
            return self._returns(policy.network(), policy.params[None], seeds)
        episodes = self.play(saved_act(policy, seeds), seeds)
        each = episodes.returns()[None]
        return PolicyReturns(each.mean(1), each, episodes.steps)

    def play(self, act: Act, seeds: list[int]) -> Episodes:
        """Play one episode per seed with any way of acting, and keep what happened."""
        p = self.problem
        return record_episodes(act, self._slots(len(seeds)), seeds, p.reward, p.spec.horizon)

    def _returns(self, network: PolicyNetwork, params: Tensor, seeds: list[int]) -> PolicyReturns:
        p, episodes = self.problem, len(seeds)
        chunk = min(len(params), _CHUNK_POLICIES, max(1, _CHUNK_EPISODES // episodes))
        simulator = self._slots(chunk * episodes)
        played = rollout(network, params, p.spec, seeds, {p.task: p.reward}, chunk=chunk, simulator=simulator)
        each = played.returns[p.task]
        return PolicyReturns(each.mean(1), each, played.steps)

    def _slots(self, count: int) -> Simulator:
        """Return the simulator, made again when more slots are needed than it has."""
        if self._simulator is None or self._simulator.size < count:
            self._simulator = make_simulator(self.problem.spec, count, self.threads)
        return self._simulator
