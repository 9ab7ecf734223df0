"""Environments, tasks and simulators, and the loop that plays episodes."""

from lightning_pz.common.lazy_names import lazy_names

__getattr__ = lazy_names(
    __name__,
    {
        "EnvSpec": "specs", "TaskWrapper": "tasks", "env_spec": "specs", "find_tasks": "tasks", "make_env": "specs",
        "make_simulator": "simulators", "play_episodes": "episodes",
    },
)  # fmt: skip
