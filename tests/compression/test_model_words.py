"""One argument of a learner leaves the shipped others as they are, wherever it is said; wrong ones are sentences."""

import pytest
import yaml

from lightning_pz import compress
from lightning_pz.common.errors import UserError
from lightning_pz.compression.resolve import env_settings
from lightning_pz.envs.presets import conf_dir, merge

SHIPPED = yaml.safe_load((conf_dir() / "compress.yaml").read_text())["model"]
POLE = env_settings("cartpole")["model"]["ppo"]


def model(*words: str) -> dict:
    return compress.parse_words(list(words))[1].model


@pytest.mark.parametrize(
    "words",
    [
        ["--model.ppo.n_envs", "2"],
        ["--model.ppo.n_envs=2"],
        ["--model.ppo", "{n_envs: 2}"],
        ["--model", "{ppo: {n_envs: 2}}"],
        ["--model.ppo.n_envs", "5", "--model={ppo: {n_envs: 2}}"],
    ],
)
def test_one_argument_leaves_the_others(words):
    assert model("--env", "cartpole", *words) == SHIPPED | {"ppo": POLE | {"n_envs": 2}}


def test_arguments_within_arguments_and_numbers_as_people_write_them():
    found = model("--env", "halfcheetah", "--model.sac.policy_kwargs.net_arch", "[8, 8]", "--model.sac.tau=1e-3")["sac"]
    own = {"net_arch": [8, 8], "optimizer_kwargs": {"weight_decay": 1e-4}}
    assert found == SHIPPED["sac"] | {"tau": 1e-3, "policy_kwargs": own}


def test_files_are_laid_over_and_later_words_win(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump({"model": {"ppo": {"n_envs": 3, "gamma": 0.5}}, "steps": 77}))
    _, settings, _ = compress.parse_words(
        ["--env", "cartpole", "--model.ppo.gamma", "0.7", "--config", str(path), "--model.ppo.n_envs", "4"]
    )
    assert settings.steps == 77 and settings.model["ppo"] == POLE | {"n_envs": 4, "gamma": 0.5}
    assert settings.model["sac"] == SHIPPED["sac"]


def test_what_a_run_keeps_is_what_it_had(tmp_path):
    """A config.yaml of a run has every argument, which no preset changes."""
    before = model("--env", "cartpole", "--model.ppo.n_envs", "2")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"env": env_settings("cartpole")["env"], "model": before}))
    assert model("--config", str(path)) == before


def test_minatars_games_have_the_network_that_takes_their_images():
    assert env_settings("MinAtar/Asterix-v1")["env"]["id"] == "MinAtar/Asterix-v1"
    wanted = merge(SHIPPED, env_settings("minatar-breakout")["model"])
    assert model("--env", "MinAtar/Asterix-v1") == model("--env", "minatar-breakout") == wanted
    assert compress.parse_words(["--env", "MinAtar/SpaceInvaders-v1"])[1].algorithm == "dqn"


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--model.ppo.n_envs", "abc"], "--model.ppo.n_envs expects a whole number of at least 1, but got 'abc'"),
        (["--model.ppo.n_envs", "2.5"], "--model.ppo.n_envs expects a whole number of at least 1, but got 2.5"),
        (["--model.ppo.n_envs", "70000"], "--model.ppo.n_envs expects 1 to 65536, but got 70000"),
        (["--model.ppo.batch_size", "7.5"], "--model.ppo.batch_size expects a whole number of at least 1"),
        (["--model.ppo.n_epochs", "0"], "--model.ppo.n_epochs expects a whole number of at least 1, but got 0"),
        (["--model.sac.learning_starts", "-1"], "--model.sac.learning_starts expects a whole number of at least 0"),
        (["--model.ppo.policy_kwargs", "3"], "--model.ppo.policy_kwargs expects arguments by name, but got 3"),
        (["--model.ppo", "3"], "--model.ppo expects arguments by name, such as .*, but got 3"),
        (["--model.ppo.n_envs"], "--model.ppo.n_envs expects a value, but nothing came after it"),
        (["--model.ppo.n_envs", "--steps", "3"], "--model.ppo.n_envs expects a value, but nothing came after it"),
        (["--model.pppo.n_envs", "3"], "pppo"),
    ],
)
def test_mistakes_are_sentences(words, sentence):
    with pytest.raises(UserError, match=sentence):
        model("--env", "cartpole", *words)
