"""Environments for compression (vectors or images, box or discrete actions), and episodes played in them."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from lightning_pz.common.errors import UserError
from lightning_pz.common.progress import ProgressBar
from lightning_pz.compression.make_environment import make_world_env, own_limit
from lightning_pz.envs.arguments import check_unchanged
from lightning_pz.envs.content import env_content
from lightning_pz.envs.episodes import Ends, Observer, TaskReturns, VisitedStates, play_episodes, record_episodes
from lightning_pz.envs.simulators import Transition, make_simulator
from lightning_pz.envs.simulators.gymnasium_loop import GymnasiumSimulator
from lightning_pz.envs.simulators.mujoco_tables import MUJOCO_FORMULAS
from lightning_pz.envs.specs import UNLIMITED_HORIZON, EnvSpec, env_spec
from lightning_pz.envs.tasks import standard

EPISODE_SLOTS = 64
"""Episodes that are played side by side at most."""
_IMAGE_STEPS = 27_000
"""Steps of an episode of images where an environment has no limit: 30 minutes of an Atari game."""


@dataclass(frozen=True)
class World:
    """An environment as a policy network sees it."""

    id: str
    horizon: int  # steps of the policy after which an episode is cut off, in training as well
    shape: tuple[int, ...]  # of an observation; images have channels first
    actions: int  # numbers in an action, or actions to choose from
    discrete: bool  # whether actions are chosen from a number of them
    action_low: tuple[float, ...] = ()  # corners of the action box, (A,); empty where actions are chosen
    action_high: tuple[float, ...] = ()
    # All else of the environment that decides a result, as plain data; see `env_content`.
    content: dict[str, Any] = field(default_factory=dict, compare=False)
    # What a user gives the constructor beside its registered arguments.
    given: dict[str, Any] = field(default_factory=dict, compare=False)

    def make(self, *, reward_clip: bool, flatten: bool = True) -> gymnasium.Env:
        """Make the environment, cut at the horizon; see `make_world_env`, and `check_unchanged` for files of arguments."""
        env = make_world_env(self.id, reward_clip=reward_clip, flatten=flatten, horizon=self.horizon, given=self.given)
        check_unchanged(env, self.content.get("kwargs", ""), self.given)
        return env

    @property
    def is_image(self) -> bool:
        """Whether observations are images."""
        return len(self.shape) == 3

    @property
    def dtype(self) -> type[np.generic]:
        """NumPy type of observations."""
        return np.uint8 if self.is_image else np.float32


@dataclass(frozen=True)
class Played:
    """Episodes that a policy played."""

    returns: np.ndarray  # undiscounted, (E,) float64
    lengths: np.ndarray  # steps, (E,) int64
    observations: torch.Tensor  # all that were acted on, (V, ...), raw; empty unless asked for


def find_world(env_id: str, horizon: int | None = None, given: Mapping[str, Any] | None = None) -> World:
    """Return an environment, with some arguments of its constructor; `UserError` if it is unknown, lacks a package or has spaces that no policy here fits."""
    arguments = dict(given or {})
    with contextlib.closing(make_world_env(env_id, reward_clip=False, given=arguments)) as env:
        seen, acts = env.observation_space, env.action_space
        limit, content = own_limit(env_id, env), env_content(env)
    if not isinstance(seen, spaces.Box) or len(seen.shape) not in (1, 3):
        raise UserError(f"--env expects observations that are vectors or images, but {env_id} has {seen}")
    steps = int(horizon or limit or (_IMAGE_STEPS if len(seen.shape) == 3 else UNLIMITED_HORIZON))
    if isinstance(acts, spaces.Discrete) and acts.start == 0:
        return World(env_id, steps, seen.shape, int(acts.n), True, content=content, given=arguments)
    if isinstance(acts, spaces.Box) and len(acts.shape) == 1 and acts.is_bounded() and acts.dtype.kind == "f":
        low, high = (tuple(map(float, corner)) for corner in (acts.low, acts.high))
        return World(env_id, steps, seen.shape, int(acts.shape[0]), False, low, high, content, arguments)
    raise UserError(
        f"--env expects discrete actions that begin at 0, or a finite box of real ones, but {env_id} has {acts}"
    )


class WorldSimulator(GymnasiumSimulator):
    """Episodes of a world, so many at a time; an action is chosen by its score."""

    def __init__(self, world: World, size: int) -> None:
        free = [(-math.inf,) * world.actions, (math.inf,) * world.actions]
        low, high = free if world.discrete else (world.action_low, world.action_high)
        spec = EnvSpec(world.id, world.horizon, math.prod(world.shape), world.actions, (), (), low, high)
        make = functools.partial(world.make, reward_clip=False)
        super().__init__(spec, size, make, physics=False)
        self._discrete = world.discrete
        # Of one type from the start: a first observation of whole numbers must not cut the others down to such.
        self._observations = np.zeros((size, *world.shape), dtype=world.dtype)

    def step(self, actions: np.ndarray, active: np.ndarray) -> Transition:
        return super().step(actions.argmax(1)[:, None] if self._discrete else actions, active)


@torch.no_grad()
def play_world(
    network: nn.Module, world: World, seeds: Sequence[int], *, keep: bool = False, progress: bool = False
) -> Played:
    """Let a deterministic policy play one episode per seed; `UserError` if one turns non-finite.

    The network takes raw observations and gives actions inside the box, or scores of which the highest is taken.
    """

    def act(observations: np.ndarray, active: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(observations[active]).float()).numpy()

    if world.id in MUJOCO_FORMULAS and not world.discrete:
        simulator = make_simulator(env_spec(world.id, world.horizon, world.given), len(seeds))
        done = record_episodes(act, simulator, seeds, standard, world.horizon)
        _check_finite(done, world, seeds)
        seen = done.observations[done.mask()] if keep else done.observations[:0, 0]
        return Played(done.returns(), done.lengths, torch.from_numpy(seen))
    parts = []
    with ProgressBar(total=len(seeds), unit="episode", progress=progress, leave=False) as bar:
        # All SurRoL tasks of a process share one physics server.
        slots = 1 if world.id.startswith("surrol/") else EPISODE_SLOTS
        for some in (seeds[first : first + slots] for first in range(0, len(seeds), slots)):
            simulator, returns = WorldSimulator(world, len(some)), TaskReturns({"standard": standard}, len(some))
            visited = VisitedStates(world.shape, world.dtype)
            observers: list[Observer] = [returns, visited] if keep else [returns]
            ends = play_episodes(act, simulator, some, world.horizon, observers, bar.update)
            simulator.close()
            _check_finite(ends, world, some)
            parts.append((returns.totals[0], ends.lengths, visited.by_step()))
    totals, lengths, observations = map(np.concatenate, zip(*parts, strict=True))
    return Played(totals, lengths, torch.from_numpy(observations))


def _check_finite(ends: Ends, world: World, seeds: Sequence[int]) -> None:
    if not ends.valid.all():
        broken = np.flatnonzero(~ends.valid)
        raise UserError(
            f"{len(broken)} of {len(seeds)} episodes in {world.id} turned non-finite, the first that of seed "
            f"{seeds[int(broken[0])]}: the policy is broken"
        )
