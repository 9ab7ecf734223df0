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

__all__ = ["Physics", "Simulator", "Transition", "make_simulator"]


def make_simulator(env: str | EnvSpec, size: int, threads: int = 1) -> Simulator:
    """Return the fastest exact simulator of an environment, or of a registered Gymnasium id, with that many slots.

    An id that was registered anew, with arguments, wrappers or a class of the user's own, is left to Gymnasium; arguments
    that are given beside the registration are not in the way of MuJoCo's own batch stepping.
    Threads step physics, where the simulator can use them; results do not depend on their number.
    """
    if size < 1 or threads < 1:
        raise ValueError(f"a simulator needs at least 1 slot and 1 thread, but got {size} and {threads}")
    spec = env_spec(env) if isinstance(env, str) else env
    if spec.source or not _as_shipped(spec.id):  # another environment under a known id
        return GymnasiumSimulator(spec, size)
    if spec.id in MUJOCO_FORMULAS:
        return MujocoSimulator(spec, size, threads)
    if spec.given:
        return GymnasiumSimulator(spec, size)
    classic: dict[str, type] = {"MountainCarContinuous-v0": MountainCarSimulator, "Pendulum-v1": PendulumSimulator}
    classic |= dict.fromkeys(CHOICE_FORMULAS, ChoiceSimulator)
    return classic.get(spec.id, GymnasiumSimulator)(spec, size)


def _as_shipped(env_id: str) -> bool:
    """Whether an id stands for what Gymnasium registered under it, with no arguments or wrappers of anybody else."""
    entry = gymnasium.registry.get(env_id)
    if entry is None or not str(entry.entry_point).startswith("gymnasium.envs."):
        return False
    return not entry.kwargs and not entry.additional_wrappers
