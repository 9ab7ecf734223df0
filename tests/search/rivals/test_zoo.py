"""RL Zoo's settings: the entry that is taken, how its texts are read, and what is refused."""

import pytest
import yaml
from torch import nn

from lightning_pz.common.errors import UserError
from lightning_pz.search.rivals import zoo
from lightning_pz.search.rivals.hyperparameters import default_hyperparameters, zoo_hyperparameters
from lightning_pz.search.rivals.zoo import ZooEntry, evaluate_text, zoo_entry


@pytest.mark.parametrize(
    "algorithm, env, name",
    [
        ("sac", "MountainCarContinuous-v0", "MountainCarContinuous-v0"),
        ("tqc", "HalfCheetah-v5", "HalfCheetah-v4"),
        ("ppo", "Reacher-v5", "Reacher-v2"),
        ("td3", "Reacher-v5", "ReacherBulletEnv-v0"),
        ("crossq", "Reacher-v5", "default"),
        ("ddpg", "mymodule:mine/Walker2d-v5", "Walker2d-v4"),
    ],
)
def test_the_nearest_entry_of_the_environment_is_taken(algorithm, env, name):
    entry = zoo_entry(algorithm, env)
    assert entry.name == name and entry.settings["policy"] == "MlpPolicy" and entry.version.count(".") == 2


def test_the_published_settings_of_mountain_car_arrive_as_published():
    given = zoo_hyperparameters("sac", zoo_entry("sac", "MountainCarContinuous-v0"), 20_000)
    kwargs = {"log_std_init": -3.67, "net_arch": [64, 64], "use_expln": True}
    assert given.arguments == {
        "learning_rate": 3e-4, "buffer_size": 20_000, "batch_size": 512, "ent_coef": 0.1, "train_freq": 32,
        "gradient_steps": 32, "gamma": 0.9999, "tau": 0.01, "learning_starts": 0, "use_sde": True, "policy_kwargs": kwargs,
    }  # fmt: skip
    assert given.least_steps(999) == 32 and given.normalize is None and given.noise is None
    given = zoo_hyperparameters("ppo", zoo_entry("ppo", "MountainCarContinuous-v0"), 20_000)
    assert given.normalize == {"gamma": 0.9999} and given.least_steps(999) == 8
    given = zoo_hyperparameters("td3", zoo_entry("td3", "MountainCarContinuous-v0"), 20_000)
    assert given.noise == ("ornstein-uhlenbeck", 0.5) and "noise_type" not in given.arguments


def test_schedules_frequencies_and_normalization_are_read_as_rl_zoo_reads_them():
    settings = {
        "n_timesteps": 1e6, "policy": "MlpPolicy", "learning_rate": "lin_7.3e-4", "train_freq": [1, "episode"], "gamma": 0.9,
        "normalize": "{'norm_obs': True, 'norm_reward': False}", "n_envs": 4,
        "policy_kwargs": "dict(activation_fn=nn.ReLU, net_arch=dict(pi=[256, 256], vf=[8]))",
    }  # fmt: skip
    given = zoo_hyperparameters("sac", ZooEntry("x", "1", settings), 100)
    assert given.linear == {"learning_rate": 7.3e-4} and given.envs == 4 and given.least_steps(30) == 30
    assert given.normalize == {"norm_obs": True, "norm_reward": False, "gamma": 0.9}
    assert given.arguments["policy_kwargs"] == {"activation_fn": nn.ReLU, "net_arch": {"pi": [256, 256], "vf": [8]}}
    assert settings["n_timesteps"] == 1e6  # the entry, which the identity holds, stays as it is


def test_defaults_keep_the_width_of_the_policies():
    given = default_hyperparameters("td3", (5, 6), 300)
    assert given.arguments == {"policy_kwargs": {"net_arch": {"pi": [5, 6], "qf": [400, 300]}}, "buffer_size": 300}
    assert default_hyperparameters("ppo", (5,), 300).least_steps(10) == 2048


@pytest.mark.parametrize("text", ["__import__('os').getcwd()", "dict(a=open('x'))", "nn.Nothing", "dict(", "os.sep"])
def test_a_text_that_would_run_code_is_refused(text):
    with pytest.raises(UserError, match="cannot be read"):
        evaluate_text(text, {"nn": nn})


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"env_wrapper": "minigrid.wrappers.FlatObsWrapper"}, "needs the package minigrid, which is not installed"),
        ({"env_wrapper": [{"gymnasium.wrappers.FrameStack": {"n": 2}}]}, "changes what a policy sees"),
        ({"frame_stack": 4}, "frame_stack: 4, which changes what a policy sees"),
        ({"callback": ["rl_zoo3.callbacks.ParallelTrainCallback"]}, "is not supported here"),
    ],
)
def test_an_entry_that_cannot_be_followed_is_refused(settings, sentence, tmp_path, monkeypatch):
    (tmp_path / "hyperparams").mkdir()
    (tmp_path / "hyperparams" / "ppo.yml").write_text(yaml.safe_dump({"Ant-v5": settings}))
    real = zoo.importlib.util.find_spec

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(zoo.importlib.util, "find_spec", lambda name: Spec if name == "rl_zoo3" else real(name))
    with pytest.raises(UserError, match=sentence):
        zoo_entry("ppo", "Ant-v5")
    with pytest.raises(UserError, match="RL Zoo has no settings of ppo for Hopper-v5"):
        zoo_entry("ppo", "Hopper-v5")
