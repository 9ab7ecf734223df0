"""Looks Gymnasium environments up and checks that policies can act in them. Imports no torch."""

from __future__ import annotations

import contextlib
import importlib
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from lightning_pz.common.checks import check_horizon
from lightning_pz.common.errors import UserError, nearest
from lightning_pz.envs.arguments import advice_on_arguments, check_unchanged
from lightning_pz.envs.content import constructor_content, own_source
from lightning_pz.envs.guarded import Guarded, one_line

UNLIMITED_HORIZON = 1000
"""Steps of an episode where neither the user nor the environment sets a limit."""
_BOUNDED = (
    "register it behind a wrapper with a box of its own, as "
    "gymnasium.register('Bounded-v0', lambda: gymnasium.wrappers.TransformAction("
    "MyEnv(), lambda action: action, gymnasium.spaces.Box(-1, 1, (ACTIONS,))), max_episode_steps=STEPS)"
)
"""What to do about an action box that cannot be filled. `ClipAction` leaves a box infinite, `RescaleAction` refuses one."""
LARGEST_BOX = 1e6
"""Bounds of this size or more count as none: some environments write "no bound" as the largest float."""


@dataclass(frozen=True)
class EnvSpec:
    """Sizes and boxes of an environment with flat Box observations, perhaps infinite.

    Actions are vectors of A numbers, in a finite box or chosen: a factor of an action, of which `Discrete` has one, is one
    of so many whole numbers from the smallest on.
    """

    id: str  # registered with Gymnasium, with its version
    horizon: int  # steps after which an episode is truncated
    observation_size: int
    action_size: int
    observation_low: tuple[float, ...]
    observation_high: tuple[float, ...]
    action_low: tuple[float, ...]  # corner of the box, or the smallest number of each factor
    action_high: tuple[float, ...]
    kwargs: str = ""  # what the constructor gets, files by their content, with further wrappers, as canonical JSON
    source: str = ""  # digest of the source of a user's own environment, wrappers and entry point
    choices: tuple[int, ...] = ()  # of each factor, (A,); empty for a box
    given: str = ""  # the arguments of a user among `kwargs`, files by their path, as canonical JSON

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> EnvSpec:
        """Make a specification from the plain data of pools and checkpoints, where tuples are lists."""
        fields: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in plain.items()}
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON and checkpoints; without choices and given arguments if there are none, as ever."""
        return {key: value for key, value in asdict(self).items() if value or key not in ("choices", "given")}

    def identity(self) -> dict[str, Any]:
        """Return plain data that is the same wherever files of arguments lie; see `without_paths`."""
        return without_paths(self.to_dict())

    @property
    def arguments(self) -> dict[str, Any]:
        """What a user gives the constructor beside its registered arguments."""
        return json.loads(self.given or "{}")

    def make(self, **more: Any) -> gymnasium.Env:
        """Make the environment, with its given arguments; see `make_env`, and `check_unchanged` for files of arguments."""
        given = self.arguments
        env = make_env(self.id, **given, **more)
        check_unchanged(env, self.kwargs, given)
        return env

    @property
    def has_finite_observations(self) -> bool:
        """Whether the observation box has a volume to sample uniformly from."""
        return bool(np.all(np.abs([self.observation_low, self.observation_high]) < LARGEST_BOX))


def without_paths(env: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain data of an environment without the part that may differ between equal ones."""
    return {key: value for key, value in env.items() if key != "given"}


def env_words(env: Mapping[str, Any]) -> str:
    """Return how readers are told of an environment in its plain data: its id, and what else its constructor is given."""
    given = json.loads(env.get("given") or "{}")
    words = [f"{name} {Path(value).name if isinstance(value, str) else value}" for name, value in given.items()]
    return f"{env['id']} ({', '.join(words)})" if words else str(env["id"])


def make_env(env_id: str, **kwargs: Any) -> gymnasium.Env:
    """Call `gymnasium.make` and guard what it returns.

    Gymnasium's own checker is left out: it warns, and asserts, where `Guarded` explains. An id that is not registered or
    cannot be made, or a missing package, raises `UserError`.
    """
    name = import_registrar(env_id)
    # Gymnasium would take the newest version for an id without one, and another one tomorrow.
    if name not in gymnasium.registry:
        raise UserError(
            f"--env expects a preset or a registered Gymnasium id, version and all (or module:Id), but got {env_id!r}."
            + nearest(name, gymnasium.registry.keys())
        )
    entry = gymnasium.registry[name]
    try:
        with _quiet_model_compiler(entry):
            return Guarded(gymnasium.make(env_id, **{"disable_env_checker": True, **kwargs}), env_id)
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:  # Gymnasium's MuJoCo v2 and v3 among others
        own = (entry.namespace, entry.name)
        known = [spec for spec in gymnasium.registry.values() if (spec.namespace, spec.name) == own]
        newest = max(known, key=lambda spec: spec.version or 0)
        hint = "" if newest.version == entry.version else f" Did you mean {newest.id!r}?"
        raise UserError(f"--env {env_id} needs a package that is not installed: {error}{hint}") from error
    except Exception as error:
        advice = advice_on_arguments(entry.entry_point, kwargs, is_type_error=isinstance(error, TypeError))
        raise UserError(f"--env {env_id} cannot be made: it raised {one_line(error)}; {advice}") from error


def import_registrar(env_id: str) -> str:
    """Import the module in front of an id's colon, if there is one, and return the id behind it."""
    module, colon, name = env_id.rpartition(":")
    if colon:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise UserError(
                f"--env {env_id}: importing {module!r}, which is to register the environment, failed with "
                f"{one_line(error)}. Run from the folder that holds it, or install the package"
            ) from error
    return name


@contextlib.contextmanager
def _quiet_model_compiler(spec: gymnasium.envs.registration.EnvSpec) -> Iterator[None]:
    """Turn MuJoCo's warnings into Python's while a model is compiled, but for old attributes in Gymnasium's own models."""
    if "mujoco" not in str(spec.entry_point):
        yield
        return
    import mujoco

    def warn(message: str) -> None:
        if "is deprecated" not in message:
            warnings.warn(f"MuJoCo: {message}", RuntimeWarning, stacklevel=2)

    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(warn)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def env_spec(env_id: str, horizon: int | None = None, given: Mapping[str, Any] | None = None) -> EnvSpec:
    """Look an environment up and check that it can be used; the horizon is its own limit, or 1,000, if not given.

    `given` are arguments of its constructor beside those of its registration; files by their full path, see `located`.

    Raises:
        UserError: Unknown id; observations that are not a flat Box; actions that are neither a flat, finite Box of real
            numbers nor a vector of choices, or of which one cannot vary; a horizon below 1.
    """
    check_horizon(horizon)
    arguments = dict(given or {})
    env = make_env(env_id, **arguments)
    try:
        spaces = [getattr(env.unwrapped, f"{what}_space", None) for what in ("observation", "action")]
        if None not in spaces:  # a wrapper below the guard may change them
            spaces = [env.observation_space, env.action_space]
        limit = env.spec.max_episode_steps if env.spec else None
        kwargs, source = constructor_content(env), own_source(env)
    finally:
        env.close()
    observations = _observations(env_id, spaces[0])
    least, most, choices = _actions(env_id, spaces[1])
    horizon = next(steps for steps in (horizon, limit, UNLIMITED_HORIZON) if steps is not None)
    low, high, least, most = (
        tuple(map(float, corner)) for corner in (observations.low, observations.high, least, most)
    )
    told = json.dumps(arguments, sort_keys=True) if arguments else ""
    return EnvSpec(
        env_id, horizon, observations.shape[0], len(least), low, high, least, most, kwargs, source, choices, told
    )


def _observations(env_id: str, space: gymnasium.Space | None) -> Box:
    if isinstance(space, Box) and len(space.shape) == 1 and space.shape[0] > 0:
        return space
    image = isinstance(space, Box) and len(space.shape) > 1
    advice = "gymnasium.wrappers.FlattenObservation makes a vector of them" if image else "register a wrapped version"
    raise UserError(
        f"--env expects an environment whose observations are a flat Box (a vector of real numbers), but {env_id} "
        f"has {_kind(space)} observations: choose another, or {advice}"
    )


def _actions(env_id: str, space: gymnasium.Space | None) -> tuple[Any, Any, tuple[int, ...]]:
    """Return the smallest and the largest number of each factor of an action, and the counts of choices if there are any."""
    if isinstance(space, Box) and len(space.shape) == 1 and space.shape[0] > 0:
        _check_actions(env_id, space)
        return space.low, space.high, ()
    counts: Any = ()
    starts: Any = ()
    if isinstance(space, Discrete):
        counts, starts = np.array([space.n]), np.array([space.start])
    elif isinstance(space, MultiDiscrete) and space.nvec.ndim == 1:
        counts, starts = space.nvec, space.start
    elif isinstance(space, MultiBinary) and len(space.shape) == 1:
        counts, starts = np.full(space.shape, 2), np.zeros(space.shape)
    if not len(counts):
        raise UserError(
            "--env expects an environment whose actions are a flat Box (a vector of real numbers), Discrete, or a flat "
            f"MultiDiscrete or MultiBinary, but {env_id} has {_kind(space)} actions: choose another, or register a wrapped version"
        )
    if np.min(counts) < 2:
        number = int(np.argmax(counts < 2))
        raise UserError(
            f"--env {env_id} has actions whose factor {number} is always {int(starts[number])}, which leaves nothing to choose: "
            "register it behind a gymnasium.ActionWrapper that puts that number in"
        )
    return starts, starts + counts - 1, tuple(map(int, counts))


def _kind(space: gymnasium.Space | None) -> str:
    name = "no" if space is None else type(space).__name__
    return f"{name} (shape {space.shape})" if space is not None and space.shape else name


def _check_actions(env_id: str, box: Box) -> None:
    """Refuse a box of actions that a policy, whose tanh is scaled to it in float32, cannot fill."""
    if not np.issubdtype(box.dtype, np.floating):
        raise UserError(
            f"--env {env_id} has {box.dtype} actions, but a policy gives real numbers: register it behind a "
            "gymnasium.ActionWrapper whose action_space is a Box of float32 and whose action(a) rounds"
        )
    if not (np.isfinite(box.low).all() and np.isfinite(box.high).all()):
        raise UserError(
            f"--env {env_id} has an unbounded action box, but a policy scales its tanh to a finite one: {_BOUNDED}"
        )
    with np.errstate(over="ignore"):
        wide = box.high.astype(np.float32) - box.low.astype(np.float32)
    bad = np.flatnonzero(~(np.isfinite(wide) & (wide > 0)))
    if len(bad):
        number = int(bad[0])
        raise UserError(
            f"--env {env_id} has an action box whose coordinate {number} ranges from {box.low[number]:g} to "
            f"{box.high[number]:g}, a range {'of zero' if wide[number] == 0 else 'too large'} in float32: {_BOUNDED}"
        )
