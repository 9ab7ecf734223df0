"""SurRoL's ten surgical tasks as Gymnasium goal environments `surrol/<Task>-v0`, where a user has installed SurRoL.

Its code is of 2021: it imports `gym`, steps with four values, and uses `np.float` and `ndarray.ptp`, which NumPy 2
lacks. Its modules are read through a loader that gives these their present spelling; nothing of SurRoL is copied or
changed on disk, nor is NumPy.

References:
    Xu et al., SurRoL, IROS 2021 (arXiv 2108.13035); github.com/med-air/SurRoL, MIT license.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

SURGICAL_TASKS = {
    "NeedleReach": "needle_reach", "GauzeRetrieve": "gauze_retrieve", "NeedlePick": "needle_pick",
    "PegTransfer": "peg_transfer", "NeedleRegrasp": "needle_regrasp_bimanual", "BiPegTransfer": "peg_transfer_bimanual",
    "ECMReach": "ecm_reach", "MisOrient": "ecm_misorient", "StaticTrack": "ecm_static_track",
    "ActiveTrack": "ecm_active_track",
}  # fmt: skip
"""By name: the module `surrol.tasks.<module>` that defines a class of that name."""
_SPELLINGS = (
    (re.compile(r"^(\s*)import gym$", re.MULTILINE), r"\1import gymnasium as gym"),
    (re.compile(r"^(\s*)from gym(\.[\w.]+)? import", re.MULTILINE), r"\1from gymnasium\2 import"),
    (re.compile(r"\bnp\.float\b"), "float"),
    (re.compile(r"([\w.]+(?:\[[^\]\n]*\])?)\.ptp\(\)"), r"np.ptp(\1)"),
)


def present_spelling(source: str) -> str:
    """Return a source text with outdated names in their present spelling."""
    for old, new in _SPELLINGS:
        source = old.sub(new, source)
    return source


class _Loader(importlib.machinery.SourceFileLoader):
    """Reads a module through `present_spelling`, and leaves no compiled copy behind."""

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        return compile(present_spelling(self.get_data(path).decode()), path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Gives SurRoL's modules, and no others, that loader."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        ours = fullname.split(".")[0] == "surrol"
        spec = importlib.machinery.PathFinder.find_spec(fullname, path) if ours else None
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


def register() -> None:
    """Register the ten tasks with Gymnasium; more than once does no harm."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for name in SURGICAL_TASKS:
        if f"surrol/{name}-v0" not in gymnasium.registry:
            gymnasium.register(
                f"surrol/{name}-v0",
                entry_point="lightning_pz.compression.surrol:SurgicalTask",
                max_episode_steps=500 if name == "ActiveTrack" else 50,
                kwargs={"task": name},
                disable_env_checker=True,
            )


class SurgicalTask(gymnasium.Env):
    """One of `SURGICAL_TASKS` in steps of five values; a goal environment where the task has goals.

    All tasks of a process share one physics server: close one before the next is made.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, task: str) -> None:
        self._random = np.random.RandomState(0)
        kind = getattr(importlib.import_module(f"surrol.tasks.{SURGICAL_TASKS[task]}"), task)
        with self._own_randomness():
            self.task = kind()
        self.action_space, self.observation_space = self.task.action_space, self.task.observation_space
        if isinstance(self.observation_space, spaces.Dict):
            self.compute_reward = self.task.compute_reward

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._random.seed(seed % 2**32)
        with self._own_randomness():
            return self._plain(self.task.reset()), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step; tasks never end before their time."""
        with self._own_randomness():
            observation, reward, done, info = self.task.step(np.asarray(action, dtype=np.float64))
        return self._plain(observation), float(reward), bool(done), False, info

    def close(self) -> None:
        """Release the physics server."""
        self.task.close()

    @contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Give the task, which draws from NumPy's global generator, one of its own."""
        before = np.random.get_state()
        np.random.set_state(self._random.get_state())
        try:
            yield
        finally:
            self._random.set_state(np.random.get_state())
            np.random.set_state(before)

    @staticmethod
    def _plain(observation: Any) -> Any:
        """Return observations as float32, as their spaces say."""
        if isinstance(observation, dict):
            return {key: np.asarray(value, dtype=np.float32) for key, value in observation.items()}
        return np.asarray(observation, dtype=np.float32)
