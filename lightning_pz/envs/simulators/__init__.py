"""Batch simulators: many episodes of one environment at once."""

from __future__ import annotations

from lightning_pz.envs.simulators.classic import MountainCarSimulator, PendulumSimulator
from lightning_pz.envs.simulators.gymnasium_loop import GymnasiumSimulator
from lightning_pz.envs.simulators.mujoco import MujocoSimulator
from lightning_pz.envs.simulators.mujoco_tables import MUJOCO_FORMULAS
from lightning_pz.envs.simulators.protocol import Physics, Simulator, Transition
from lightning_pz.envs.specs import EnvSpec, env_spec

__all__ = ["Physics", "Simulator", "Transition", "make_simulator"]


def make_simulator(env: str | EnvSpec, size: int, threads: int = 1) -> Simulator:
    """Return the fastest exact simulator of an environment.

    Args:
        env: Registered Gymnasium id, or its specification.
        size: Number of slots, that is of episodes at a time.
        threads: Threads that step physics, where the simulator can use them. Results do not depend on it.

    Raises:
        UserError: The environment is unknown or cannot be used.
        ValueError: A size or a number of threads below 1.
    """
    if size < 1 or threads < 1:
        raise ValueError(f"a simulator needs at least 1 slot and 1 thread, but got {size} and {threads}")
    spec = env_spec(env) if isinstance(env, str) else env
    if spec.id in MUJOCO_FORMULAS:
        return MujocoSimulator(spec, size, threads)
    if spec.id == "MountainCarContinuous-v0":
        return MountainCarSimulator(spec, size)
    if spec.id == "Pendulum-v1":
        return PendulumSimulator(spec, size)
    return GymnasiumSimulator(spec, size)
