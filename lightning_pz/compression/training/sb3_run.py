"""Trains a policy by Stable-Baselines3 while it is compressed. Needs the extra `compression`.

A training is cut into segments of `checkpoint_every` environment steps. Each begins with fresh episodes and generators
seeded by its number, and its end is saved, so that a training that is killed and resumed equals one that is not.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.her import HerReplayBuffer

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import replacing
from lightning_pz.common.progress import ProgressBar
from lightning_pz.compression.compressor import Compressed, Compressor
from lightning_pz.compression.environments import World
from lightning_pz.compression.methods.shadow import Shadow
from lightning_pz.compression.modules import to_plan
from lightning_pz.compression.seeds import segment_seed
from lightning_pz.compression.settings import RESUME, CompressSettings
from lightning_pz.compression.training.distill import RANK_STATES, Log
from lightning_pz.compression.training.sb3_models import algorithm_class, load_model
from lightning_pz.compression.training.sb3_networks import network_of, optimizer_of

CLASS_ARGUMENTS = ("features_extractor_class", "activation_fn")
"""Arguments in `policy_kwargs` that name a class by its dotted path."""


def train_sb3(
    world: World,
    settings: CompressSettings,
    folder: Path,
    progress: bool | None = False,
    stop_after: int | None = None,
    on_steps: Callable[[int], None] = lambda steps: None,
    begin_log: Callable[[int], Log] = lambda steps: lambda values, step: None,
) -> Compressed | None:
    """Train from scratch, or resume an interrupted training in this folder.

    Between segments the folder takes the state in `RESUME`, which the caller removes once the result is safe. After
    `stop_after` segments the training returns None, as if killed. `on_steps` is called with the environment steps so
    far; what it raises ends the training. `begin_log` is called with the steps at which the training begins, and gives
    what takes Stable-Baselines3's numbers and the compressor's.

    Raises:
        UserError: The algorithm does not fit the actions, or a setting that it does not know.
    """
    if world.discrete and (name := settings.algorithm) in ("sac", "td3"):
        raise UserError(f"--algorithm {name} moves in a box, but {world.id} has discrete actions: use dqn or ppo")
    if not world.discrete and settings.algorithm == "dqn":
        raise UserError(f"--algorithm dqn chooses among actions, but {world.id} has a box of them: use sac, td3 or ppo")
    begin = time.process_time()
    options = {"device": "cpu"} | copy.deepcopy(settings.model.get(settings.algorithm, {}))
    envs, hindsight = options.pop("n_envs", 1), options.pop("hindsight", False)

    def make_env() -> Monitor:
        return Monitor(world.make(reward_clip=True, flatten=not hindsight))

    env = DummyVecEnv([make_env for _ in range(envs)])
    if hindsight:
        options |= {"policy": "MultiInputPolicy", "replay_buffer_class": HerReplayBuffer}
    place, saved, number = folder / RESUME, None, 0
    if (path := place / "state.pt").is_file():
        with _explained(path):
            saved = torch.load(path, weights_only=True)
    if saved is None:
        model = make_model(world, settings, options, env)
    else:
        number = saved["segments"]
        model = load_model(place / f"model-{number}.zip", settings.algorithm, options["device"], env=env)
        if (replay := place / f"replay-{number}.pkl").is_file():
            with _explained(replay):
                model.load_replay_buffer(replay)
    steps = 0 if saved is None else model.num_timesteps
    # An earlier version kept no time: what is missing there makes the sum a lower bound.
    earlier = 0.0 if saved is None else saved.get("cpu_seconds", 0.0)
    model.set_logger(Logger(None, [_Numbers(begin_log(steps))]))

    optimizer, network = optimizer_of(model), network_of(model)
    to_plan(network)  # Refuses now, not after the training, what no file can hold.
    by_error = settings.has("low_rank") and settings.low_rank.error is not None
    recent: deque[np.ndarray] | None = deque(maxlen=RANK_STATES) if by_error else None
    states = None if recent is None else lambda: _stacked(recent).float()
    compressor = Compressor(network, settings, float(optimizer.param_groups[0]["lr"]), states)
    shadow = Shadow(compressor, optimizer)
    if saved is not None:
        compressor.restore(saved["compressor"])
        shadow.settle()
        if recent is not None and saved["recent"] is not None:
            recent.extend(saved["recent"].numpy())
    total = settings.total_steps()
    segment = settings.checkpoint_every or total
    with ProgressBar(total=total, initial=steps, unit="step", progress=progress) as bar:
        while model.num_timesteps < total:
            model.set_env(env)
            model.set_random_seed(segment_seed(settings.seed, number))
            left = min(segment, total - model.num_timesteps)
            callback = CompressionCallback(compressor, shadow, total, bar, recent, on_steps)
            model.learn(left, callback=callback, reset_num_timesteps=number == 0, log_interval=4)
            number += 1
            if settings.checkpoint_every is not None and model.num_timesteps < total:
                _save(place, number, model, compressor, shadow, recent, earlier + time.process_time() - begin)
                if number == stop_after:
                    return None
    compressor.advance(total)
    shadow.remove()
    env.close()
    return Compressed(*compressor.finished(), compressor, model.num_timesteps, model, earlier)


class _Numbers(KVWriter):
    """Passes on what Stable-Baselines3 logs."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Log the numbers among what was recorded, and leave out what is not for curves."""
        told = {key: value for key, value in key_values.items() if "tensorboard" not in (key_excluded.get(key) or ())}
        self.log({key: float(value) for key, value in told.items() if isinstance(value, int | float | np.number)}, step)

    def close(self) -> None:
        """Do nothing: whoever gave the log closes it."""


class CompressionCallback(BaseCallback):
    """Advances a compressor with the environment steps, and logs its numbers.

    While the policy acts its gates have no noise; while it learns they do. A call to `learn` may be a part of the total
    environment steps. `recent` takes the observations acted on while the compressor needs them. No buffer holds them: a
    rollout buffer is zeros until it fills, and a replay buffer begins with the results of random actions.
    """

    def __init__(
        self,
        compressor: Compressor,
        shadow: Shadow,
        total: int,
        bar: ProgressBar,
        recent: deque[np.ndarray] | None = None,
        on_steps: Callable[[int], None] = lambda steps: None,
    ) -> None:
        super().__init__()
        self.on_steps = on_steps
        self.compressor, self.shadow, self.total, self.bar, self.recent = compressor, shadow, total, bar, recent

    def _on_training_start(self) -> None:
        # Schedules such as DQN's exploration run over the whole training, not over this part.
        self.model._total_timesteps = self.total

    def _on_rollout_start(self) -> None:
        if self.compressor.gates:
            self.shadow.settle()

    def _on_rollout_end(self) -> None:
        # Counting zeros after every step of an off-policy algorithm would slow it down.
        every, steps = max(1, self.total // 500), self.num_timesteps
        if steps % every < max(1, self.training_env.num_envs) or steps % 2048 == 0:
            for name, value in self.compressor.scalars().items():
                self.logger.record(f"compress/{name}", value)
            self.logger.dump(steps)
        if self.compressor.gates:
            self.shadow.write()

    def _on_step(self) -> bool:
        if self.recent is not None and not self.compressor.settled:
            # The observations that this step acted on; the next ones take their place after this call.
            seen: Any = self.model._last_obs
            if isinstance(seen, dict):
                # Goals and observation side by side, in the order in which the policy joins them.
                seen = np.concatenate([part.reshape(len(part), -1) for part in seen.values()], axis=1)
            self.recent.extend(np.array(seen))
        if self.compressor.advance(self.num_timesteps):
            self.shadow.settle()
        self.bar.update(self.num_timesteps - self.bar.n)
        self.on_steps(self.num_timesteps)
        return True


def make_model(world: World, settings: CompressSettings, options: dict[str, Any], env: VecEnv) -> Any:
    """Make a new learner from arguments of its class; `policy` and classes in `policy_kwargs` may be named as text.

    Raises `UserError` for an argument that the class does not take, or a class that cannot be imported.
    """
    options = {"policy": "CnnPolicy" if world.is_image else "MlpPolicy"} | options
    inner = options.get("policy_kwargs", {})
    for key in CLASS_ARGUMENTS:
        if isinstance(inner.get(key), str):
            inner[key] = class_of(f"model.{settings.algorithm}.policy_kwargs.{key}", inner[key])
    if settings.algorithm != "ppo":
        # A buffer that never fills behaves alike at any size.
        options["buffer_size"] = min(options.get("buffer_size", 1_000_000), settings.total_steps())
    try:
        return algorithm_class(name := settings.algorithm)(env=env, seed=settings.seed, **options)
    except (TypeError, ValueError, AssertionError, KeyError, RuntimeError) as error:
        raise UserError(f"--model.{name} holds a setting that {name} refuses: {error}") from error


def class_of(flag: str, path: str) -> Any:
    """Return the class that a dotted path names; raise `UserError` if there is none."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, ValueError, AttributeError) as error:
        raise UserError(f"--{flag} expects a class such as torch.nn.Tanh, but {path!r} is none ({error})") from error


def _stacked(recent: deque[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(list(recent)))


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} cannot be read ({problem}): delete {path.parent} to begin again") from error


def _save(
    place: Path,
    number: int,
    model: Any,
    compressor: Compressor,
    shadow: Shadow,
    recent: deque[np.ndarray] | None,
    cpu_seconds: float,
) -> None:
    """Write the state of the training; `state.pt` comes last and says which files count."""
    place.mkdir(parents=True, exist_ok=True)
    shadow.settle()
    model.save(place / f"model-{number}.zip")
    if getattr(model, "replay_buffer", None) is not None:
        model.save_replay_buffer(place / f"replay-{number}.pkl")
    seen = None if recent is None or compressor.settled else _stacked(recent)
    with replacing(place / "state.pt") as temporary:
        state = {"segments": number, "compressor": compressor.state(), "recent": seen, "cpu_seconds": cpu_seconds}
        torch.save(state, temporary)
    for old in (*place.glob(f"*-{number - 1}.zip"), *place.glob(f"*-{number - 1}.pkl")):
        old.unlink()
