"""Wraps environments so that all of them keep the protocol.

`make_env` wraps every environment in `Guarded`: observations are arrays of the caller's own, rewards and ends plain
numbers, actions of the box's type and within it, and a failure ends in one sentence.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from lightning_pz.common.errors import UserError

_LARGEST = float(np.finfo(np.float32).max)


class Guarded(gymnasium.Wrapper):
    """An environment whose answers are checked, copied and of plain types; errors name it by its id.

    An observation that a float32 cannot hold, 1e39 for instance, counts as infinite, since policies act on float32.
    """

    def __init__(self, env: gymnasium.Env, env_id: str) -> None:
        super().__init__(env)
        self._id, self._steps = env_id, 0
        self._seed: int | None = None

    @property
    def spec(self) -> Any:  # type: ignore[override]
        """The environment's own specification: this wrapper changes nothing that it describes."""
        return self.env.spec

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Begin an episode; a `UserError` if the environment raises or breaks the protocol."""
        self._seed, self._steps = seed, 0
        result = self._call(lambda: self.env.reset(seed=seed, options=options))
        if not (isinstance(result, tuple) and len(result) == 2):
            raise self._wrong("reset must return (observation, info)", _short(result))
        return self._observation(result[0], self.env.observation_space), result[1]

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        """Advance by one step; a `UserError` if the environment raises or breaks the protocol."""
        self._steps += 1
        space = self.env.action_space
        if isinstance(space, Box) and np.issubdtype(space.dtype, np.floating):
            # Rounding to float32 may leave a float64 box by a digit.
            action = np.clip(np.asarray(action, dtype=space.dtype), space.low, space.high)
        result = self._call(lambda: self.env.step(action))
        if not (isinstance(result, tuple) and len(result) == 5):
            raise self._wrong("step must return (observation, reward, terminated, truncated, info)", _short(result))
        observation, reward, terminated, truncated, info = result
        ends = self._number(terminated, "terminated") != 0, self._number(truncated, "truncated") != 0
        seen = self._observation(observation, self.env.observation_space)
        return seen, self._number(reward, "the reward"), *ends, info

    def _observation(self, observation: Any, space: gymnasium.Space) -> Any:
        if isinstance(space, Dict):
            if not isinstance(observation, dict) or observation.keys() != space.spaces.keys():
                expected = f"an observation must be a dictionary of {', '.join(space.spaces)}"
                raise self._wrong(expected, _short(observation))
            return {key: self._observation(part, space.spaces[key]) for key, part in observation.items()}
        if not isinstance(space, Box):
            return observation
        array = self._call(lambda: np.array(observation))
        if array.shape != space.shape or array.dtype.kind not in "biuf":
            came = f"shape {array.shape}" if array.dtype.kind in "biuf" else _short(observation)
            raise self._wrong(f"an observation must be numbers of shape {space.shape}, as its space says", came)
        real = array.dtype.kind == "f"
        if real and space.dtype.kind != "f" and np.any(np.isfinite(array) & (array != np.rint(array))):
            raise self._wrong(f"observations must be whole numbers, as a space of {space.dtype} says", _short(array))
        if real and array.dtype.itemsize > 4:
            array[np.abs(array) > _LARGEST] = np.inf
        return array

    def _number(self, value: Any, what: str) -> float:
        """Return a number, a NumPy scalar or an array of one element as a float."""
        if isinstance(value, float | bool):
            return float(value)
        array = self._call(lambda: np.asarray(value))
        if array.size != 1 or array.dtype.kind not in "biuf":
            raise self._wrong(f"{what} must be one number", _short(value))
        return float(array.reshape(()))

    def _call(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{self._id} raised {one_line(error)}, {self._place()}: mend the environment; "
                "gymnasium.utils.env_checker.check_env finds most such faults"
            ) from error

    def _wrong(self, expected: str, came: str) -> UserError:
        return UserError(f"{self._id}: {expected}, but it returned {came}, {self._place()}: mend the environment")

    def _place(self) -> str:
        episode = "an episode without a seed" if self._seed is None else f"the episode with seed {self._seed}"
        return f"at the reset of {episode}" if self._steps == 0 else f"in step {self._steps} of {episode}"


class FiniteOnly(gymnasium.Wrapper):
    """An environment that refuses observations and rewards that are not finite, by which a learner would silently diverge.

    Errors name it by `where`, with the task if there is one, and end in the advice.
    """

    def __init__(self, env: gymnasium.Env, where: str, advice: str) -> None:
        super().__init__(env)
        self._where, self._advice, self._steps = where, advice, 0
        self._seed: int | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Begin an episode; a `UserError` if its first observation is not finite."""
        # Learners seed the first of many episodes alone.
        self._seed, self._steps = self._seed if seed is None else seed, 0
        observation, info = self.env.reset(seed=seed, options=options)
        self._check("an observation", observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        """Advance by one step; a `UserError` if the observation or the reward is not finite."""
        result = self.env.step(action)
        self._steps += 1
        self._check("an observation", result[0])
        self._check("a reward", result[1])
        return result

    def _check(self, what: str, numbers: Any) -> None:
        for part in numbers.values() if isinstance(numbers, dict) else (numbers,):
            array = np.asarray(part)
            # Images are bytes, which are always finite.
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise UserError(
                    f"{self._where} gave {what} that is not finite, in step {self._steps} of an episode (last seed "
                    f"{self._seed}): {self._advice}"
                )


def one_line(error: Exception) -> str:
    """Return an exception in one line: its type, its message, and the file and line that raised it."""
    message = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{': ' if message else ''}{message}{where}"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    kind = f"{type(value).__name__} of {len(value)} values: " if isinstance(value, tuple) else ""
    return kind + (text if len(text) <= 80 else f"{text[:77]}...")
