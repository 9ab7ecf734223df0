"""Environments for compression: vectors or Atari images in, box or discrete actions out; and episodes played in them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import nn
from tqdm import tqdm

from lightning_pz.envs.exploring import play as play_many
from lightning_pz.envs.simulators import make_simulator
from lightning_pz.envs.simulators.mujoco_tables import RECIPES
from lightning_pz.envs.specs import env_spec, make_env
from lightning_pz.envs.tasks import standard
from lightning_pz.errors import UserError

_SLOTS = 64
"""Episodes that are played side by side at most."""
PROVIDERS = {
    "ale_py": ("atari", "pip install 'lightning_pz[atari]'"),
    "gymnasium_mariobros": ("Super Mario Bros", "pip install gymnasium-mariobros (its game image is proprietary)"),
    "surrol": ("SurRoL", "see the README, Surgical robot"),
}
"""Modules that register environments when imported: what they bring, and how they are installed."""


@dataclass(frozen=True)
class World:
    """An environment as a policy network sees it.

    Attributes:
        id: Registered Gymnasium id.
        horizon: Steps after which an episode is cut off.
        shape: Of an observation; images have channels first.
        actions: Numbers in an action, or actions to choose from.
        discrete: Whether actions are chosen.
    """

    id: str
    horizon: int
    shape: tuple[int, ...]
    actions: int
    discrete: bool

    @property
    def is_image(self) -> bool:
        """Whether observations are images."""
        return len(self.shape) == 3


@dataclass(frozen=True)
class Played:
    """What a policy did.

    Attributes:
        returns: Undiscounted return of each episode, (E,) float64.
        lengths: Steps of each, (E,) int64.
        observations: All that were acted on, (V, ...), raw; empty unless they were asked for.
    """

    returns: np.ndarray
    lengths: np.ndarray
    observations: torch.Tensor


def find_world(env_id: str, horizon: int | None = None) -> World:
    """Look an environment up.

    Raises:
        UserError: It is unknown, needs a package that is missing, or has spaces that no policy network here fits.
    """
    env = make_world_env(env_id, reward_clip=False)
    try:
        seen, acts = env.observation_space, env.action_space
        limit = env.spec.max_episode_steps if env.spec else None
    finally:
        env.close()
    if not isinstance(seen, spaces.Box) or len(seen.shape) not in (1, 3):
        raise UserError(f"--env expects vectors or images to look at, but {env_id} has {seen}")
    if isinstance(acts, spaces.Discrete):
        actions = int(acts.n)
    elif isinstance(acts, spaces.Box) and len(acts.shape) == 1 and acts.is_bounded():
        actions = int(acts.shape[0])
    else:
        raise UserError(f"--env expects discrete actions or a finite box of them, but {env_id} has {acts}")
    return World(env_id, int(horizon or limit or 27_000), seen.shape, actions, isinstance(acts, spaces.Discrete))


def register_providers(env_id: str) -> None:
    """Import what registers an environment, if it is not registered and its id tells who would.

    Raises:
        UserError: The package is not installed; with the line that installs it.
    """
    if env_id in gymnasium.registry:
        return
    lower = env_id.lower()
    module = (
        "ale_py" if lower.startswith("ale/") or "noframeskip" in lower
        else "gymnasium_mariobros" if "mario" in lower
        else "lightning_pz.compression.surrol" if lower.startswith("surrol/") else None
    )  # fmt: skip
    if module is None:
        return
    needed = "surrol" if module.endswith("surrol") else module
    if importlib.util.find_spec(needed) is None:
        what, line = PROVIDERS[needed]
        raise UserError(f"--env {env_id} needs {what}, which is not installed: {line}")
    imported = importlib.import_module(module)
    if hasattr(imported, "register"):
        imported.register()


def make_world_env(env_id: str, *, reward_clip: bool, flatten: bool = True) -> gymnasium.Env:
    """Make one environment as policies here see it.

    Atari games get the usual treatment (up to 30 no-ops, 4 frames a step, 84 x 84 gray pixels, the last 4 stacked);
    dictionaries of vectors become one vector.

    Args:
        env_id: Registered id.
        reward_clip: Atari: whether rewards are cut to their sign and a lost life ends an episode, as for training.
        flatten: Whether dictionaries become vectors; hindsight needs them whole.
    """
    register_providers(env_id)
    env = make_env(env_id, disable_env_checker=True)
    shape = getattr(env.observation_space, "shape", None)
    if "NoFrameskip" in env_id:
        if importlib.util.find_spec("stable_baselines3") is None or importlib.util.find_spec("cv2") is None:
            raise UserError(f"--env {env_id} needs more: pip install 'lightning_pz[atari,compression]'")
        from stable_baselines3.common.atari_wrappers import AtariWrapper

        env = AtariWrapper(env, terminal_on_life_loss=reward_clip, clip_reward=reward_clip)
        env = _channels_first(gymnasium.wrappers.FrameStackObservation(env, 4))
    elif shape is not None and len(shape) == 3:
        if "mario" in env_id.lower():
            env = _with_few_buttons(env)
        env = gymnasium.wrappers.MaxAndSkipObservation(env, 4)
        env = gymnasium.wrappers.ResizeObservation(gymnasium.wrappers.GrayscaleObservation(env), (84, 84))
        env = gymnasium.wrappers.FrameStackObservation(env, 4)
    elif isinstance(env.observation_space, spaces.Dict) and flatten:
        env = gymnasium.wrappers.FlattenObservation(env)
    return env


def _with_few_buttons(env: gymnasium.Env) -> gymnasium.Env:
    """Leave 7 of the 256 combinations of buttons, and 9,000 frames (150 s of play) at most."""
    from gymnasium_mariobros.actions import SIMPLE_MOVEMENT
    from gymnasium_mariobros.wrappers import JoypadSpace

    return gymnasium.wrappers.TimeLimit(JoypadSpace(env, SIMPLE_MOVEMENT), 9000)


def _channels_first(env: gymnasium.Env) -> gymnasium.Env:
    """Turn stacks of (4, 84, 84, 1) into (4, 84, 84)."""
    space = spaces.Box(0, 255, env.observation_space.shape[:3], np.uint8)  # type: ignore[index]
    return gymnasium.wrappers.TransformObservation(env, lambda image: np.asarray(image)[..., 0], space)


@torch.no_grad()
def play(
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
        raise UserError(f"{int((~done.valid).sum())} of {len(seeds)} episodes turned non-finite: the policy is broken")
    mask = done.mask() if keep else np.zeros(done.rewards.shape, dtype=bool)
    return Played(done.returns(), done.lengths, torch.from_numpy(done.observations[mask]))


def _play_loop(network: nn.Module, world: World, seeds: Sequence[int], keep: bool, bar: tqdm) -> Played:
    envs = [make_world_env(world.id, reward_clip=False) for _ in seeds]
    observations = np.stack([env.reset(seed=int(seed))[0] for env, seed in zip(envs, seeds, strict=True)])
    returns, lengths = np.zeros(len(seeds)), np.zeros(len(seeds), dtype=np.int64)
    active = np.arange(len(seeds))
    seen: list[torch.Tensor] = []
    kind = torch.uint8 if world.is_image else torch.float32
    for _ in range(world.horizon):
        states = torch.from_numpy(observations[active]).to(kind)
        if keep:
            seen.append(states)
        wanted = network(states.float()).numpy()
        if not np.isfinite(wanted).all():
            raise UserError("the policy's actions turned non-finite: it is broken")
        actions = wanted.argmax(1) if world.discrete else wanted
        going = []
        for slot, action in zip(active, actions, strict=True):
            observation, reward, terminated, truncated, _ = envs[slot].step(action)
            observations[slot] = observation
            returns[slot] += float(reward)
            lengths[slot] += 1
            if not (np.isfinite(float(reward)) and np.isfinite(observation).all()):
                raise UserError(
                    f"{world.id} gave an observation or a reward that is not finite in step {lengths[slot]} of the episode "
                    f"with seed {seeds[int(slot)]}: mend the environment"
                )
            if not (terminated or truncated):
                going.append(slot)
        bar.update(len(active) - len(going))
        active = np.array(going, dtype=int)
        if not len(active):
            break
    bar.update(len(active))
    for env in envs:
        env.close()
    return Played(returns, lengths, torch.cat(seen) if keep else torch.empty(0, *world.shape, dtype=kind))
