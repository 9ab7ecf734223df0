"""Training a policy by Stable-Baselines3 while it is made small. Needs the extra `compression`.

A training is cut into segments of `checkpoint_every` environment steps. Each begins with fresh episodes and generators
seeded by its number, and each end is saved, so that a training that goes on after a kill equals one that was never stopped.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.her import HerReplayBuffer
from torch import nn
from tqdm import tqdm

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import replacing
from lightning_pz.compression.compressor import Compressor
from lightning_pz.compression.environments import World
from lightning_pz.compression.make_environment import make_world_env
from lightning_pz.compression.methods.shadow import Shadow
from lightning_pz.compression.network import to_plan
from lightning_pz.compression.seeds import segment_seed
from lightning_pz.compression.settings import RESUME, CompressSettings
from lightning_pz.compression.training.recent import Recent
from lightning_pz.compression.training.sb3_callback import CompressionCallback
from lightning_pz.compression.training.sb3_networks import algorithm_class, load_model, network_of, optimizer_of

_RANK_STATES = 2000
CLASSES = ("features_extractor_class", "activation_fn")
"""Arguments in `policy_kwargs` that name a class by its dotted path."""


@dataclass(frozen=True)
class Trained:
    """A policy that was trained and made small.

    Attributes:
        model: The Stable-Baselines3 model; its layers hold the finished weights.
        whole: Its deterministic policy.
        final: The same with low-rank layers split in two.
        compressor: What was done to it.
        env_steps: Environment steps taken.
    """

    model: Any
    whole: nn.Sequential
    final: nn.Sequential
    compressor: Compressor
    env_steps: int


def train(
    world: World,
    settings: CompressSettings,
    folder: Path,
    *,
    progress: bool | None = False,
    stop_after: int | None = None,
) -> Trained | None:
    """Train from scratch, or go on where a training in this folder was interrupted.

    Args:
        world: The environment.
        settings: What to do.
        folder: Where TensorBoard events and, between segments, the state in `RESUME` go; who called takes it away once
            the result is safe.
        progress: Whether to draw a progress bar; on a terminal only if None.
        stop_after: Segments after which to return None, as if killed.

    Raises:
        UserError: The algorithm does not fit the actions, or a setting that it does not know.
    """
    check_algorithm(world, settings.algorithm)
    options = copy.deepcopy(settings.model.get(settings.algorithm, {}))
    envs = options.pop("n_envs", 1)
    total, place = settings.total_steps(), folder / RESUME
    segment = settings.checkpoint_every or total
    saved = _load(place)
    number = 0 if saved is None else saved["segments"]
    hindsight = options.pop("hindsight", False)
    env = _make_envs(world, envs, flatten=not hindsight)
    if hindsight:
        options |= {"policy": "MultiInputPolicy", "replay_buffer_class": HerReplayBuffer}
    if saved is None:
        model = make_model(world, settings, options, env)
    else:
        model = load_model(place / f"model-{number}.zip", settings.algorithm, env=env)
        if (replay := place / f"replay-{number}.pkl").is_file():
            with _explained(replay):
                model.load_replay_buffer(replay)
    model.set_logger(configure(str(folder), ["tensorboard"]))

    rate = float(optimizer_of(model).param_groups[0]["lr"])
    network = network_of(model)
    to_plan(network)  # Refuses now, not after the training, what no file can hold.
    recent = Recent(_RANK_STATES) if settings.has("low_rank") and settings.low_rank.error is not None else None
    states = None if recent is None else lambda: recent.states().float()
    compressor = Compressor(network, settings, rate, states)
    if saved is not None:
        compressor.restore(saved["compressor"])
        if recent is not None and saved["recent"] is not None:
            recent.restore(saved["recent"])
    shadow = Shadow(compressor, optimizer_of(model))
    if saved is not None:
        with torch.no_grad():
            for name, weight in compressor.weights.items():
                weight.copy_(saved["compressor"]["weights"][name])
        shadow.settle()
    steps = 0 if saved is None else model.num_timesteps
    with tqdm(total=total, initial=steps, unit="step", disable=None if progress is None else not progress) as bar:
        while model.num_timesteps < total:
            model.set_env(env)
            model.set_random_seed(segment_seed(settings.seed, number))
            left = min(segment, total - model.num_timesteps)
            callback = CompressionCallback(compressor, shadow, total, bar, recent)
            model.learn(left, callback=callback, reset_num_timesteps=number == 0, log_interval=4)
            number += 1
            if settings.checkpoint_every is not None and model.num_timesteps < total:
                _save(place, number, model, compressor, shadow, recent)
                if number == stop_after:
                    return None
    compressor.advance(total)
    shadow.remove()
    env.close()
    whole, final = compressor.finished()
    return Trained(model, whole, final, compressor, model.num_timesteps)


def make_model(world: World, settings: CompressSettings, options: dict[str, Any], env: VecEnv) -> Any:
    """Make a new learner.

    Args:
        world: The environment.
        settings: Algorithm, seed and steps.
        options: Arguments of its class; `policy` and, in `policy_kwargs`, classes may be named as text.
        env: Environments to learn in.

    Raises:
        UserError: A setting that the class does not take, or a class that cannot be imported.
    """
    options = {"policy": "CnnPolicy" if world.is_image else "MlpPolicy", "device": "cpu"} | options
    inner = options.get("policy_kwargs", {})
    for key in CLASSES:
        if isinstance(inner.get(key), str):
            inner[key] = class_of(f"model.{settings.algorithm}.policy_kwargs.{key}", inner[key])
    if settings.algorithm != "ppo":
        # A buffer that never fills behaves alike at any size.
        options["buffer_size"] = min(options.get("buffer_size", 1_000_000), settings.total_steps())
    try:
        return algorithm_class(settings.algorithm)(env=env, seed=settings.seed, **options)
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        raise UserError(
            f"--model.{settings.algorithm} holds a setting that {settings.algorithm} refuses: {error}"
        ) from error


def class_of(flag: str, path: str) -> Any:
    """Return the class that a dotted path names.

    Raises:
        UserError: There is none.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, ValueError, AttributeError) as error:
        raise UserError(f"--{flag} expects a class such as torch.nn.Tanh, but {path!r} is none ({error})") from error


def check_algorithm(world: World, algorithm: str) -> None:
    """Raise `UserError` for an algorithm that cannot act in an environment."""
    if world.discrete and algorithm in ("sac", "td3"):
        raise UserError(f"--algorithm {algorithm} moves in a box, but {world.id} has discrete actions: use dqn or ppo")
    if not world.discrete and algorithm == "dqn":
        raise UserError(f"--algorithm dqn chooses among actions, but {world.id} has a box of them: use sac, td3 or ppo")


def _make_envs(world: World, count: int, *, flatten: bool) -> VecEnv:
    def make() -> Monitor:
        return Monitor(make_world_env(world.id, reward_clip=True, flatten=flatten, horizon=world.horizon))

    return DummyVecEnv([make for _ in range(count)])


def _load(place: Path) -> dict[str, Any] | None:
    """Return what `_save` kept, or None where there is nothing to go on from."""
    if not (place / "state.pt").is_file():
        return None
    with _explained(place / "state.pt"):
        return torch.load(place / "state.pt", weights_only=True)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {error}): delete {path.parent} to begin again"
        ) from error


def _save(place: Path, number: int, model: Any, compressor: Compressor, shadow: Shadow, recent: Recent | None) -> None:
    """Keep where the training stands; `state.pt` comes last and says which files count."""
    place.mkdir(parents=True, exist_ok=True)
    shadow.settle()
    model.save(place / f"model-{number}.zip")
    if getattr(model, "replay_buffer", None) is not None:
        model.save_replay_buffer(place / f"replay-{number}.pkl")
    seen = None if recent is None or compressor.settled else recent.states()
    with replacing(place / "state.pt") as temporary:
        torch.save({"segments": number, "compressor": compressor.state(), "recent": seen}, temporary)
    for old in (*place.glob(f"*-{number - 1}.zip"), *place.glob(f"*-{number - 1}.pkl")):
        old.unlink()
