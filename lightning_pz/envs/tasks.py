"""Tasks: reward functions over transitions, by environment and name. Imports no torch.

A task takes a `Transition` of n simulations and returns n rewards, so that one rollout serves all tasks of an
environment. The episode itself is Gymnasium's: a task changes neither when it ends nor what is observed. The
papers name tasks but publish no formulas; these are what the words mean physically. Where Gymnasium charges
for control, every task charges the same (`a` is the action, in the units of the action box): 0.1 a^2 on
Mountain Car, sum a^2 on Reacher, 0.001 sum a^2 on Hopper, 0.1 sum a^2 on HalfCheetah. Tasks of environments with chosen
actions are in `envs.choice_tasks`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import parse_env_id

from lightning_pz.common.errors import UserError, nearest
from lightning_pz.envs.choice_tasks import CHOICE_TASKS
from lightning_pz.envs.own_tasks import TaskFunction, earn, import_task
from lightning_pz.envs.simulators.gymnasium_loop import control_seconds, read_physics
from lightning_pz.envs.simulators.protocol import Physics, Transition

_FOREARM, _UPPER_ARM = 0.11, 0.1
"""Reacher: fingertip to elbow, elbow to shoulder, in m."""


def standard(transition: Transition) -> np.ndarray:
    """Return Gymnasium's own reward, in its unit and range."""
    return transition.rewards


def _control_cost(weight: float, transition: Transition) -> np.ndarray:
    # In the precision of the actions, as Gymnasium has it, so that sums agree to the last bit.
    return weight * np.square(transition.actions).sum(axis=-1)


def _rate(transition: Transition, coordinate: int) -> np.ndarray:
    """Change of a generalized position over the control step, per second."""
    after, before = transition.after.positions, transition.before.positions
    return (after[:, coordinate] - before[:, coordinate]) / transition.dt


def _move(coordinate: int, sign: int, weight: float) -> TaskFunction:
    """Move one generalized position q up or down: `sign (q' - q) / dt - weight sum a^2`, in its unit per second."""
    return lambda transition: sign * _rate(transition, coordinate) - _control_cost(weight, transition)


def _left(transition: Transition) -> np.ndarray:
    """Be far left: `-pi/6 - x' - 0.1 a^2`, distance left of the valley's floor in m; -1.2 to 0.68."""
    return -np.pi / 6 - transition.after.positions[:, 0] - _control_cost(0.1, transition)


def _fast(transition: Transition) -> np.ndarray:
    """Be fast in either direction: `|v'| / 0.07 - 0.1 a^2`, as a share of the speed limit; -0.1 to 1."""
    return np.abs(transition.after.velocities[:, 0]) / 0.07 - _control_cost(0.1, transition)


def _high(transition: Transition) -> np.ndarray:
    """Be high up: `0.45 sin(3 x') + 0.55 - 0.1 a^2`, height of the track in m as Gymnasium draws it; 0 to 1.

    Reaching the goal ends the episode and with it this reward, so the best policies stay on a hillside.
    """
    return np.sin(3 * transition.after.positions[:, 0]) * 0.45 + 0.55 - _control_cost(0.1, transition)


def _fingertip_speed(transition: Transition) -> np.ndarray:
    """Move the fingertip fast: `|velocity of the fingertip| - sum a^2`, m/s; -2 to about 30.

    With shoulder rate w1, elbow angle q2 and rate w2, and w = w1 + w2, the squared speed is
    `(l1 w1)^2 + (l2 w)^2 + 2 l1 l2 w1 w cos q2`.
    """
    shoulder = transition.after.velocities[:, 0]
    both = shoulder + transition.after.velocities[:, 1]
    cosine = np.cos(transition.after.positions[:, 1])
    squared = (_UPPER_ARM * shoulder) ** 2 + (_FOREARM * both) ** 2
    squared += 2 * _UPPER_ARM * _FOREARM * shoulder * both * cosine
    return np.sqrt(np.maximum(squared, 0)) - _control_cost(1.0, transition)


def _fingertip_radial(transition: Transition) -> np.ndarray:
    """Move the fingertip out and in: `|d/dt distance from the shoulder| - sum a^2`, m/s; -2 to about 20.

    Turning the whole arm earns nothing; only bending and stretching the elbow does. The distance is by the law of cosines.
    """
    elbow, rate = transition.after.positions[:, 1], transition.after.velocities[:, 1]
    product = 2 * _UPPER_ARM * _FOREARM * np.cos(elbow)
    distance = np.sqrt(_UPPER_ARM**2 + _FOREARM**2 + product)
    velocity = -_UPPER_ARM * _FOREARM * np.sin(elbow) * rate / distance
    return np.abs(velocity) - _control_cost(1.0, transition)


def _jump(transition: Transition) -> np.ndarray:
    """Rise: `max(0, (z' - z) / dt) - 0.001 sum a^2`, m/s upward of the torso; about 0 to 5.

    Times dt this adds up to the meters climbed in all jumps; standing and falling earn nothing.
    """
    return np.maximum(_rate(transition, 1), 0) - _control_cost(1e-3, transition)


TASKS: dict[str, dict[str, TaskFunction]] = {
    "MountainCarContinuous": {"standard": standard, "left": _left, "speed": _fast, "height": _high},
    "Reacher": {
        "standard": standard,
        "speed": _fingertip_speed,
        "clockwise": _move(0, -1, 1.0),  # the shoulder, seen from above, rad/s; within +-140
        "counterclockwise": _move(0, 1, 1.0),
        "radial": _fingertip_radial,
    },
    "Hopper": {
        "standard": standard,
        "forward": _move(0, 1, 1e-3),  # along x, m/s; about -5 to 5; no bonus for being upright
        "backward": _move(0, -1, 1e-3),
        "jump": _jump,
    },
    "HalfCheetah": {
        "standard": standard,
        "forward": _move(0, 1, 0.1),  # along x, m/s; about -10 to 15; the same as standard
        "backward": _move(0, -1, 0.1),  # about -15 to 10
        # The pitch about the y axis, which takes the nose (+x) down when positive, rad/s; within about +-20.
        "frontflip": _move(2, 1, 0.1),
        "backflip": _move(2, -1, 0.1),
    },
}
"""Named tasks by Gymnasium id without its version."""
for _family, _chosen in CHOICE_TASKS.items():
    TASKS[_family] = {"standard": standard, **_chosen}


def task_names(env_id: str) -> tuple[str, ...]:
    """Return the names of an environment's tasks; just `standard` where `TASKS` has none."""
    return tuple(_tasks_of(env_id))


def find_task(env_id: str, name: str) -> TaskFunction:
    """Return a task by its name, or a user's own by `mypackage.module:function`; `UserError` if there is none."""
    if ":" in name:
        return import_task(name, env_id)
    known = _tasks_of(env_id)
    if name not in known:
        raise UserError(
            f"--tasks expects tasks of {env_id}, that is {', '.join(known)}, or 'mypackage.module:function' "
            f"for one of your own, but got {name!r}." + nearest(name, known)
        )
    return known[name]


def find_tasks(env_id: str, names: Iterable[str] | None = None) -> dict[str, TaskFunction]:
    """Return tasks by name, in the given order; all named tasks of the environment if no names are given."""
    return {name: find_task(env_id, name) for name in (task_names(env_id) if names is None else names)}


def _tasks_of(env_id: str) -> dict[str, TaskFunction]:
    try:
        namespace, name, version = parse_env_id(env_id)
    except gymnasium.error.Error:  # module:Id
        return {"standard": standard}
    # Hopper-v5, but neither mine/Hopper-v5 nor Hopper-variant-v0.
    known = TASKS if namespace is None and version is not None else {}
    return known.get(name, {"standard": standard})


class TaskWrapper(gymnasium.Wrapper):
    """A Gymnasium environment whose reward is a task's, the very number that a rollout adds up."""

    def __init__(self, env: gymnasium.Env, task: TaskFunction) -> None:
        super().__init__(env)
        self._task, self._observation, self._steps = task, np.empty(0), 0
        self._seed: int | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._observation = np.array(observation, dtype=np.float64)
        self._seed, self._steps = seed, 0
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        """Advance by one step; Gymnasium's own reward is `info["standard_reward"]`."""
        before = self._physics()
        observation, reward, terminated, truncated, info = self.env.step(action)
        previous, self._observation = self._observation, np.array(observation, dtype=np.float64)
        transition = Transition(
            previous[None], _vector(action)[None], self._observation[None], np.array([reward], dtype=np.float64),
            np.array([terminated]), before, self._physics(), control_seconds(self.env),
        )  # fmt: skip
        info = {**info, "standard_reward": reward}
        reward = float(earn(self._task, transition, self._steps, [self._seed], [0])[0])
        self._steps += 1
        return observation, reward, terminated, truncated, info

    def _physics(self) -> Physics:
        return Physics(*(part[None] for part in read_physics(self.env, self._observation)))


def _vector(action: Any) -> np.ndarray:
    """Return an action as rollouts have it, (A,): its own numbers if real, int64 where it is chosen."""
    numbers = np.atleast_1d(action)
    return numbers if numbers.dtype.kind == "f" else numbers.astype(np.int64)
