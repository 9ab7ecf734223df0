"""What a learner is made of: the arguments of its class, and how its environments are wrapped."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from lightning_pz.replay.transitions import Transitions
from lightning_pz.search.rivals.zoo import ZooEntry, evaluate_text
from lightning_pz.search.settings import SearchSettings

_CRITICS = {
    "ppo": ("vf", [64, 64]), "sac": ("qf", [256, 256]), "td3": ("qf", [400, 300]), "ddpg": ("qf", [400, 300]),
    "tqc": ("qf", [256, 256]), "crossq": ("qf", [1024, 1024]),
}  # fmt: skip
"""Name and documented widths of each algorithm's critic, where it has an actor too."""


@dataclass(frozen=True)
class Hyperparameters:
    """Everything that RL Zoo calls hyperparameters."""

    arguments: dict[str, Any]  # of the algorithm's class
    envs: int = 1  # side by side
    normalize: dict[str, Any] | None = None  # arguments of VecNormalize; None for none
    noise: tuple[str, float] | None = (
        None  # kind of action noise, normal or ornstein-uhlenbeck, and its standard deviation
    )
    linear: dict[str, float] = field(default_factory=dict)  # arguments that fall linearly to 0, with their first values

    def least_steps(self, horizon: int) -> int:
        """Return the most environment steps between two moments at which the learner may be cut."""
        if "n_steps" in self.arguments:
            return self.arguments["n_steps"] * self.envs
        every = self.arguments.get("train_freq", 1)
        count, unit = every if isinstance(every, tuple) else (every, "step")
        return count * (horizon if unit == "episode" else self.envs)


def default_hyperparameters(algorithm: str, hidden: tuple[int, ...], budget: int) -> Hyperparameters:
    """Return the documented defaults of Stable-Baselines3, but for the actor's widths, which are `hidden`."""
    arguments: dict[str, Any] = {"policy_kwargs": {"net_arch": list(hidden)}}  # DQN acts by its critic
    if algorithm in _CRITICS:
        critic, widths = _CRITICS[algorithm]
        arguments["policy_kwargs"]["net_arch"] = {"pi": list(hidden), critic: widths}
    return Hyperparameters(arguments | _sizes(algorithm, {}, budget))


def zoo_hyperparameters(algorithm: str, entry: ZooEntry, budget: int) -> Hyperparameters:
    """Return the settings of an entry of RL Zoo, as its own training script reads them.

    Schedules run over the budget, as they do there over the steps that the command line gives.
    """
    own = copy.deepcopy(entry.settings)
    for key in ("n_timesteps", "policy"):
        own.pop(key, None)
    envs, normalize = own.pop("n_envs", 1), own.pop("normalize", False)
    kind, deviation = own.pop("noise_type", None), own.pop("noise_std", None)
    for key in ("policy_kwargs", "replay_buffer_kwargs"):
        if isinstance(own.get(key), str):
            own[key] = evaluate_text(own[key], {"nn": nn})
    if isinstance(normalize, str):
        normalize = evaluate_text(normalize, {})
    normal = None
    if normalize:
        normal = (normalize if isinstance(normalize, dict) else {}) | (
            {"gamma": own["gamma"]} if "gamma" in own else {}
        )
    if isinstance(own.get("train_freq"), list):
        own["train_freq"] = tuple(own["train_freq"])
    linear = {key: float(value.split("_")[1]) for key, value in own.items() if _is_linear(key, value)}
    arguments = {key: value for key, value in own.items() if key not in linear} | _sizes(algorithm, own, budget)
    return Hyperparameters(arguments, envs, normal, None if kind is None else (kind, deviation), linear)


def with_old_data(made: Hyperparameters, old: Callable[[], Transitions], settings: SearchSettings) -> Hyperparameters:
    """Return hyperparameters whose replay buffer begins with old transitions, so that learning starts with the first step."""
    from lightning_pz.search.rivals.old_buffer import OldAndNewReplay

    own = {"old": old, "share": settings.replay, "enough": settings.off_policy.enough}
    kwargs = (made.arguments.get("replay_buffer_kwargs") or {}) | own
    more = {"replay_buffer_class": OldAndNewReplay, "replay_buffer_kwargs": kwargs, "learning_starts": 0}
    return dataclasses.replace(made, arguments=made.arguments | more)


def make_noise(noise: tuple[str, float] | None, actions: int) -> Any:
    """Return the action noise of Stable-Baselines3 for so many actions, or None."""
    if noise is None:
        return None
    from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise

    kind = NormalActionNoise if noise[0] == "normal" else OrnsteinUhlenbeckActionNoise
    return kind(mean=np.zeros(actions), sigma=noise[1] * np.ones(actions))


def _sizes(algorithm: str, own: dict[str, Any], budget: int) -> dict[str, Any]:
    if algorithm == "ppo":
        return {"n_steps": own.get("n_steps", 2048)}  # written out, for `least_steps`
    # A buffer that never fills behaves alike at any size.
    sizes = {"buffer_size": min(int(own.get("buffer_size", 1_000_000)), budget)}
    return sizes | ({"train_freq": own.get("train_freq", 4)} if algorithm == "dqn" else {})


def _is_linear(key: str, value: Any) -> bool:
    return key in ("learning_rate", "clip_range") and isinstance(value, str) and value.startswith("lin_")
