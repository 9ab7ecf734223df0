"""What an environment is beyond its id: the same for the same, another for every change that a user can make."""

import importlib.util
import sys

import gymnasium
import numpy as np
import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.envs.specs import env_spec

SOURCE = """
import gymnasium, numpy as np
class Point(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    def __init__(self, gain=1.0, **_):
        self.gain = gain
class Wrapped(gymnasium.Wrapper):
    pass
def make(**kwargs):
    return gymnasium.wrappers.RescaleAction(gymnasium.make("Pendulum-v1"), np.full(1, -1.0, np.float32), np.ones(1, np.float32))
"""


@pytest.fixture
def own(tmp_path):
    """Registers an environment from a module of the user's own, again and again."""

    def register(entry="Point", source=SOURCE, **registration):
        path = tmp_path / "own_point.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("own_point", path)
        sys.modules["own_point"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        gymnasium.registry.pop("OwnPoint-v0", None)
        gymnasium.register("OwnPoint-v0", entry_point=getattr(module, entry), max_episode_steps=50, **registration)
        return env_spec("OwnPoint-v0")

    yield register
    gymnasium.registry.pop("OwnPoint-v0", None)
    sys.modules.pop("own_point", None)


def test_gymnasiums_own_has_neither_arguments_nor_source():
    for env_id in ("Pendulum-v1", "HalfCheetah-v5"):
        assert (env_spec(env_id).kwargs, env_spec(env_id).source) == ("", "")


def test_source_arguments_and_wrappers_count(own):
    first = own()
    assert first == own() and first.source and not first.kwargs
    assert own(source=SOURCE.replace("gain=1.0", "gain=1.5")).source != first.source
    assert own(kwargs={"gain": 2.0}).kwargs != own(kwargs={"gain": 3.0}).kwargs != ""
    assert own(kwargs={"a": np.ones(2), "f": SOURCE.strip}) == own(kwargs={"f": SOURCE.strip, "a": np.ones(2)})
    rescale = gymnasium.wrappers.RescaleAction
    one, other = (
        own(additional_wrappers=(rescale.wrapper_spec(min_action=-high, max_action=high),))
        for high in np.float32([[0.5, 0.5], [0.25, 0.25]])
    )
    assert one.kwargs != other.kwargs and one.action_high == (0.5, 0.5)


def test_a_users_factory_of_an_installed_environment_counts(own):
    made = own("make")
    assert made.source and made.source != own("make", source=SOURCE.replace("-1.0, np", "-0.5, np")).source


@pytest.mark.parametrize("horizon", [0, -3])
def test_a_horizon_below_one_is_refused(horizon):
    with pytest.raises(UserError, match=rf"--env\.horizon expects at least 1, but got {horizon}"):
        env_spec("Pendulum-v1", horizon)
