"""Formulas of Gymnasium's MuJoCo environments: observation, reward, termination, reset noise.

Each piece is a pure function on the rows of the active simulations and repeats the arithmetic of Gymnasium's
`-v5` class in the same order and precision, default settings, so that results agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lightning_pz.envs.simulators.numerics import scalar_square

Fields = Mapping[str, np.ndarray]
"""MjData fields of n simulations by name: `qpos` (n, nq), `qvel` (n, nv) and the formulas' `outputs`."""
_Outcome = tuple[np.ndarray, np.ndarray]
"""Rewards (n,) float64 and terminated (n,) bool."""
OutcomeFunction = Callable[[Fields, Fields, np.ndarray, float], _Outcome]
"""From fields before and after a step, actions (n, A) and the seconds of a control step."""


@dataclass(frozen=True)
class MujocoFormulas:
    """One environment.

    `noise` maps a generator, resting positions (nq,) and velocities (nv,) to those of an episode's start, drawing in
    Gymnasium's order.
    """

    observe: Callable[[Fields], np.ndarray]  # to observations, (n, O)
    outcome: OutcomeFunction
    noise: Callable[[np.random.Generator, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    outputs: tuple[str, ...] = ()  # derived MjData fields that observe and outcome read
    contact_forces: bool = False  # whether they also read `cfrc_ext`, which MuJoCo computes only on request


def _control_cost(weight: float, actions: np.ndarray) -> np.ndarray:
    return weight * np.square(actions).sum(axis=-1)


def _noise(scale: float, normal: bool = False) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Uniform noise on positions; uniform or normal noise on velocities."""

    def noise(generator: np.random.Generator, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        positions = qpos + generator.uniform(low=-scale, high=scale, size=len(qpos))
        if normal:
            return positions, qvel + scale * generator.standard_normal(len(qvel))
        return positions, qvel + generator.uniform(low=-scale, high=scale, size=len(qvel))

    return noise


def _reacher_noise(generator: np.random.Generator, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Noise on the arm, and a target drawn from the disk of 0.2 m by rejection."""
    positions = generator.uniform(low=-0.1, high=0.1, size=len(qpos)) + qpos
    goal = np.full(2, np.inf)
    while not np.linalg.norm(goal) < 0.2:
        goal = generator.uniform(low=-0.2, high=0.2, size=2)
    positions[-2:] = goal
    velocities = qvel + generator.uniform(low=-0.005, high=0.005, size=len(qvel))
    velocities[-2:] = 0
    return positions, velocities


# Body numbers in Gymnasium's models (0 is the world).
_FINGERTIP, _TARGET, _TORSO = 3, 4, 1


def _observe_from(first: int, clip: float | None = None) -> Callable[[Fields], np.ndarray]:
    """Positions from the `first` on, then velocities, which may be clipped."""

    def observe(fields: Fields) -> np.ndarray:
        velocities = fields["qvel"] if clip is None else np.clip(fields["qvel"], -clip, clip)
        return np.concatenate([fields["qpos"][:, first:], velocities], axis=1)

    return observe


def _observe_ant(fields: Fields) -> np.ndarray:
    forces = np.clip(fields["cfrc_ext"], -1.0, 1.0)[:, 1:].reshape(len(fields["qpos"]), -1)
    return np.concatenate([fields["qpos"][:, 2:], fields["qvel"], forces], axis=1)


def _observe_reacher(fields: Fields) -> np.ndarray:
    theta = np.ascontiguousarray(fields["qpos"][:, :2])
    offset = (fields["xpos"][:, _FINGERTIP] - fields["xpos"][:, _TARGET])[:, :2]
    parts = [np.cos(theta), np.sin(theta), fields["qpos"][:, 2:], fields["qvel"][:, :2], offset]
    return np.concatenate(parts, axis=1)


def _observe_double_pendulum(fields: Fields) -> np.ndarray:
    angles = np.ascontiguousarray(fields["qpos"][:, 1:])
    velocities = np.clip(fields["qvel"], -10, 10)
    force = np.clip(fields["qfrc_constraint"][:, :1], -10, 10)
    return np.concatenate([fields["qpos"][:, :1], np.sin(angles), np.cos(angles), velocities, force], axis=1)


def _forward_speed(before: Fields, after: Fields, dt: float) -> np.ndarray:
    return (after["qpos"][:, 0] - before["qpos"][:, 0]) / dt


def _run(weight: float) -> OutcomeFunction:
    """HalfCheetah, Swimmer: speed along x less the control cost; no termination."""

    def outcome(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> _Outcome:
        return _forward_speed(before, after, dt) - _control_cost(weight, actions), np.zeros(len(actions), dtype=bool)

    return outcome


def _hop(z_range: tuple[float, float], angle_range: tuple[float, float], state_limit: float) -> OutcomeFunction:
    """Hopper, Walker2d: speed along x, 1 for being upright, control cost; ends when fallen."""

    def outcome(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> _Outcome:
        z, angle = after["qpos"][:, 1:3].T
        healthy = (z_range[0] < z) & (z < z_range[1]) & (angle_range[0] < angle) & (angle < angle_range[1])
        if np.isfinite(state_limit):
            healthy &= (np.abs(after["qpos"][:, 2:]) < state_limit).all(axis=1)
            healthy &= (np.abs(after["qvel"]) < state_limit).all(axis=1)
        rewards = _forward_speed(before, after, dt) + healthy * 1.0
        return rewards - _control_cost(1e-3, actions), ~healthy

    return outcome


def _finite(fields: Fields) -> np.ndarray:
    return np.isfinite(np.concatenate([fields["qpos"], fields["qvel"]], axis=1)).all(axis=1)


def _ant(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> _Outcome:
    # Gymnasium reads the torso's Cartesian position, which lags one substep behind `qpos`.
    speed = (after["xpos"][:, _TORSO, 0] - before["xpos"][:, _TORSO, 0]) / dt
    z = after["qpos"][:, 2]
    healthy = _finite(after) & (z >= 0.2) & (z <= 1.0)
    forces = np.clip(after["cfrc_ext"], -1.0, 1.0).reshape(len(z), -1)
    contact_cost = 5e-4 * np.square(forces).sum(axis=-1)
    return speed + healthy * 1.0 - (_control_cost(0.5, actions) + contact_cost), ~healthy


def _reach(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> _Outcome:
    offset = after["xpos"][:, _FINGERTIP] - after["xpos"][:, _TARGET]
    # vecdot uses the dot product of numpy.linalg.norm, fused multiply-adds included.
    distance = np.sqrt(np.vecdot(offset, offset))
    return -distance - np.square(actions).sum(axis=-1), np.zeros(len(actions), dtype=bool)


def _balance(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> _Outcome:
    terminated = ~_finite(after) | (np.abs(after["qpos"][:, 1]) > 0.2)
    return (~terminated).astype(np.float64), terminated


def _balance_double(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> _Outcome:
    x, y = after["site_xpos"][:, 0, 0], after["site_xpos"][:, 0, 2]
    v1, v2 = after["qvel"][:, 1], after["qvel"][:, 2]
    terminated = y <= 1
    distance_penalty = 0.01 * scalar_square(x) + scalar_square(y - 2)
    velocity_penalty = 1e-3 * scalar_square(v1) + 5e-3 * scalar_square(v2)
    return 10.0 * ~terminated - distance_penalty - velocity_penalty, terminated


MUJOCO_FORMULAS: dict[str, MujocoFormulas] = {
    "HalfCheetah-v5": MujocoFormulas(_observe_from(1), _run(0.1), _noise(0.1, normal=True)),
    "Swimmer-v5": MujocoFormulas(_observe_from(2), _run(1e-4), _noise(0.1)),
    "Hopper-v5": MujocoFormulas(_observe_from(1, 10.0), _hop((0.7, np.inf), (-0.2, 0.2), 100.0), _noise(5e-3)),
    "Walker2d-v5": MujocoFormulas(_observe_from(1, 10.0), _hop((0.8, 2.0), (-1.0, 1.0), np.inf), _noise(5e-3)),
    "InvertedPendulum-v5": MujocoFormulas(_observe_from(0), _balance, _noise(0.01)),
    "InvertedDoublePendulum-v5": MujocoFormulas(
        _observe_double_pendulum, _balance_double, _noise(0.1, normal=True), outputs=("site_xpos", "qfrc_constraint")
    ),
    "Reacher-v5": MujocoFormulas(_observe_reacher, _reach, _reacher_noise, outputs=("xpos",)),
    "Ant-v5": MujocoFormulas(_observe_ant, _ant, _noise(0.1, normal=True), outputs=("xpos",), contact_forces=True),
}
"""The environments that run on MuJoCo's native batch stepping, by Gymnasium id."""
