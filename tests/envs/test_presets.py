"""Every shipped setting parses and runs; presets beat defaults, arguments beat presets."""

import json
from pathlib import Path

import pytest
import yaml

import lightning_pz.jobs.collect
from lightning_pz import collect, fit
from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import (
    at_shipped,
    conf_dir,
    default_recipe,
    expand_presets,
    load_preset,
    merge,
    preset_names,
    take_option,
)
from lightning_pz.jobs.fit import prepare_fit
from lightning_pz.pool.recipe import RandomRecipe
from sweeps.__main__ import SEARCHES

STATES = "{probe: 8, train: 8, val: 4, test: 4, episodes: 2}"
TINY_POOL = ["candidates", "60", "neighbors", "3", "states", STATES]
TINY_GROWTH = [
    "--steps", "900", "--first", "32", "--size", "40", "--horizon", "6", "--directions", "2", "--population", "2",
    "--generations", "2", "--neighbors", "3", "--states", STATES,
]  # fmt: skip
GROWN = ("halfcheetah", "acrobot", "cartpole", "hopper", "lunarlander", "mountaincar-discrete", "reacher")
"""Presets whose pools are grown unless something else is asked for."""


def flags(prefix):
    return [f"--{prefix}{word}" if i % 2 == 0 else word for i, word in enumerate(TINY_POOL)]


def first_config(arguments):
    return yaml.safe_load(arguments[0].removeprefix("--config="))


@pytest.mark.parametrize(
    "policy", [pytest.param(name, marks=[pytest.mark.slow] * (name == "large")) for name in preset_names("policy")]
)
def test_every_policy_preset_runs_a_step(policy, tmp_path):
    # Some of what the presets set is made smaller; that they set it is tested below.
    result = fit.main([
        "--env", "mountaincar", "--policy", policy, *flags("data.random."), "--model.latent_dim", "2", "--logs", str(tmp_path),
        "--data.steps_per_epoch", "1", "--trainer.max_steps", "1", "--data.batch_size", "4", "--data.states_per_step", "4",
        "--trainer.log_every_n_steps", "1",
    ])  # fmt: skip
    assert result.summary["policy"] == policy


SHORT = {"acrobot": ["--env.horizon", "100"]}  # none of its random policies ends an episode


@pytest.mark.slow
@pytest.mark.parametrize(
    "env", [pytest.param(env, marks=[pytest.mark.slow] * (env in GROWN[1:])) for env in preset_names("env")]
)
def test_every_environment_preset_makes_a_pool_of_its_own_recipe(env, tmp_path, capsys):
    small = TINY_GROWTH if env in GROWN else flags("")
    if env == "mountaincar-discrete":  # in six steps a push moves a car no further than where it began
        small = [*TINY_GROWTH, "--horizon", "40", "--steps", "2000"]
    collect.main(["--env", env, "--policy", "small", *small, *SHORT.get(env, []), "--logs", str(tmp_path)])
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    assert json.loads((folder / "pool.json").read_text())["recipe"] == ("grown" if env in GROWN else "random")


@pytest.mark.parametrize("env", preset_names("env"))
def test_every_environment_preset_makes_a_random_pool(env, tmp_path, capsys):
    collect.main(
        [
            "--env",
            env,
            "--recipe",
            "random",
            "--policy",
            "small",
            *flags(""),
            *SHORT.get(env, []),
            "--logs",
            str(tmp_path),
        ]
    )
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    assert json.loads((folder / "pool.json").read_text())["recipe"] == "random"


class Asked(Exception):
    """Carries the recipe that a command asks for."""


@pytest.mark.parametrize("env", [*preset_names("env"), "Walker2d-v5"])
def test_fit_and_collect_make_the_same_pool(env, monkeypatch, tmp_path):
    def asked(env, policy, recipe, *_):
        raise Asked(recipe)

    monkeypatch.setattr(lightning_pz.jobs.collect, "collect_pool", asked)
    for words in ([], ["random"], ["grown"]):
        with pytest.raises(Asked) as collected:
            collect.main(["--env", env, *(f"--recipe={word}" for word in words)])
        cli = prepare_fit(expand_presets("fit", ["--env", env, *(f"--data.recipe={word}" for word in words)]))
        assert collected.value.args[0] == cli.datamodule.own
        wanted = words[0] if words else "grown" if env in GROWN else "random"
        assert cli.datamodule.own.kind == wanted


def test_flags_and_files_beat_the_recipe_of_a_preset(tmp_path):
    (tmp_path / "mine.yaml").write_text("{data: {recipe: random, random: {candidates: 500}}}")
    (tmp_path / "more.yaml").write_text("{data: {grown: {steps: 7000000}}}")

    def recipe(*words):
        return prepare_fit(expand_presets("fit", ["--env", "hopper", *words])).datamodule.own

    assert recipe("--data.recipe", "random") == RandomRecipe()
    assert recipe("--config", str(tmp_path / "mine.yaml")).candidates == 500
    assert recipe("--config", str(tmp_path / "more.yaml")).steps == 7_000_000
    assert recipe("--data.grown.steps", "4000000").steps == 4_000_000
    (tmp_path / "pool.yaml").write_text("{recipe: random, candidates: 500}")
    words = ["--env", "hopper", "--config", str(tmp_path / "pool.yaml")]
    assert default_recipe(words) == "random" and default_recipe(words[:2]) == "grown"
    large = ["--env", "hopper", "--policy", "large"]  # whose growth would fill the memory
    assert prepare_fit(expand_presets("fit", large)).datamodule.own.kind == default_recipe(large) == "random"
    assert recipe("--policy", "large", "--data.recipe", "grown").size == 4000
    assert default_recipe(["--env", "Hopper-v5"]) == default_recipe(["--help"]) == "random"


def test_the_presets_say_the_same_to_fit_and_to_collect():
    for name in preset_names("env"):
        preset = load_preset("env", name)
        assert preset.get("collect-grown") == preset.get("fit", {}).get("data", {}).get("grown"), name


@pytest.mark.parametrize(
    "main, words, sentence",
    [
        (fit.main, ["--data.random.candidates", "99"], "data.random.candidates is a setting of --data.recipe random"),
        (fit.main, ["--data.random={seed: 1}"], "give --data.recipe random as well, or leave it out"),
        (
            fit.main,
            ["--config=fit.yaml"],
            "--data.random.keep of the --config file is a setting of --data.recipe random",
        ),
        (fit.main, ["--config=fit.yaml", "--config=seed.yaml"], "--data.random.keep of the --config file"),
        (collect.main, ["--candidates", "99"], "--candidates is an option of --recipe random, but .* is grown"),
        (collect.main, ["--config=pool.yaml"], "--keep is an option of --recipe random"),
        (collect.main, ["--recipe", "random", "--steps", "99"], "--steps is an option of --recipe grown"),
        (collect.main, ["--recipe", "random", "--config", "grown.yaml"], "contradicts the --config file"),
    ],
)
def test_a_setting_of_the_other_recipe_is_refused(main, words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pool.yaml").write_text("keep: 0.1")
    Path("grown.yaml").write_text("recipe: grown")
    Path("fit.yaml").write_text("data: {random: {keep: 0.5}}")
    Path("seed.yaml").write_text("data: {val_share: 0.2}")
    with pytest.raises(UserError, match=sentence):
        main(["--env", "reacher", *words])
    assert not Path("logs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("env", ["mountaincar", "reacher"])
def test_the_published_way_is_one_file(env, tmp_path, monkeypatch):
    small = [
        *flags("data.random."), "--policy", "small", "--model.latent_dim", "2", "--data.batch_size", "4", "--trainer.max_steps", "2",
        "--data.states_per_step", "4", "--data.steps_per_epoch", "2", "--trainer.log_every_n_steps", "1", "--logs", str(tmp_path),
        "--data.val_share", "0.4", "--data.test_share", "0.4", "--probes.enabled", "false",
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path)  # as installed, where no conf/ is near
    paper = ["--env", env, "--config", "conf/paper.yaml"]
    whole = prepare_fit(expand_presets("fit", paper))
    assert whole.datamodule.own == RandomRecipe(candidates=50_000, keep=0.1, states=whole.datamodule.random.states)
    assert whole.datamodule.policy.hidden == [32, 32] and whole.model.hparams["loss"] == "behavior"
    result = fit.main([*paper, *small])
    assert result.summary["encoder"] == "parameters" and result.summary["recipe"] == "random"
    assert result.summary["pool_size"] <= 6


def test_a_file_of_ones_own_goes_before_the_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = str(conf_dir() / "paper.yaml")
    words = ["--config", "conf/paper.yaml", "--config=conf/paper.yaml", "conf/paper.yaml", "--config", "conf/none.yaml"]
    assert at_shipped(words) == [
        "--config",
        shipped,
        f"--config={shipped}",
        "conf/paper.yaml",
        "--config",
        "conf/none.yaml",
    ]
    Path("conf").mkdir()
    Path("conf/paper.yaml").write_text("{}")
    assert at_shipped(words) == words


def test_every_file_in_conf_is_covered_here():
    files = {path.relative_to(conf_dir()).as_posix() for path in conf_dir().rglob("*.yaml")}
    commands = {
        f"{name}.yaml"
        for name in ("fit", "collect", "collect-grown", "collect-archive", "finetune", "evaluate", "compress", "paper")
    } | {
        f"sweep/{study}.yaml"
        for study in (
            "recovery",
            "compare",
            "compression",
            "few_episodes",
            "grown",
            "growth",
            "pretraining",
            "reuse",
            *SEARCHES,
        )
    }
    presets = {f"{kind}/{name}.yaml" for kind in ("env", "policy") for name in preset_names(kind)}
    # tests/compression/test_compress.py parses these.
    presets |= {f"compress/{name}.yaml" for name in preset_names("compress")}
    assert files == commands | presets


def test_presets_beat_defaults_and_arguments_beat_presets():
    expanded = expand_presets("fit", ["--env", "hopper", "--policy=large", "--trainer.max_steps", "7"])
    settings = first_config(expanded)
    assert settings["env"]["id"] == "Hopper-v5"
    assert settings["data"]["batch_size"] == 64 and settings["data"]["grown"]["steps"] == 3_000_000
    assert expanded[1:] == ["--trainer.max_steps", "7"]


@pytest.mark.parametrize("at", [0, 4])
def test_flags_beat_presets_beside_a_file_too(at, tmp_path):
    """Wherever the file stands among them; a preset beats the file, and a setting of neither is the preset's."""
    path = tmp_path / "steps.yaml"
    path.write_text("trainer: {max_steps: 900}\nenv: {horizon: 5}\n")
    words = ["--env", "hopper", "--policy", "small", "--env.horizon", "77", "--policy.hidden=[64]"]
    words[at:at] = ["--config", str(path)]
    cli = prepare_fit(expand_presets("fit", words))
    assert (cli.datamodule.spec.horizon, cli.datamodule.layout.hidden) == (77, (64,))
    assert cli.datamodule.layout.activation == "tanh" and cli.datamodule.spec.id == "Hopper-v5"
    del words[words.index("--env.horizon") : words.index("--env.horizon") + 2]
    assert prepare_fit(expand_presets("fit", words)).datamodule.spec.horizon == 1000


def test_sections_of_other_commands_are_left_out():
    assert set(first_config(expand_presets("collect", ["--env", "hopper", "--policy", "large"]))) >= {"env", "policy"}
    assert "fit" not in first_config(expand_presets("collect", ["--env", "hopper", "--policy", "large"]))


def test_gymnasium_ids_need_no_preset():
    settings = first_config(expand_presets("fit", ["--env", "Walker2d-v5"]))
    assert settings["env"] == {"name": "walker2d-v5", "id": "Walker2d-v5"}
    assert settings["policy"]["name"] == "medium"


def test_named_presets_beat_a_config_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("{env: {name: a, id: Pendulum-v1}, policy: {name: small, hidden: [2]}}")
    expanded = expand_presets("fit", ["--config", str(path), "--env", "hopper"])
    last = yaml.safe_load(expanded[-1].removeprefix("--config="))
    assert last["env"]["id"] == "Hopper-v5" and "policy" not in last


def test_merge_and_take_option():
    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 5}, "d": {"e": 1}}) == {
        "a": {"b": 5, "c": 2},
        "d": {"e": 1},
    }
    assert take_option(["--x", "1", "y", "--x=2"], "--x") == ("2", ["y"])
    with pytest.raises(UserError, match="--x expects a value"):
        take_option(["--x"], "--x")
