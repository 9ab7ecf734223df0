"""Arguments that a user gives an environment's constructor (`--env.kwargs`), and what they are by their content.

A file, such as a robot's model, is told by where it is when the environment is made, and by what it says when results are
compared: a model that moves is the same, one that is edited is another. Imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import gymnasium

from lightning_pz.common.errors import UserError, nearest
from lightning_pz.common.files import file_digest

_OWN = {
    "max_episode_steps": "--env.horizon sets the steps of an episode",
    "render_mode": "--video true films episodes",
    "id": "--env names the environment",
    "disable_env_checker": "this package has checks of its own",
    "vectorization_mode": "this package plays many episodes at once by itself",
}
"""Arguments of `gymnasium.make` itself that are not for a user to give, and why."""


def check_arguments(given: Mapping[str, Any]) -> None:
    """Raise `UserError` for an argument that is no constructor's, or a value that JSON cannot keep."""
    for name, value in given.items():
        if name in _OWN:
            raise UserError(f"--env.kwargs.{name} is not for the environment's constructor: {_OWN[name]}")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"--env.kwargs.{name} expects a number, text, true, false, null, or a list or mapping of those, but got "
                f"{value!r} ({error})"
            ) from error


def located(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with the full path of every file that is there, in lists too, as seen from the current folder."""
    return _each_text(given, lambda text: str(Path(text).resolve()) if Path(text).is_file() else text)


def by_content(env: gymnasium.Env, given: Any) -> Any:
    """Return plain data, such as arguments, with what every file says in place of its path: of a model, all that MuJoCo compiles from it."""
    has_model = type(getattr(env.unwrapped, "model", None)).__name__ == "MjModel"

    def content(text: str) -> Any:
        # A bare name is one of Gymnasium's own files, whatever the current folder holds; `located` made the user's whole.
        path = Path(text).expanduser()
        if not ((path.is_absolute() or text.startswith(".")) and path.is_file()):
            return text
        is_model = has_model and path.suffix in (".xml", ".mjcf")
        return {"content": model_file_digest(str(path)) if is_model else file_digest(path)[:16]}

    return _each_text(given, content)


def check_unchanged(env: gymnasium.Env, kwargs: str, user_given: Collection[str]) -> None:
    """Raise `UserError` if a file of an environment that was just made says something else than when it was looked up.

    `kwargs` are those of its specification, an empty text if there are none; `user_given` are the names of those that a user
    gave. Else a run would go on with what was edited meanwhile, under its old identity.
    """
    known = json.loads(kwargs)[0] if kwargs and env.spec is not None else {}
    given = {name: value for name, value in env.spec.kwargs.items() if name in known} if env.spec is not None else {}
    now = by_content(env, given)
    # Only what holds a file: others are what they were.
    if changed := [name for name in now if now[name] != _each_text(given[name], str) and known[name] != now[name]]:
        name = changed[0]
        which = f"--env.kwargs.{name}" if name in user_given else f"{name} of its registration,"
        raise UserError(
            f"{which} {given[name]} was edited since this run began: begin another run, or restore the file"
        )


def _each_text(value: Any, change: Callable[[str], Any]) -> Any:
    """Return plain data with every text in it changed; keys stay."""
    if isinstance(value, Mapping):
        return {key: _each_text(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_each_text(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value


def advice_on_arguments(entry: Any, given: Mapping[str, Any], *, is_type_error: bool) -> str:
    """Return what to do about an environment that cannot be made with these arguments."""
    own = [name for name in given if name not in _OWN]
    takes = _parameters(entry)
    if unknown := [name for name in own if takes and name not in takes]:
        return f"--env.kwargs: its constructor takes {', '.join(takes)}." + nearest(unknown[0], takes)
    if own:
        return f"check --env.kwargs.{', --env.kwargs.'.join(own)}"
    if is_type_error:
        return (
            "give its constructor's arguments by --env.kwargs.NAME VALUE, or by gymnasium.register(..., kwargs={...})"
        )
    return "mend its constructor"


def _parameters(entry: Any) -> list[str]:
    """Return the names that a constructor takes, with those of its bases if it hands others on; empty if unknown."""
    try:
        made = gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    except Exception:  # whatever the import of a user's module raises
        return []
    names: dict[str, None] = {}
    for layer in inspect.getmro(made) if inspect.isclass(made) else (made,):
        function = vars(layer).get("__init__") if inspect.isclass(layer) else layer
        if function is None or layer is object:
            continue
        parameters = inspect.signature(function).parameters.values()
        names |= {one.name: None for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    return [name for name in names if name not in ("self", *_OWN)]


def model_file_digest(path: str) -> str:
    """Return a digest of the model that a file says, its meshes and included files with it.

    It is compiled anew, for an environment may change its model, each time in another way.
    """
    import mujoco
    import numpy as np

    model = mujoco.MjModel.from_xml_path(path)
    compiled = np.empty(mujoco.mj_sizeModel(model), dtype=np.uint8)
    mujoco.mj_saveModel(model, None, compiled)
    return hashlib.sha256(compiled.data).hexdigest()[:16]
