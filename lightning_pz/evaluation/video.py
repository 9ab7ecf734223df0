"""Films of one policy in its environment, where a renderer is available."""

from __future__ import annotations

import os
from pathlib import Path

import gymnasium
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.envs.specs import EnvSpec, make_env
from lightning_pz.policy import PolicyNetwork

_FRAMES = 300
_FRAMES_PER_SECOND = 30.0


def film(
    network: PolicyNetwork, params: Float[Tensor, " params"], spec: EnvSpec, seed: int, stem: Path
) -> tuple[Path | None, str]:
    """Play one episode and write it as a film.

    Args:
        network: What the policies share.
        params: Weights of the policy, (P,).
        spec: The environment.
        seed: Seed of the episode.
        stem: Path without suffix: an MP4 is written where imageio has ffmpeg, else a GIF.

    Returns:
        The file and an empty string, or None and why there is none.
    """
    if "DISPLAY" not in os.environ:
        os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo's own first choice needs a screen
    try:
        env: gymnasium.Env = make_env(spec.id, max_episode_steps=spec.horizon, render_mode="rgb_array")
        env.reset(seed=seed)
        if np.asarray(env.render()).ndim != 3:
            return None, f"{spec.id} draws no pictures"
    except Exception as error:  # a missing renderer shows in as many ways as there are graphics stacks
        return None, f"{spec.id} cannot be drawn here ({type(error).__name__}: {error})".splitlines()[0]
    try:
        frames = _frames(network, params, env, spec.horizon, seed)
    finally:
        env.close()
    import imageio.v3 as imageio

    stem.parent.mkdir(parents=True, exist_ok=True)
    try:
        import imageio_ffmpeg  # noqa: F401

        path = stem.with_suffix(".mp4")
        imageio.imwrite(path, frames, fps=_FRAMES_PER_SECOND, plugin="FFMPEG")
    except ImportError:
        path = stem.with_suffix(".gif")
        imageio.imwrite(path, frames, duration=1000 / _FRAMES_PER_SECOND, loop=0)
    return path, ""


@torch.no_grad()
def _frames(
    network: PolicyNetwork, params: Float[Tensor, " params"], env: gymnasium.Env, horizon: int, seed: int
) -> np.ndarray:
    """Return at most 300 pictures spread over an episode, (frames, height, width, 3) uint8."""
    every = max(1, round(horizon / _FRAMES))
    observation, _ = env.reset(seed=seed)
    pictures = [np.array(env.render())]  # an environment may draw into one picture again and again
    for step in range(1, horizon + 1):
        seen = torch.as_tensor(observation, dtype=torch.float32)[None, None]
        observation, _, terminated, truncated, _ = env.step(network(params[None], seen)[0, 0].numpy())
        if step % every == 0:
            pictures.append(np.array(env.render()))
        if terminated or truncated:
            break
    return np.stack(pictures)
