"""Each measurement of `evaluate` takes the settings that it depends on, and refuses the others before anything is done."""

import dataclasses
import subprocess
import sys

import pytest

from lightning_pz import evaluate
from lightning_pz.common.errors import UserError
from lightning_pz.evaluation.groups import EvaluateConfig
from lightning_pz.evaluation.translation_run import _UNUSED
from lightning_pz.jobs.evaluate_words import TAKES, check_measurement

OTHER = {
    "tasks": "[left]", "pool": "mypool", "policy": "4", "logger": "csv", "video": "true", "policies": "7", "episodes": "3",
    "episode_seed": "5", "latents": "gaussian", "latent_seed": "2", "best": "9", "draws": "11", "fresh_episodes": "13",
    "threads": "3", "sample": "true",
}  # fmt: skip
"""All settings of an evaluation, none at its default."""
ASKED = {
    "--task": (True, False, None), "--elsewhere": (False, True, None),
    "--translate FROM,TO": (False, False, ["small,4"]), "--translate FILE.npz,TO": (False, False, ["policy.npz,4"]),
}  # fmt: skip


def test_the_tables_know_every_setting():
    assert OTHER.keys() - {field.name for field in dataclasses.fields(EvaluateConfig)} == {
        "tasks", "pool", "policy", "logger", "video"
    }  # fmt: skip
    assert TAKES.keys() == ASKED.keys()
    own = {field.name for field in dataclasses.fields(EvaluateConfig)}
    assert {"tasks", "pool", "threads"} | own - {*_UNUSED} == {*TAKES["--translate FROM,TO"][1]}


@pytest.mark.parametrize("name", OTHER)
@pytest.mark.parametrize("measurement", TAKES)
def test_a_setting_is_taken_or_refused(measurement, name, tmp_path):
    (tmp_path / "mine.yaml").write_text(f"{name}: {OTHER[name]}\n")
    for words in ([f"--{name}", OTHER[name]], [f"--{name}={OTHER[name]}"], ["--config", str(tmp_path / "mine.yaml")]):
        if name in TAKES[measurement][1]:
            check_measurement(*ASKED[measurement], words)
        else:
            with pytest.raises(
                UserError, match=rf"--{name} has no effect here, since {measurement} .* leave --{name} out"
            ):
                check_measurement(*ASKED[measurement], words)


@pytest.mark.parametrize("measurement", TAKES)
def test_defaults_may_be_spelled_out_and_the_evaluation_itself_takes_all(measurement):
    every = [word for name, value in OTHER.items() for word in (f"--{name}", value)]
    check_measurement(False, False, None, every)
    defaults = ["--policies", "500", "--tasks=null", "--video", "false", "--logger", "tensorboard", "--sample", "null"]
    check_measurement(*ASKED[measurement], [])
    check_measurement(*ASKED[measurement], [*defaults, "--logs", "mine", "--env", "hopper"])


def test_both_ways_to_translate_take_the_settings_of_either():
    both = ["policy.npz,4", "small,4"]
    check_measurement(False, False, both, ["--fresh_episodes", "3", "--episodes", "3"])
    with pytest.raises(UserError, match=r"--translate FILE\.npz,TO distills .* and --translate FROM,TO takes held-out"):
        check_measurement(False, False, both, ["--latents", "gaussian"])
    check_measurement(False, False, [], ["--episodes", "3"])  # all pairs


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--pool", "P", "--task", "left", "--elsewhere", "P"], "--task and --elsewhere each measure"),
        (["--pool", "P", "--task", "left", "--sample", "true"], "--sample has no effect here, since --task ranks"),
        (
            ["--checkpoint", "C", "--elsewhere", "P", "--tasks", "[nosuchtask]"],
            "--tasks has no effect here, since --elsewhere",
        ),
        (
            ["--checkpoint", "C", "--elsewhere", "P", "--pool", "/nowhere"],
            "--pool has no effect here, since --elsewhere",
        ),
        (
            ["--checkpoint", "C", "--translate", "medium,8", "--video", "true"],
            "--video has no effect here, since --translate",
        ),
        (
            ["--checkpoint", "C", "--translate", "--logger=csv"],
            "--logger has no effect here, since --translate FROM,TO",
        ),
        (["--elsewhere", "P", "--pool", "P"], "--pool has no effect here"),
        (["--elsewhere", "P"], "which checkpoint"),
    ],
)
def test_the_command_refuses_them(words, told, pool, tmp_path):
    (tmp_path / "best.ckpt").touch()
    places = {"P": str(pool.folder), "C": str(tmp_path / "best.ckpt")}
    with pytest.raises(UserError, match=told):
        evaluate.main([*(places.get(word, word) for word in words), "--logs", str(tmp_path / "logs")])
    assert not (tmp_path / "logs").exists()


def test_they_are_refused_before_torch_is_imported(tmp_path):
    (tmp_path / "best.ckpt").touch()
    words = ["--checkpoint", "best.ckpt", "--translate", "--video", "true"]
    command = [sys.executable, "-X", "importtime", "-m", "lightning_pz.evaluate", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and "error: --video has no effect" in done.stderr and " torch" not in done.stderr
