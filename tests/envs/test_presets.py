"""Every shipped setting parses and runs; presets beat defaults, arguments beat presets."""

from pathlib import Path

import pytest
import yaml

from lightning_pz import collect, fit
from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import conf_dir, expand_presets, merge, preset_names, take_option
from sweeps.__main__ import SEARCHES

TINY_POOL = ["candidates", "60", "neighbors", "3", "states", "{probe: 8, train: 8, val: 4, test: 4, episodes: 2}"]


def flags(prefix):
    return [f"--{prefix}{word}" if i % 2 == 0 else word for i, word in enumerate(TINY_POOL)]


def first_config(arguments):
    return yaml.safe_load(arguments[0].removeprefix("--config="))


@pytest.mark.parametrize("policy", preset_names("policy"))
def test_every_policy_preset_runs_a_step(policy, tmp_path):
    # Some of what the presets set is made smaller; that they set it is tested below.
    result = fit.main([
        "--env", "mountaincar", "--policy", policy, *flags("data.random."), "--model.latent_dim", "2", "--logs", str(tmp_path),
        "--data.steps_per_epoch", "1", "--trainer.max_steps", "1", "--data.batch_size", "4", "--data.states_per_step", "4",
        "--trainer.log_every_n_steps", "1",
    ])  # fmt: skip
    assert result.summary["policy"] == policy


@pytest.mark.parametrize("env", preset_names("env"))
def test_every_environment_preset_makes_a_pool(env, tmp_path, capsys):
    collect.main(["--env", env, "--policy", "small", *flags(""), "--logs", str(tmp_path)])
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    assert (folder / "pool.json").is_file()


def test_every_file_in_conf_is_covered_here():
    files = {path.relative_to(conf_dir()).as_posix() for path in conf_dir().rglob("*.yaml")}
    commands = {
        "fit.yaml",
        "collect.yaml",
        "collect-grown.yaml",
        "finetune.yaml",
        "evaluate.yaml",
        "compress.yaml",
        "sweep/recovery.yaml",
        "sweep/compare.yaml",
        "sweep/grown.yaml",
        "sweep/growth.yaml",
    }
    commands |= {f"sweep/{study}.yaml" for study in SEARCHES}
    presets = {f"{kind}/{name}.yaml" for kind in ("env", "policy") for name in preset_names(kind)}
    # tests/compression/test_compress.py parses these.
    presets |= {f"compress/{name}.yaml" for name in preset_names("compress")}
    assert files == commands | presets


def test_presets_beat_defaults_and_arguments_beat_presets():
    expanded = expand_presets("fit", ["--env", "hopper", "--policy=large", "--trainer.max_steps", "7"])
    settings = first_config(expanded)
    assert settings["env"]["id"] == "Hopper-v5"
    assert settings["data"]["batch_size"] == 64 and settings["data"]["recipe"] == "random"
    assert expanded[1:] == ["--trainer.max_steps", "7"]


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
