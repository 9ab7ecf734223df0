"""Imports tasks of a user's own by name, checks what they return and names them when they fail. Imports no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lightning_pz.common.errors import UserError, nearest
from lightning_pz.envs.guarded import one_line
from lightning_pz.envs.simulators.protocol import Transition

TaskFunction = Callable[[Transition], np.ndarray]
"""From a transition of n simulations to rewards, (n,) floats."""


def import_task(path: str, env_id: str) -> TaskFunction:
    """Return the function that `mypackage.module:function` names, with checks; `UserError` if it cannot be imported."""
    module_name, _, function_name = path.partition(":")
    if not module_name or not function_name:
        raise UserError(f"a task of your own is written 'mypackage.module:function', but got {path!r}")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise UserError(
            f"task {path!r}: importing {module_name!r} failed with {one_line(error)}. Run from the folder that holds it, or "
            "install the package"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        what = "has no such function" if function is None else f"has a {type(function).__name__} of that name"
        functions = [key for key, value in vars(module).items() if callable(value)]
        raise UserError(
            f"task {path!r}: expected a function, but module {module_name!r} {what}."
            + nearest(function_name, functions)
        )
    return _checked(path, env_id, function)


class TaskError(UserError):
    """A user's task raised; `earn` adds where."""


def earn(
    task: TaskFunction, transition: Transition, steps: int, seeds: Sequence[int | None], slots: list[int] | np.ndarray
) -> np.ndarray:
    """Return the rewards of a task, (n,) float64, for a transition in n slots after so many steps.

    Seeds are of all slots; a user's task that raises, or returns something else than n rewards, ends in a `UserError`.
    """
    try:
        return task(transition)
    except TaskError as error:
        seed = seeds[int(slots[0])]
        episode = f"the first with seed {seed}" if len(slots) > 1 else f"with seed {seed}"
        raise UserError(
            f"{error}, in step {steps + 1} of {len(slots)} episode{'s' * (len(slots) > 1)}, {episode}: mend the task"
        ) from error.__cause__


def _checked(path: str, env_id: str, function: Callable[[Transition], Any]) -> TaskFunction:
    """Wrap a user's task so that exceptions and wrong results end in a `UserError`."""

    def task(transition: Transition) -> np.ndarray:
        count = len(transition.rewards)
        try:
            result = function(transition)
        except UserError:
            raise
        except Exception as error:
            raise TaskError(f"task {path!r} raised {one_line(error)} on {env_id}") from error
        expected = f"task {path!r} must return one reward per simulation, an array of {count} numbers"
        try:
            rewards = np.asarray(result, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UserError(f"{expected}, but returned {type(result).__name__}: {error}") from error
        if rewards.shape != (count,):
            raise UserError(f"{expected}, but returned shape {rewards.shape}: reduce over the last axis only")
        return rewards

    task.__wrapped__ = function  # type: ignore[attr-defined]  # for `inspect.unwrap`, which leads to its source
    return task
