"""What an environment is beyond its id: the same for the same, another for every change that a user can make."""

import importlib.util
import shutil
import sys
from pathlib import Path

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


ROBOT = """
import gymnasium
import numpy as np
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
class Robot(HopperEnv):
    def __init__(self, **given):
        super().__init__(**({"xml_file": FILE} | given))
        self.model.body_mass[1] *= np.random.default_rng().uniform(0.9, 1.1)  # of each episode another
class Told(gymnasium.Wrapper, gymnasium.utils.RecordConstructorArgs):
    def __init__(self, env, path):
        gymnasium.utils.RecordConstructorArgs.__init__(self, path=path)
        super().__init__(env)
"""


@pytest.mark.parametrize("way", ["registered", "wrapped", "opened"])
def test_a_file_that_is_not_given_counts_by_what_it_says(way, own, tmp_path, monkeypatch):
    """Named in the registration, by a wrapper of it, or opened by a class of the user's; wherever it lies."""
    shipped = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / "hopper.xml"
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(shipped, tmp_path / folder / "robot.xml")
    monkeypatch.chdir(tmp_path / "a")
    source = ROBOT.replace("FILE", "'hopper.xml'" if way != "opened" else "'./robot.xml'")

    def spec(path="./robot.xml"):
        if way == "wrapped":
            told = gymnasium.envs.registration.WrapperSpec("Told", "own_point:Told", {"path": path})
            return own("Robot", source, additional_wrappers=(told,))
        return own("Robot", source, **({"kwargs": {"xml_file": path}} if way == "registered" else {}))

    before = spec()
    assert before == spec() and (way == "opened") == (not before.kwargs)
    if way != "opened":
        assert spec(str(tmp_path / "b" / "robot.xml")).kwargs == before.kwargs
    before, text = spec(), shipped.read_text()
    before.make().close()
    assert text.count('gear="200.0"') or text.count('gear="200"')
    (tmp_path / "a" / "robot.xml").write_text(text.replace('gear="200', 'gear="50', 1))
    if way == "registered":
        with pytest.raises(
            UserError, match=r"xml_file of its registration, \./robot.xml was edited since this run began"
        ):
            before.make()
    assert spec().identity() != before.identity()


@pytest.mark.parametrize("horizon", [0, -3])
def test_a_horizon_below_one_is_refused(horizon):
    with pytest.raises(UserError, match=rf"--env\.horizon expects at least 1, but got {horizon}"):
        env_spec("Pendulum-v1", horizon)
