"""Batch simulators: many episodes of one environment at once."""

from __future__ import annotations

import gymnasium

from lightning_pz.envs.simulators.classic import MountainCarSimulator, PendulumSimulator
from lightning_pz.envs.simulators.classic_choices import CHOICE_FORMULAS, ChoiceSimulator
from lightning_pz.envs.simulators.gymnasium_loop import GymnasiumSimulator
from lightning_pz.envs.simulators.mujoco import MujocoSimulator
from lightning_pz.envs.simulators.mujoco_tables import MUJOCO_FORMULAS
from lightning_pz.envs.simulators.protocol import Physics, Simulator, Transition
from lightning_pz.envs.specs import EnvSpec, env_spec

__all__ = ["Physics", "Simulator", "Transition", "make_simulator", "slow_note"]

_CLASSIC: dict[str, type] = {
    "MountainCarContinuous-v0": MountainCarSimulator, "Pendulum-v1": PendulumSimulator, **dict.fromkeys(CHOICE_FORMULAS, ChoiceSimulator),
}  # fmt: skip


def make_simulator(env: str | EnvSpec, size: int, threads: int = 1) -> Simulator:
    """Return the fastest exact simulator of an environment, or of a registered Gymnasium id, with that many slots.

    An id that was registered anew, with arguments, wrappers or a class of the user's own, is left to Gymnasium; arguments
    that are given beside the registration are not in the way of MuJoCo's own batch stepping.
    Threads step physics, where the simulator can use them; results do not depend on their number.
    """
    if size < 1 or threads < 1:
        raise ValueError(f"a simulator needs at least 1 slot and 1 thread, but got {size} and {threads}")
    spec = env_spec(env) if isinstance(env, str) else env
    kind = _fast_kind(spec)
    if kind is MujocoSimulator:
        return MujocoSimulator(spec, size, threads)
    return (kind or GymnasiumSimulator)(spec, size)


def slow_note(spec: EnvSpec) -> str | None:
    """Return a sentence on why Gymnasium steps an environment that has a fast simulator; None if it does not."""
    if spec.id not in {*MUJOCO_FORMULAS, *_CLASSIC} or _fast_kind(spec) is not None:
        return None
    why = (
        "has arguments other than Gymnasium's" if spec.given and _is_known(spec) else "is not as Gymnasium registers it"
    )
    return f"{spec.id} {why}, so Gymnasium steps its episodes one by one, which takes many times as long"


def _fast_kind(spec: EnvSpec) -> type | None:
    if not _is_known(spec):
        return None
    if spec.id in MUJOCO_FORMULAS:
        return MujocoSimulator
    return None if spec.given else _CLASSIC.get(spec.id)


def _is_known(spec: EnvSpec) -> bool:
    return not spec.source and _as_shipped(spec.id)  # otherwise another environment under a known id


def _as_shipped(env_id: str) -> bool:
    """Whether an id stands for what Gymnasium registered under it, with no arguments or wrappers of anybody else."""
    entry = gymnasium.registry.get(env_id)
    if entry is None or not str(entry.entry_point).startswith("gymnasium.envs."):
        return False
    return not entry.kwargs and not entry.additional_wrappers
