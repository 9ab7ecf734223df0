"""Formulas of Gymnasium's MuJoCo environments: observation, reward, termination, reset noise.

Each piece is a pure function on the rows of the active simulations and repeats the arithmetic of Gymnasium's
`-v5` class in the same order and precision, so that results agree to the last bit. Weights, ranges and bodies are read
from the environment that Gymnasium made, whatever arguments its constructor got.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_pz.envs.simulators.numerics import scalar_square

Fields = Mapping[str, np.ndarray]
"""MjData fields of n simulations by name: `qpos` (n, nq), `qvel` (n, nv) and the formulas' `outputs`."""
_Outcome = tuple[np.ndarray, np.ndarray]
"""Rewards (n,) float64 and terminated (n,) bool."""
OutcomeFunction = Callable[[Fields, Fields, np.ndarray, float], _Outcome]
"""From fields before and after a step, actions (n, A) and the seconds of a control step."""

_Noise = Callable[[np.random.Generator, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class MujocoFormulas:
    """One environment.

    `noise` maps a generator, resting positions (nq,) and velocities (nv,) to those of an episode's start, drawing in
    Gymnasium's order.
    """

    observe: Callable[[Fields], np.ndarray]  # to observations, (n, O)
    outcome: OutcomeFunction
    noise: _Noise
    outputs: tuple[str, ...] = ()  # derived MjData fields that observe and outcome read
    contact_forces: bool = False  # whether they also read `cfrc_ext`, which MuJoCo computes only on request


def _control_cost(env: Any, actions: np.ndarray) -> np.ndarray:
    return env._ctrl_cost_weight * np.square(actions).sum(axis=-1)


def _noise(env: Any, normal: bool = False) -> _Noise:
    """Uniform noise on positions; uniform or normal noise on velocities."""
    scale = env._reset_noise_scale

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


def _observe(env: Any, hidden: int, clip: float | None = None) -> Callable[[Fields], np.ndarray]:
    """Positions, of which the first are `hidden` unless the environment shows them, then velocities, which may be clipped."""
    first = hidden if getattr(env, "_exclude_current_positions_from_observation", True) else 0

    def observe(fields: Fields) -> np.ndarray:
        velocities = fields["qvel"] if clip is None else np.clip(fields["qvel"], -clip, clip)
        return np.concatenate([fields["qpos"][:, first:], velocities], axis=1)

    return observe


def _forward(env: Any, before: Fields, after: Fields, dt: float) -> np.ndarray:
    return env._forward_reward_weight * ((after["qpos"][:, 0] - before["qpos"][:, 0]) / dt)


def _runner(env: Any, hidden: int, normal: bool) -> MujocoFormulas:
    """HalfCheetah, Swimmer: speed along x less the control cost; no termination."""

    def outcome(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> _Outcome:
        return _forward(env, before, after, dt) - _control_cost(env, actions), np.zeros(len(actions), dtype=bool)

    return MujocoFormulas(_observe(env, hidden), outcome, _noise(env, normal))


def _hopper(env: Any) -> MujocoFormulas:
    """Hopper, Walker2d: speed along x, a bonus for being upright, control cost; ends when fallen, if it may."""
    (z_low, z_high), (angle_low, angle_high) = env._healthy_z_range, env._healthy_angle_range
    state_range = getattr(env, "_healthy_state_range", None)  # Walker2d has none

    def outcome(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> _Outcome:
        z, angle = after["qpos"][:, 1:3].T
        healthy = (z_low < z) & (z < z_high) & (angle_low < angle) & (angle < angle_high)
        if state_range is not None:
            for state in (after["qpos"][:, 2:], after["qvel"]):
                healthy &= ((state_range[0] < state) & (state < state_range[1])).all(axis=1)
        rewards = _forward(env, before, after, dt) + healthy * env._healthy_reward
        return rewards - _control_cost(env, actions), ~healthy & bool(env._terminate_when_unhealthy)

    return MujocoFormulas(_observe(env, 1, 10.0), outcome, _noise(env))


def _finite(fields: Fields) -> np.ndarray:
    return np.isfinite(np.concatenate([fields["qpos"], fields["qvel"]], axis=1)).all(axis=1)


def _ant(env: Any) -> MujocoFormulas:
    (z_low, z_high), (least, most) = env._healthy_z_range, env._contact_force_range
    torso, observe_state = env.model.body(env._main_body).id, _observe(env, 2)

    def observe(fields: Fields) -> np.ndarray:
        if not env._include_cfrc_ext_in_observation:
            return observe_state(fields)
        forces = np.clip(fields["cfrc_ext"], least, most)[:, 1:].reshape(len(fields["qpos"]), -1)
        return np.concatenate([observe_state(fields), forces], axis=1)

    def outcome(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> _Outcome:
        # Gymnasium reads the torso's Cartesian position, which lags one substep behind `qpos`.
        speed = (after["xpos"][:, torso, 0] - before["xpos"][:, torso, 0]) / dt
        z = after["qpos"][:, 2]
        healthy = _finite(after) & (z >= z_low) & (z <= z_high)
        forces = np.clip(after["cfrc_ext"], least, most).reshape(len(z), -1)
        contact_cost = env._contact_cost_weight * np.square(forces).sum(axis=-1)
        rewards = speed * env._forward_reward_weight + healthy * env._healthy_reward
        ended = ~healthy & bool(env._terminate_when_unhealthy)
        return rewards - (_control_cost(env, actions) + contact_cost), ended

    return MujocoFormulas(observe, outcome, _noise(env, normal=True), outputs=("xpos",), contact_forces=True)


def _reacher(env: Any) -> MujocoFormulas:
    fingertip, target = (env.model.body(name).id for name in ("fingertip", "target"))

    def observe(fields: Fields) -> np.ndarray:
        theta = np.ascontiguousarray(fields["qpos"][:, :2])
        offset = (fields["xpos"][:, fingertip] - fields["xpos"][:, target])[:, :2]
        parts = [np.cos(theta), np.sin(theta), fields["qpos"][:, 2:], fields["qvel"][:, :2], offset]
        return np.concatenate(parts, axis=1)

    def outcome(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> _Outcome:
        offset = after["xpos"][:, fingertip] - after["xpos"][:, target]
        # vecdot uses the dot product of numpy.linalg.norm, fused multiply-adds included.
        distance = np.sqrt(np.vecdot(offset, offset)) * env._reward_dist_weight
        rewards = -distance + -np.square(actions).sum(axis=-1) * env._reward_control_weight
        return rewards, np.zeros(len(actions), dtype=bool)

    return MujocoFormulas(observe, outcome, _reacher_noise, outputs=("xpos",))


def _inverted_pendulum(env: Any) -> MujocoFormulas:
    def outcome(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> _Outcome:
        terminated = ~_finite(after) | (np.abs(after["qpos"][:, 1]) > 0.2)
        return (~terminated).astype(np.float64), terminated

    return MujocoFormulas(_observe(env, 0), outcome, _noise(env))


def _double_pendulum(env: Any) -> MujocoFormulas:
    def observe(fields: Fields) -> np.ndarray:
        angles = np.ascontiguousarray(fields["qpos"][:, 1:])
        velocities = np.clip(fields["qvel"], -10, 10)
        force = np.clip(fields["qfrc_constraint"][:, :1], -10, 10)
        return np.concatenate([fields["qpos"][:, :1], np.sin(angles), np.cos(angles), velocities, force], axis=1)

    def outcome(before: Fields, after: Fields, actions: np.ndarray, dt: float) -> _Outcome:
        x, y = after["site_xpos"][:, 0, 0], after["site_xpos"][:, 0, 2]
        v1, v2 = after["qvel"][:, 1], after["qvel"][:, 2]
        terminated = y <= 1
        distance_penalty = 0.01 * scalar_square(x) + scalar_square(y - 2)
        velocity_penalty = 1e-3 * scalar_square(v1) + 5e-3 * scalar_square(v2)
        return env._healthy_reward * ~terminated - distance_penalty - velocity_penalty, terminated

    return MujocoFormulas(observe, outcome, _noise(env, normal=True), outputs=("site_xpos", "qfrc_constraint"))


MUJOCO_FORMULAS: dict[str, Callable[[Any], MujocoFormulas]] = {
    "HalfCheetah-v5": lambda env: _runner(env, hidden=1, normal=True),
    "Swimmer-v5": lambda env: _runner(env, hidden=2, normal=False),
    "Hopper-v5": _hopper,
    "Walker2d-v5": _hopper,
    "InvertedPendulum-v5": _inverted_pendulum,
    "InvertedDoublePendulum-v5": _double_pendulum,
    "Reacher-v5": _reacher,
    "Ant-v5": _ant,
}
"""The environments that run on MuJoCo's native batch stepping, by Gymnasium id: their formulas, from what Gymnasium made."""
