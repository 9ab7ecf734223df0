"""Models of Stable-Baselines3 and of sb3-contrib's TQC in zip files, those of earlier versions among them."""

from __future__ import annotations

import base64
import importlib
import json
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

from lightning_pz.common.checks import check_extra
from lightning_pz.common.errors import UserError
from lightning_pz.compression.gym_pickles import load_pickle
from lightning_pz.compression.settings import SB3_ALGORITHMS

READ_ALGORITHMS = (*SB3_ALGORITHMS, "tqc")
"""What zip files may hold, by their policies: what is trained here, and TQC. DDPG has TD3's, A2C and TRPO have PPO's."""
# None of these acts. They are functions, whose pickles another version of Python does not open, and the buffer, which may
# take gigabytes or need an environment.
_LEARNS: dict[str, Any] = {
    **dict.fromkeys(("learning_rate", "lr_schedule", "clip_range", "exploration_schedule"), 0.0), "clip_range_vf": None,
    "buffer_size": 1, "replay_buffer_class": None, "replay_buffer_kwargs": {},
}  # fmt: skip


def algorithm_class(name: str) -> Any:
    """Return the class of an algorithm: `SAC` for `sac`."""
    return getattr(importlib.import_module("sb3_contrib" if name == "tqc" else "stable_baselines3"), name.upper())


def load_model(path: str | Path, algorithm: str, device: str = "cpu", **more: Any) -> Any:
    """Return a model by the stock loader, on a device; raise `UserError` if it does not load."""
    if algorithm == "tqc":
        check_extra("sb3_contrib", "baselines", f"{path}, a model of TQC,")
    try:
        with warnings.catch_warnings():
            # Its optimizer is another one; the weights are the same.
            warnings.filterwarnings("ignore", "You are probably loading a DQN model saved with SB3 < 2.4.0")
            return algorithm_class(algorithm).load(path, device=device, **more)
    except Exception as error:
        raise UserError(f"{path} cannot be opened as {algorithm} ({type(error).__name__}: {error})") from error


def open_to_act(path: str | Path) -> Any:
    """Return a model that is to act and not to learn; `UserError` for another kind of file.

    Published models are often older than Gymnasium: the spaces that they hold of its predecessor Gym become its own.
    """
    data = _data(path)
    algorithm = _algorithm(data, path)
    try:
        spaces = {key: _space(data[key]) for key in ("observation_space", "action_space") if _is_of_gym(data.get(key))}
    except Exception as error:
        raise UserError(
            f"{path} was saved under Gym, and its spaces cannot be read ({type(error).__name__}: {error}): load it where gym, "
            "shimmy and Stable-Baselines3 2.0 or later are installed, and save it again"
        ) from error
    return load_model(path, algorithm, custom_objects=_LEARNS | spaces)


def _data(path: str | Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as file:
            data = json.loads(file.read("data"))
        data["policy_class"]["__module__"]
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is no model of Stable-Baselines3 ({type(error).__name__}: {error}): give a zip that its save wrote"
        ) from error
    return dict(data)


def _algorithm(data: dict[str, Any], path: str | Path) -> str:
    module = data["policy_class"]["__module__"]
    found = re.fullmatch(r"(?:stable_baselines3|sb3_contrib)\.(\w+)\.policies", module)
    # PPO's policies are those of A2C's module.
    name = {"common": "ppo"}.get(found.group(1), found.group(1)) if found else module
    if name not in READ_ALGORITHMS:
        raise UserError(
            f"{path} holds a policy of {module}, but expected one of {', '.join(READ_ALGORITHMS)}, or DDPG, A2C and TRPO, "
            "whose policies are theirs"
        )
    return str(name)


def _is_of_gym(space: Any) -> bool:
    return isinstance(space, dict) and "'gym." in str(space.get(":type:"))


def _space(space: dict[str, Any]) -> Any:
    return load_pickle(base64.b64decode(space[":serialized:"]))
