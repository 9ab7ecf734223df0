"""What the rest of the package needs to know of a Gymnasium environment. Imports no torch."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from lightning_pz.checks import at_least
from lightning_pz.envs.content import own_source, registered_kwargs
from lightning_pz.errors import UserError, nearest


@dataclass(frozen=True)
class EnvSpec:
    """Sizes and boxes of an environment with flat Box observations and finite Box actions.

    Attributes:
        id: Registered Gymnasium id, with its version.
        horizon: Steps after which an episode is truncated.
        observation_size: Numbers in one observation.
        action_size: Numbers in one action.
        observation_low: Lower corner of the observation box, (O,); may be infinite.
        observation_high: Upper corner of the observation box, (O,).
        action_low: Lower corner of the action box, (A,); finite.
        action_high: Upper corner of the action box, (A,).
        kwargs: What the registration passes to the constructor, with further wrappers, as canonical JSON; empty if
            nothing.
        source: Digest of the source of a user's own environment, wrappers and entry point; empty for installed ones.
    """

    id: str
    horizon: int
    observation_size: int
    action_size: int
    observation_low: tuple[float, ...]
    observation_high: tuple[float, ...]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    kwargs: str = ""
    source: str = ""

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> EnvSpec:
        """Make a specification from plain data as it is kept in pools and checkpoints, where tuples are lists."""
        fields: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in plain.items()}
        return cls(**fields)

    @property
    def has_finite_observations(self) -> bool:
        """Whether the observation box has a volume to sample uniformly from."""
        corners = np.array([self.observation_low, self.observation_high])
        # Some environments write "no bound" as the largest float.
        return bool(np.all(np.abs(corners) < 1e6))


def make_env(env_id: str, **kwargs: Any) -> gymnasium.Env:
    """Call `gymnasium.make`, and explain in a sentence when there is no such environment.

    Raises:
        UserError: No environment of that id is registered, or it needs a package that is not installed.
    """
    try:
        with _quiet_model_compiler(env_id):
            return gymnasium.make(env_id, **kwargs)
    except gymnasium.error.DependencyNotInstalled as error:
        raise UserError(f"--env {env_id} needs a package that is not installed: {error}") from error
    except gymnasium.error.Error as error:  # unregistered, or no well-formed id
        raise UserError(
            f"--env expects a preset or a registered Gymnasium id, but got {env_id!r}."
            + nearest(env_id, gymnasium.registry.keys())
        ) from error


@contextlib.contextmanager
def _quiet_model_compiler(env_id: str) -> Iterator[None]:
    """Drop what MuJoCo says of attributes in Gymnasium's own models; hand its other warnings to Python.

    Only while a model is compiled, for warnings of the physics come from threads of MuJoCo's.
    """
    entry = gymnasium.registry[env_id].entry_point if env_id in gymnasium.registry else ""
    if "mujoco" not in str(entry):
        yield
        return
    import mujoco

    def tell(message: str) -> None:
        if "is deprecated" not in message:
            warnings.warn(f"MuJoCo: {message}", RuntimeWarning, stacklevel=2)

    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(tell)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def env_spec(env_id: str, horizon: int | None = None) -> EnvSpec:
    """Look an environment up and check that it can be used.

    Args:
        env_id: Registered Gymnasium id.
        horizon: Steps per episode; the environment's own limit, or 1,000 where it has none, if not given.

    Raises:
        UserError: A horizon below 1; unknown id; observations that are not a flat Box; actions that are not a finite
            flat Box.
    """
    if horizon is not None:
        at_least(1, {"env.horizon": horizon})
    env = make_env(env_id)
    try:
        observations, actions = env.observation_space, env.action_space
        limit = env.spec.max_episode_steps if env.spec else None
        kwargs, source = registered_kwargs(env), own_source(env)
    finally:
        env.close()
    _check_box(env_id, "observation", observations)
    _check_box(env_id, "action", actions)
    assert isinstance(observations, gymnasium.spaces.Box) and isinstance(actions, gymnasium.spaces.Box)
    if not (np.isfinite(actions.low).all() and np.isfinite(actions.high).all()):
        raise UserError(
            f"--env {env_id} has an unbounded action box, but a policy scales its tanh to a finite one: wrap "
            "it with gymnasium.wrappers.RescaleAction or ClipAction and register the wrapped environment"
        )
    return EnvSpec(
        id=env_id,
        horizon=int(horizon or limit or 1000),
        observation_size=int(observations.shape[0]),
        action_size=int(actions.shape[0]),
        observation_low=tuple(map(float, observations.low)),
        observation_high=tuple(map(float, observations.high)),
        action_low=tuple(map(float, actions.low)),
        action_high=tuple(map(float, actions.high)),
        kwargs=kwargs,
        source=source,
    )


def _check_box(env_id: str, what: str, space: gymnasium.Space) -> None:
    if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1 and space.shape[0] > 0:
        return
    shape = f" of shape {space.shape}" if isinstance(space, gymnasium.spaces.Box) else ""
    raise UserError(
        f"--env expects an environment whose {what}s are a flat Box (a vector of real numbers), but {env_id} "
        f"has {type(space).__name__} {what}s{shape}: choose a continuous-control environment, or register a "
        "wrapped version that has them"
    )
