"""Makes Gymnasium environments for compression: games as small stacks of images, dictionaries as vectors."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from lightning_pz.common.checks import check_extra, is_installed
from lightning_pz.common.errors import UserError
from lightning_pz.compression.minatar import ByteImages
from lightning_pz.envs.guarded import FiniteOnly
from lightning_pz.envs.specs import import_registrar, make_env

_PROVIDERS = {
    "ale_py": ("atari", "pip install 'lightning_pz[atari]'"),
    "gymnasium_mariobros": ("Super Mario Bros", "pip install gymnasium-mariobros (its game image is proprietary)"),
    "minatar": ("MinAtar", "pip install 'lightning_pz[minatar]'"),
    "surrol": ("SurRoL", "see lightning_pz/compression/README.md"),
}
"""Modules that register environments when imported: what they bring, and how they are installed."""
_SKIP = 4
"""Frames of a game in one step of a policy."""
_MARIO_FRAMES = 9000
"""150 s of play, after which an episode is cut off: the registered limit is as good as none."""


def register_providers(env_id: str) -> None:
    """Import the package that registers an environment, if its id names one; `UserError` if that is not installed."""
    name = import_registrar(env_id)
    if name in gymnasium.registry:
        return
    lower = name.lower()
    provider = (
        "ale_py" if lower.startswith("ale/") or "noframeskip" in lower
        else "gymnasium_mariobros" if lower.startswith("supermariobros")
        else "minatar" if lower.startswith("minatar/")
        else "surrol" if lower.startswith("surrol/") else None
    )  # fmt: skip
    if provider is None:
        return
    if not is_installed(provider):
        what, line = _PROVIDERS[provider]
        raise UserError(f"--env {env_id} needs {what}, which is not installed: {line}")
    if provider == "surrol":
        from lightning_pz.compression.surrol import register

        register()
    elif provider == "minatar":
        importlib.import_module("minatar.gym").register_envs()
    else:
        importlib.import_module(provider)


def make_world_env(
    env_id: str,
    *,
    reward_clip: bool,
    flatten: bool = True,
    horizon: int | None = None,
    given: Mapping[str, Any] | None = None,
) -> gymnasium.Env:
    """Make one environment as policies here see it.

    Atari games, whatever their id says of frames and sticky actions, are played as `<Game>NoFrameskip-v4` with the usual
    treatment: up to 30 no-ops, 4 frames a step, no sticky actions, 84 x 84 gray pixels, the last 4 stacked. Other
    environments of images get the same but for the no-ops; MinAtar's stay as they are. Dictionaries of vectors become one vector.

    Args:
        env_id: Registered id, or `module:id`.
        reward_clip: Atari: whether rewards are cut to their sign and a lost life ends an episode, as for training.
        flatten: Whether dictionaries become vectors; hindsight needs them whole.
        horizon: Steps of the policy after which an episode is cut off, in the place of the environment's own limit.
        given: Arguments of its constructor beside those of its registration.

    Raises:
        UserError: There is no such environment, a package is missing, or its images are not of three colors.
    """
    register_providers(env_id)
    atari = provider_of(env_id) == "ale_py"
    more: dict[str, Any] = {"frameskip": 1, "repeat_action_probability": 0.0} if atari else {}
    if fixed := sorted({*more, "obs_type"} & {*(given or {})}) if atari else []:
        raise UserError(
            f"--env.kwargs.{fixed[0]} is fixed for Atari games, which are played as their NoFrameskip-v4, 4 frames a step: leave it out"
        )
    more = {**(given or {}), **more}
    if horizon is not None:
        # The registered limit would count before the one below, and in frames.
        more["max_episode_steps"] = -1
    env = make_env(env_id, disable_env_checker=True, **more)
    if atari:
        env = _atari(env, env_id, reward_clip)
    elif provider_of(env_id) == "minatar":
        env = ByteImages(env)
    elif len(getattr(env.observation_space, "shape", None) or ()) == 3:
        env = _small_stacks(env, env_id)
    elif isinstance(env.observation_space, spaces.Dict) and flatten:
        env = gymnasium.wrappers.FlattenObservation(env)
    env = FiniteOnly(env, env_id, "mend the environment, or check the policy if it drove it there")
    return env if horizon is None else gymnasium.wrappers.TimeLimit(env, horizon)


def provider_of(env_id: str) -> str:
    """Return the package whose code a registered environment runs, or an empty text."""
    spec = gymnasium.registry.get(env_id.rpartition(":")[2])
    return "" if spec is None else str(spec.entry_point).partition(":")[0].partition(".")[0]


def own_limit(env_id: str, env: gymnasium.Env) -> int | None:
    """Return the steps of a policy after which an environment itself cuts an episode off; None if it has no limit."""
    limit = env.spec.max_episode_steps if env.spec else None
    provider = provider_of(env_id)
    skips = len(getattr(env.observation_space, "shape", None) or ()) == 3 and provider != "minatar"
    if provider == "gymnasium_mariobros":
        limit = _MARIO_FRAMES
    return limit if limit is None or not skips else -(-limit // _SKIP)


def _atari(env: gymnasium.Env, env_id: str, reward_clip: bool) -> gymnasium.Env:
    check_extra(("stable_baselines3", "cv2"), "atari,compression", f"--env {env_id}")
    from stable_baselines3.common.atari_wrappers import AtariWrapper

    env = AtariWrapper(env, frame_skip=_SKIP, terminal_on_life_loss=reward_clip, clip_reward=reward_clip)
    env = gymnasium.wrappers.FrameStackObservation(env, 4)
    # Stacks of (4, 84, 84, 1) become (4, 84, 84).
    space = spaces.Box(0, 255, env.observation_space.shape[:3], np.uint8)  # type: ignore[index]
    return gymnasium.wrappers.TransformObservation(env, lambda image: np.asarray(image)[..., 0], space)


def _small_stacks(env: gymnasium.Env, env_id: str) -> gymnasium.Env:
    space = env.observation_space
    if not isinstance(space, spaces.Box) or space.shape[2] != 3 or space.dtype != np.uint8:
        raise UserError(
            f"--env expects images of shape (height, width, 3) in bytes, but {env_id} has {space}: register a wrapped "
            "version that has them"
        )
    check_extra("cv2", "atari", f"--env {env_id}, which has images,")
    if provider_of(env_id) == "gymnasium_mariobros":
        from gymnasium_mariobros.actions import SIMPLE_MOVEMENT
        from gymnasium_mariobros.wrappers import JoypadSpace

        # 7 of the 256 combinations of buttons.
        env = JoypadSpace(env, SIMPLE_MOVEMENT)
    env = gymnasium.wrappers.MaxAndSkipObservation(env, _SKIP)
    env = gymnasium.wrappers.ResizeObservation(gymnasium.wrappers.GrayscaleObservation(env), (84, 84))
    return gymnasium.wrappers.FrameStackObservation(env, 4)
