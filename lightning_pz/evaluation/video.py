"""Films of one policy in its environment, where a renderer is available."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float
from torch import Tensor

from lightning_pz.envs.episodes import Step, play_episodes
from lightning_pz.envs.forward import BatchForward
from lightning_pz.envs.simulators.gymnasium_loop import GymnasiumSimulator
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.policy import PolicyNetwork

_FRAMES = 300
_FRAMES_PER_SECOND = 30.0


def film(
    network: PolicyNetwork, params: Float[Tensor, " params"], spec: EnvSpec, seed: int, stem: Path
) -> tuple[Path | None, str]:
    """Play one episode and write it as a film, an MP4 where imageio has ffmpeg, else a GIF, at a path without suffix.

    Returns the file and an empty string, or None and why there is none.
    """
    if "DISPLAY" not in os.environ:
        os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo's own first choice needs a screen
    try:
        env: gymnasium.Env = spec.make(max_episode_steps=spec.horizon, render_mode="rgb_array")
        env.reset(seed=seed)
        if np.asarray(env.render()).ndim != 3:
            return None, f"{spec.id} draws no pictures"
    except Exception as error:  # a missing renderer shows in as many ways as there are graphics stacks
        return None, f"{spec.id} cannot be drawn here ({type(error).__name__}: {error})".splitlines()[0]
    try:
        frames = _Frames(env, every=max(1, round(spec.horizon / _FRAMES)))
        simulator = GymnasiumSimulator(spec, 1, make=lambda: env, physics=False)
        play_episodes(BatchForward(network, params[None], seeds=[seed]), simulator, [seed], spec.horizon, [frames])
    finally:
        env.close()
    import imageio.v3 as imageio

    stem.parent.mkdir(parents=True, exist_ok=True)
    try:
        import imageio_ffmpeg  # noqa: F401

        path, how = stem.with_suffix(".mp4"), dict[str, Any](fps=_FRAMES_PER_SECOND, plugin="FFMPEG")
    except ImportError:
        path, how = stem.with_suffix(".gif"), dict[str, Any](duration=1000 / _FRAMES_PER_SECOND, loop=0)
    imageio.imwrite(path, np.stack(frames.pictures), **how)
    return path, ""


class _Frames:
    """Draws an environment as it is now, and after every so many steps."""

    def __init__(self, env: gymnasium.Env, every: int) -> None:
        self._env, self._every = env, every
        self.pictures = [np.array(env.render())]  # an environment may draw into one picture again and again

    def see(self, step: Step) -> None:
        if (step.number + 1) % self._every == 0:
            self.pictures.append(np.array(self._env.render()))
