"""What tells the MuJoCo environments of Gymnasium apart: observation, reward, termination, reset noise.

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
Outcome = tuple[np.ndarray, np.ndarray]
"""Rewards (n,) float64 and terminated (n,) bool."""


@dataclass(frozen=True)
class MujocoFormulas:
    """One environment.

    Attributes:
        observe: Fields to observations, (n, O).
        outcome: Fields before and after, actions (n, A), seconds of a control step; to rewards, terminated.
        noise: Generator, resting positions (nq,) and velocities (nv,) to those of an episode's start, drawing
            in Gymnasium's order.
        outputs: Derived MjData fields that the two functions read.
        contact_forces: Whether they also read `cfrc_ext`, which MuJoCo computes only on request.
    """

    observe: Callable[[Fields], np.ndarray]
    outcome: Callable[[Fields, Fields, np.ndarray, float], Outcome]
    noise: Callable[[np.random.Generator, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    outputs: tuple[str, ...] = ()
    contact_forces: bool = False


def _control_cost(weight: float, actions: np.ndarray) -> np.ndarray:
    return weight * np.square(actions).sum(axis=-1)


def _uniform(scale: float) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Uniform noise on positions and velocities."""

    def noise(generator: np.random.Generator, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        positions = qpos + generator.uniform(low=-scale, high=scale, size=len(qpos))
        return positions, qvel + generator.uniform(low=-scale, high=scale, size=len(qvel))

    return noise


def _mixed(scale: float) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Uniform noise on positions, normal noise on velocities."""

    def noise(generator: np.random.Generator, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        positions = qpos + generator.uniform(low=-scale, high=scale, size=len(qpos))
        return positions, qvel + scale * generator.standard_normal(len(qvel))

    return noise


def _reacher_noise(generator: np.random.Generator, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Noise on the arm, and a target drawn from the disk of 0.2 m by rejection."""
    positions = generator.uniform(low=-0.1, high=0.1, size=len(qpos)) + qpos
    while True:
        goal = generator.uniform(low=-0.2, high=0.2, size=2)
        if np.linalg.norm(goal) < 0.2:
            break
    positions[-2:] = goal
    velocities = qvel + generator.uniform(low=-0.005, high=0.005, size=len(qvel))
    velocities[-2:] = 0
    return positions, velocities


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
    offset = (_body(fields, _FINGERTIP) - _body(fields, _TARGET))[:, :2]
    parts = [np.cos(theta), np.sin(theta), fields["qpos"][:, 2:], fields["qvel"][:, :2], offset]
    return np.concatenate(parts, axis=1)


def _observe_double_pendulum(fields: Fields) -> np.ndarray:
    angles = np.ascontiguousarray(fields["qpos"][:, 1:])
    velocities = np.clip(fields["qvel"], -10, 10)
    force = np.clip(fields["qfrc_constraint"][:, :1], -10, 10)
    return np.concatenate([fields["qpos"][:, :1], np.sin(angles), np.cos(angles), velocities, force], axis=1)


# Body numbers in Gymnasium's models (0 is the world).
_FINGERTIP, _TARGET, _TORSO = 3, 4, 1


def _body(fields: Fields, body: int) -> np.ndarray:
    return fields["xpos"][:, body]


def _forward_speed(before: Fields, after: Fields, dt: float) -> np.ndarray:
    return (after["qpos"][:, 0] - before["qpos"][:, 0]) / dt


def _never(fields: Fields) -> np.ndarray:
    return np.zeros(len(fields["qpos"]), dtype=bool)


def _run(weight: float) -> Callable[[Fields, Fields, np.ndarray, float], Outcome]:
    """HalfCheetah, Swimmer: speed along x less the control cost; no termination."""

    def outcome(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> Outcome:
        return _forward_speed(before, after, dt) - _control_cost(weight, actions), _never(after)

    return outcome


def _hop(
    z_range: tuple[float, float], angle_range: tuple[float, float], state_limit: float
) -> Callable[[Fields, Fields, np.ndarray, float], Outcome]:
    """Hopper, Walker2d: speed along x, 1 for being upright, control cost; ends when fallen."""

    def outcome(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> Outcome:
        z, angle = after["qpos"][:, 1], after["qpos"][:, 2]
        healthy = (z_range[0] < z) & (z < z_range[1]) & (angle_range[0] < angle) & (angle < angle_range[1])
        if np.isfinite(state_limit):
            healthy &= (np.abs(after["qpos"][:, 2:]) < state_limit).all(axis=1)
            healthy &= (np.abs(after["qvel"]) < state_limit).all(axis=1)
        rewards = _forward_speed(before, after, dt) + healthy * 1.0
        return rewards - _control_cost(1e-3, actions), ~healthy

    return outcome


def _ant(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> Outcome:
    # Gymnasium reads the torso's Cartesian position, which lags one substep behind `qpos`.
    speed = (_body(after, _TORSO)[:, 0] - _body(before, _TORSO)[:, 0]) / dt
    z = after["qpos"][:, 2]
    finite = np.isfinite(after["qpos"]).all(axis=1) & np.isfinite(after["qvel"]).all(axis=1)
    healthy = finite & (z >= 0.2) & (z <= 1.0)
    forces = np.clip(after["cfrc_ext"], -1.0, 1.0).reshape(len(z), -1)
    contact_cost = 5e-4 * np.square(forces).sum(axis=-1)
    return speed + healthy * 1.0 - (_control_cost(0.5, actions) + contact_cost), ~healthy


def _reach(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> Outcome:
    offset = _body(after, _FINGERTIP) - _body(after, _TARGET)
    # vecdot uses the dot product of numpy.linalg.norm, fused multiply-adds included.
    distance = np.sqrt(np.vecdot(offset, offset))
    return -distance - np.square(actions).sum(axis=-1), _never(after)


def _balance(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> Outcome:
    finite = np.isfinite(after["qpos"]).all(axis=1) & np.isfinite(after["qvel"]).all(axis=1)
    terminated = ~finite | (np.abs(after["qpos"][:, 1]) > 0.2)
    return (~terminated).astype(np.float64), terminated


def _balance_double(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> Outcome:
    x, y = after["site_xpos"][:, 0, 0], after["site_xpos"][:, 0, 2]
    v1, v2 = after["qvel"][:, 1], after["qvel"][:, 2]
    terminated = y <= 1
    distance_penalty = 0.01 * scalar_square(x) + scalar_square(y - 2)
    velocity_penalty = 1e-3 * scalar_square(v1) + 5e-3 * scalar_square(v2)
    return 10.0 * ~terminated - distance_penalty - velocity_penalty, terminated


_INFINITY = float("inf")

MUJOCO_FORMULAS: dict[str, MujocoFormulas] = {
    "HalfCheetah-v5": MujocoFormulas(_observe_from(1), _run(0.1), _mixed(0.1)),
    "Swimmer-v5": MujocoFormulas(_observe_from(2), _run(1e-4), _uniform(0.1)),
    "Hopper-v5": MujocoFormulas(
        _observe_from(1, 10.0), _hop((0.7, _INFINITY), (-0.2, 0.2), state_limit=100.0), _uniform(5e-3)
    ),
    "Walker2d-v5": MujocoFormulas(
        _observe_from(1, 10.0), _hop((0.8, 2.0), (-1.0, 1.0), state_limit=_INFINITY), _uniform(5e-3)
    ),
    "InvertedPendulum-v5": MujocoFormulas(_observe_from(0), _balance, _uniform(0.01)),
    "InvertedDoublePendulum-v5": MujocoFormulas(
        _observe_double_pendulum, _balance_double, _mixed(0.1), outputs=("site_xpos", "qfrc_constraint")
    ),
    "Reacher-v5": MujocoFormulas(_observe_reacher, _reach, _reacher_noise, outputs=("xpos",)),
    "Ant-v5": MujocoFormulas(_observe_ant, _ant, _mixed(0.1), outputs=("xpos",), contact_forces=True),
}
"""The environments that run on MuJoCo's native batch stepping, by Gymnasium id."""
