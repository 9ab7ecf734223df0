"""Environments, tasks and simulators, and the loop that plays episodes."""

from importlib import import_module
from typing import Any

_HOMES = {
    "EnvSpec": "specs",
    "TaskWrapper": "tasks",
    "env_spec": "specs",
    "find_tasks": "tasks",
    "make_env": "specs",
    "make_simulator": "simulators",
    "play_episodes": "episodes",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: command lines are parsed before anything heavy is imported."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
