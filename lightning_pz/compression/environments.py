"""Environments for compression (vectors or images, box or discrete actions), and episodes played in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import nn
from tqdm import tqdm

from lightning_pz.common.errors import UserError
from lightning_pz.compression.make_environment import make_world_env, own_limit
from lightning_pz.envs.content import env_content
from lightning_pz.envs.exploring import play as play_many
from lightning_pz.envs.simulators import make_simulator
from lightning_pz.envs.simulators.mujoco_tables import RECIPES
from lightning_pz.envs.specs import env_spec
from lightning_pz.envs.tasks import standard

_SLOTS = 64
"""Episodes that are played side by side at most."""
_IMAGE_STEPS, _VECTOR_STEPS = 27_000, 1000
"""Steps of an episode where an environment has no limit: 30 minutes of an Atari game; else the limit of all commands."""


@dataclass(frozen=True)
class World:
    """An environment as a policy network sees it.

    Attributes:
        id: Registered Gymnasium id.
        horizon: Steps of the policy after which an episode is cut off, in training as well.
        shape: Of an observation; images have channels first.
        actions: Numbers in an action, or actions to choose from.
        discrete: Whether actions are chosen from a number of them.
        action_low: Lower corner of the action box, (A,); empty where actions are chosen.
        action_high: Upper corner of the action box, (A,).
        content: All else of the environment that decides a result, as plain data; see `env_content`.
    """

    id: str
    horizon: int
    shape: tuple[int, ...]
    actions: int
    discrete: bool
    action_low: tuple[float, ...] = ()
    action_high: tuple[float, ...] = ()
    content: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def is_image(self) -> bool:
        """Whether observations are images."""
        return len(self.shape) == 3


@dataclass(frozen=True)
class Played:
    """Episodes that a policy played.

    Attributes:
        returns: Undiscounted return of each episode, (E,) float64.
        lengths: Steps of each, (E,) int64.
        observations: All observations acted on, (V, ...), raw; empty unless asked for.
    """

    returns: np.ndarray
    lengths: np.ndarray
    observations: torch.Tensor


def find_world(env_id: str, horizon: int | None = None) -> World:
    """Return an environment by its id.

    Raises:
        UserError: It is unknown, needs a package that is missing, or has spaces that no policy network here fits.
    """
    env = make_world_env(env_id, reward_clip=False)
    try:
        seen, acts = env.observation_space, env.action_space
        limit, content = own_limit(env_id, env), env_content(env)
    finally:
        env.close()
    if not isinstance(seen, spaces.Box) or len(seen.shape) not in (1, 3):
        raise UserError(f"--env expects observations that are vectors or images, but {env_id} has {seen}")
    default = _IMAGE_STEPS if len(seen.shape) == 3 else _VECTOR_STEPS
    steps = int(horizon or limit or default)
    if isinstance(acts, spaces.Discrete) and acts.start == 0:
        return World(env_id, steps, seen.shape, int(acts.n), True, content=content)
    if isinstance(acts, spaces.Box) and len(acts.shape) == 1 and acts.is_bounded() and acts.dtype.kind == "f":
        low, high = (tuple(map(float, corner)) for corner in (acts.low, acts.high))
        return World(env_id, steps, seen.shape, int(acts.shape[0]), False, low, high, content)
    raise UserError(
        f"--env expects discrete actions that begin at 0, or a finite box of real ones, but {env_id} has {acts}"
    )


@torch.no_grad()
def play_world(
    network: nn.Module,
    world: World,
    seeds: Sequence[int],
    *,
    keep: bool = False,
    progress: bool = False,
) -> Played:
    """Let a deterministic policy play one episode per seed.

    Args:
        network: Raw observations in; actions inside the box, or scores of which the highest is taken, out.
        world: The environment.
        seeds: Of the episodes.
        keep: Whether to return all observations.
        progress: Whether to draw a progress bar over episodes.
    """
    if world.id in RECIPES and not world.discrete:
        return _play_simulated(network, world, seeds, keep)
    parts = []
    with tqdm(total=len(seeds), unit="episode", disable=not progress, leave=False) as bar:
        # All SurRoL tasks of a process share one physics server.
        slots = 1 if world.id.startswith("surrol/") else _SLOTS
        for first in range(0, len(seeds), slots):
            parts.append(_play_loop(network, world, seeds[first : first + slots], keep, bar))
    return Played(
        np.concatenate([part.returns for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        torch.cat([part.observations for part in parts]),
    )


def _play_simulated(network: nn.Module, world: World, seeds: Sequence[int], keep: bool) -> Played:
    spec = env_spec(world.id, world.horizon)

    def act(observations: np.ndarray, active: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(observations[active].astype(np.float32))).numpy()

    done = play_many(act, make_simulator(spec, len(seeds)), seeds, standard, world.horizon)
    if not done.valid.all():
        first = seeds[int(np.flatnonzero(~done.valid)[0])]
        raise UserError(
            f"{int((~done.valid).sum())} of {len(seeds)} episodes in {world.id} turned non-finite, the first that of seed "
            f"{first}: the policy is broken"
        )
    mask = done.mask() if keep else np.zeros(done.rewards.shape, dtype=bool)
    return Played(done.returns(), done.lengths, torch.from_numpy(done.observations[mask]))


def _play_loop(network: nn.Module, world: World, seeds: Sequence[int], keep: bool, bar: tqdm) -> Played:
    envs = [make_world_env(world.id, reward_clip=False, horizon=world.horizon) for _ in seeds]
    kind = np.uint8 if world.is_image else np.float32
    # Of one type from the start: a first observation of whole numbers must not cut the others down to such.
    observations = np.stack([
        np.asarray(env.reset(seed=int(seed))[0], dtype=kind) for env, seed in zip(envs, seeds, strict=True)
    ])  # fmt: skip
    returns, lengths = np.zeros(len(seeds)), np.zeros(len(seeds), dtype=np.int64)
    active = np.arange(len(seeds))
    seen: list[torch.Tensor] = []
    while len(active):
        states = torch.from_numpy(observations[active])
        if keep:
            seen.append(states)
        wanted = network(states.float()).numpy()
        if not np.isfinite(wanted).all():
            raise UserError(f"the policy's actions turned non-finite in {world.id}: it is broken")
        actions = wanted.argmax(1) if world.discrete else wanted
        going = []
        for slot, action in zip(active, actions, strict=True):
            observation, reward, terminated, truncated, _ = envs[slot].step(action)
            observations[slot] = observation
            returns[slot] += float(reward)
            lengths[slot] += 1
            if not (terminated or truncated):
                going.append(slot)
        bar.update(len(active) - len(going))
        active = np.array(going, dtype=int)
    for env in envs:
        env.close()
    empty = torch.empty(0, *world.shape, dtype=torch.uint8 if world.is_image else torch.float32)
    return Played(returns, lengths, torch.cat(seen) if keep else empty)
