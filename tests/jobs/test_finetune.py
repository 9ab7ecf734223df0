"""The command as typed: the files it writes, what it repeats, what it refuses."""

import csv
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_pz import finetune
from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import safe_name
from lightning_pz.envs.episode_seeds import TEST_SEEDS
from lightning_pz.envs.presets import conf_dir
from lightning_pz.envs.rollout import rollout
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.jobs import finetune as finetuning
from lightning_pz.jobs import finetune_run as single_run
from lightning_pz.policy.saved import load_policy
from lightning_pz.search.settings import ALGORITHMS, BASELINES, SearchSettings
from tests.said import reused

TINY = [
    "--budget", "1200", "--starts", "2", "--pgpe.population", "4", "--random_latent.population", "4",
    "--gradient.policies", "1", "--gradient.episodes", "3", "--evaluation_episodes", "2", "--test_episodes", "4",
    "--evaluate_every", "400",
]  # fmt: skip


def last_line(capsys) -> Path:
    return Path(capsys.readouterr().out.strip().splitlines()[-1])


def curve(folder: Path) -> list[dict[str, str]]:
    with (folder / "curve.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "dqn"])
def test_every_algorithm_leaves_a_whole_run_folder(algorithm, checkpoint, tmp_path, capsys):
    more = ["--release_decoder_at", "600"] if algorithm == "gradient" else []
    if algorithm == "ppo":
        more = ["--budget", "2048"]
    elif algorithm in BASELINES:
        more = ["--budget", "104", "--baselines.chunk", "104"]  # it learns from step 100 on, and slowly
    finetune.main(["--checkpoint", checkpoint, "--algorithm", algorithm, "--logs", str(tmp_path), *TINY, *more])
    folder = last_line(capsys)
    name = f"{algorithm}-small{'' if algorithm in BASELINES else '-k2-seed0'}-seed0"
    assert folder == tmp_path / "finetune" / "mountaincar" / "standard" / name
    names = {path.name for path in folder.iterdir() if not path.name.startswith(("events", "."))}
    files = "config.yaml curve.csv identity identity.json policy.npz policy.onnx summary.json"
    assert names == set(files.split())
    summary, rows = json.loads((folder / "summary.json").read_text()), curve(folder)
    assert summary["env_steps"] == int(rows[-1]["env_steps"]) <= summary["budget"]
    assert summary["algorithm"] == algorithm and summary["latent_dim"] == 2 and summary["policy"] == "small"

    policy = load_policy(folder / "policy.npz")
    states = np.random.default_rng(0).uniform([-1.2, -0.07], [0.6, 0.07], (20, 2)).astype(np.float32)
    (actions,) = onnxruntime.InferenceSession(folder / "policy.onnx").run(None, {"observation": states})
    assert np.abs(actions - policy.act(torch.from_numpy(states)).numpy()).max() < 1e-5
    if policy.is_plain:
        spec = EnvSpec.from_dict(load_autoencoder(checkpoint).env)
        seeds, tasks = range(TEST_SEEDS, TEST_SEEDS + 4), find_tasks(spec.id, ["standard"])
        played = rollout(policy.network(), policy.params[None], spec, seeds, tasks)
        assert summary["standard/return"] == played.returns["standard"].mean()

    events = EventAccumulator(str(folder))
    events.Reload()
    logged = [(event.step, event.value) for event in events.Scalars("eval_return")]
    assert [step for step, _ in logged] == [int(row["env_steps"]) for row in rows]
    assert [value for _, value in logged] == pytest.approx([float(row["eval_return"]) for row in rows], rel=1e-5)


def test_a_finished_run_is_not_repeated_and_other_settings_get_a_number(checkpoint, tmp_path, capsys, monkeypatch):
    command = ["--checkpoint", checkpoint, "--logs", str(tmp_path), *TINY]
    finetune.main(command)
    folder = last_line(capsys)
    before = (folder / "summary.json").stat().st_mtime_ns
    monkeypatch.setattr(single_run, "search_until_done", lambda *_: pytest.fail("repeated"))
    finetune.main(command)
    assert last_line(capsys) == folder
    # Its own config names the same run, and settings that change nothing do not matter.
    finetune.main(["--config", str(folder / "config.yaml"), "--checkpoint_seconds", "3", "--cmaes.sigma", "2"])
    output = capsys.readouterr().out
    assert Path(output.strip().splitlines()[-1]) == folder and reused(output) == "1"
    assert (folder / "summary.json").stat().st_mtime_ns == before
    monkeypatch.undo()
    finetune.main([*command, "--pgpe.sigma", "0.4"])
    assert last_line(capsys) == folder.with_name(folder.name + "-002")


@pytest.mark.slow
def test_all_tasks_and_seeds_side_by_side_equal_one_by_one(checkpoint, tmp_path, capsys):
    command = ["--checkpoint", checkpoint, "--seeds", "2", *TINY, "--budget", "900"]
    named = "standard,left,speed,height"
    finetune.main([*command, "--task", named, "--logs", str(tmp_path / "one"), "--workers", "1"])
    one = last_line(capsys)
    assert one == tmp_path / "one" / "finetune" / "mountaincar"
    finetune.main([*command, "--task", "all", "--logs", str(tmp_path / "two"), "--workers", "2"])
    two = last_line(capsys)
    found = sorted(path.relative_to(one) for path in one.rglob("curve.csv"))
    assert len(found) == 8 and {path.parts[0] for path in found} == {"standard", "left", "speed", "height"}
    for path in found:
        rows, others = curve((one / path).parent), curve((two / path).parent)
        assert [{**row, "seconds": ""} for row in rows] == [{**row, "seconds": ""} for row in others]


@pytest.mark.slow
def test_an_interrupted_command_exits_with_130_and_resumes_to_the_same_curve(checkpoint, tmp_path):
    def arguments(logs):
        return [
            "--checkpoint", checkpoint, "--logs", str(tmp_path / logs), *TINY, "--seeds", "2", "--budget", "200000",
            "--evaluate_every", "20000", "--checkpoint_seconds", "0.05", "--pgpe.population", "32",
        ]  # fmt: skip

    folder = tmp_path / "stopped" / "finetune" / "mountaincar" / "standard"
    command = [sys.executable, "-m", "lightning_pz.finetune", *arguments("stopped"), "--workers", "2"]
    # Tests that run in the background inherit an ignored Ctrl-C.
    hear = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hear, start_new_session=True)
    deadline = time.monotonic() + 100
    # One run under way is enough: on a busy machine it may end before the other has begun.
    while not list(folder.glob("*/state.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130, errors
    assert "unfinished; the same command resumes them" in errors and "Traceback" not in errors
    stopped = {path.parent.name: len(curve(path.parent)) for path in folder.glob("*/curve.csv")}
    assert stopped and not list(folder.glob("*/summary.json"))
    for logs in ("stopped", "straight"):
        finetune.main([*arguments(logs), "--workers", "1"])
    straight = tmp_path / "straight" / "finetune" / "mountaincar" / "standard"
    names = sorted(path.name for path in straight.iterdir() if path.is_dir())
    assert len(names) == 2
    for name in names:
        rows, others = curve(folder / name), curve(straight / name)
        assert len(rows) > stopped.get(name, 0)
        assert [{**row, "seconds": ""} for row in rows] == [{**row, "seconds": ""} for row in others]


def test_a_task_of_ones_own_with_rewards_that_break(checkpoint, tmp_path, capsys, monkeypatch):
    (tmp_path / "my_rewards_for_search.py").write_text(
        "import numpy as np\n"
        "def broken(t):\n"
        "    begins = t.before.velocities[:, 0] == 0\n"
        "    return np.where(begins & (t.before.positions[:, 0] > -0.5), np.nan, 1.0)\n"
        "def fine(t):\n"
        "    return t.after.positions[:, 0]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    command = ["--checkpoint", checkpoint, "--logs", str(tmp_path), *TINY, "--task"]
    finetune.main([*command, "my_rewards_for_search:fine"])
    assert last_line(capsys).parent.name == safe_name("my_rewards_for_search:fine")
    finetune.main([*command, "my_rewards_for_search:broken"])
    summary = json.loads((last_line(capsys) / "summary.json").read_text())
    assert summary["invalid"] > 0


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ([], "which decoder"),
        (["--checkpoint", "nowhere.ckpt"], "there is none at nowhere.ckpt"),
        (["--checkpoint", "CKPT", "--algorithm", "pgep"], "Did you mean 'pgpe'"),
        (["--checkpoint", "CKPT", "--task", "hieght"], "Did you mean 'height'"),
        (["--checkpoint", "CKPT", "--task", "left,hieght"], "Did you mean 'height'"),
        (["--checkpoint", "CKPT", "--env", "hopper"], "is Hopper-v5, but .* made for MountainCarContinuous-v0"),
        (["--checkpoint", "CKPT", "--env", "hoper"], "Did you mean 'hopper'"),
        (["--checkpoint", "CKPT", "--budget", "1500"], "--budget 1500 is smaller than one generation"),
        (["--checkpoint", "CKPT", "--budget", "0"], "--budget expects at least 1"),
        (["--checkpoint", "CKPT", "--seeds", "0"], "--seeds expects at least 1"),
        (["--checkpoint", "CKPT", "--workers", "0"], "--workers expects at least 1"),
        (["--checkpoint", "CKPT", "--pgpe.population", "7"], "even number"),
        (
            ["--checkpoint", "CKPT", "--release_decoder_at", "7", "--algorithm", "cmaes"],
            "goes with --algorithm gradient",
        ),
        (["--checkpoint", "CKPT", "--start", "pool_best", "--algorithm", "ppo"], "--start pool_best goes with"),
        (["--checkpoint", "CKPT", "--start", "pool_bset"], "Did you mean 'pool_best'"),
        (["--checkpoint", "CKPT", "--start", "pool_best"], "is a random pool, whose policies were never played"),
        (["--checkpoint", "CKPT", "--task", "no_such_module_here:f"], "importing 'no_such_module_here' failed"),
        (["--config", "nowhere.yaml"], "there is none at nowhere.yaml"),
    ],
)
def test_bad_input(arguments, sentence, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"(?s){sentence}"):
        finetune.main([checkpoint if word == "CKPT" else word for word in arguments])
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_without_its_run_folder_is_checked_once_it_is_loaded(checkpoint, tmp_path, capsys):
    path = tmp_path / "alone.ckpt"
    path.write_bytes(Path(checkpoint).read_bytes())
    for arguments, sentence in (
        (["--env", "hopper"], "made for MountainCar"),
        (["--task", "forward"], "--task expects a task of MountainCar"),
    ):
        with pytest.raises(UserError, match=sentence):
            finetune.main(["--checkpoint", str(path), "--logs", str(tmp_path), *arguments])
    finetune.main(["--checkpoint", str(path), "--logs", str(tmp_path), *TINY])
    assert last_line(capsys).name.startswith("pgpe-small-k2-")


@pytest.mark.parametrize("algorithm, extra", [("ppo", "baselines"), ("cmaes", "cmaes")])
def test_missing_extras(algorithm, extra, checkpoint, monkeypatch):
    monkeypatch.setattr("lightning_pz.common.checks.is_installed", lambda module: False)
    with pytest.raises(UserError, match=rf"pip install 'lightning_pz\[{extra}\]'"):
        finetune.main(["--checkpoint", checkpoint, "--algorithm", algorithm])


def test_without_onnx_it_says_so_and_does_the_rest(checkpoint, tmp_path, capsys, monkeypatch):
    for module in (finetuning, single_run):
        monkeypatch.setattr(module, "is_installed", lambda module: False)
    finetune.main(["--checkpoint", checkpoint, "--logs", str(tmp_path), *TINY])
    output = capsys.readouterr().out
    assert "pip install 'lightning_pz[onnx]'" in output
    folder = Path(output.strip().splitlines()[-1])
    assert (folder / "policy.npz").is_file() and not (folder / "policy.onnx").exists()


def test_the_real_command_refuses_before_the_heavy_imports(checkpoint):
    for arguments in (["--checkpoint", checkpoint, "--task", "hieght"], ["--algorithm", "pgep"]):
        script = (
            f"import runpy, sys; sys.argv = ['x', *{arguments!r}]\n"
            f"try: runpy.run_module('lightning_pz.finetune', run_name='__main__')\n"
            f"finally: print('torch' in sys.modules)"
        )
        output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ)
        assert output.returncode == 2 and output.stdout.strip() == "False"
        assert output.stderr.startswith("error: --") and "Traceback" not in output.stderr


def test_shipped_settings_are_the_defaults_of_the_code():
    """The dataclasses in Python give what the command gives."""
    shipped = yaml.safe_load((conf_dir() / "finetune.yaml").read_text())
    default = SearchSettings()
    for key, value in shipped.items():
        if isinstance(value, dict):
            assert vars(getattr(default, key)) == value
        elif key != "seeds":
            assert getattr(default, key) == value


@pytest.mark.slow
def test_rivals_with_published_settings_say_which_entry_they_take(checkpoint, tmp_path, capsys):
    more = ["--hyperparameters", "zoo", "--episodes", "1", "--answers_at", "[0, 1]", "--answer_episodes", "2"]
    finetune.main(["--checkpoint", checkpoint, "--algorithm", "ppo", "--logs", str(tmp_path), *TINY, *more])
    folder = last_line(capsys)
    assert folder.name == "ppo-zoo-seed0"
    first = (folder / "config.yaml").read_text().splitlines()[0]
    assert re.fullmatch(r"# hyperparameters: RL Zoo [\d.]+, the entry MountainCarContinuous-v0 of ppo", first)
    made = json.loads((folder / "summary.json").read_text())["hyperparameters"]
    assert made["set"] == "zoo" and made["entry"] == "MountainCarContinuous-v0"
    assert load_policy(folder / "policy.npz").layout.hidden == (64, 64)
    with (folder / "answers.csv").open() as file:
        assert [row["episodes"] for row in csv.DictReader(file)] == ["0", "1", "1"]
    # Another checkpoint of the same environment makes no other run of it.
    finetune.main(["--config", str(folder / "config.yaml")])
    assert reused(capsys.readouterr().out) == "1"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--hyperparameters", "zu", "--algorithm", "sac"], "zu"),
        (["--hyperparameters", "zoo"], "--hyperparameters zoo goes with --algorithm ppo or sac or td3"),
    ],
)
def test_hyperparameters_that_cannot_be_are_refused(arguments, sentence, checkpoint, tmp_path):
    with pytest.raises(UserError, match=sentence):
        finetune.main(["--checkpoint", checkpoint, "--logs", str(tmp_path / "logs"), *arguments])
    assert not (tmp_path / "logs").exists()


def test_published_settings_without_their_package_are_refused(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_pz.common.checks.is_installed", lambda module: module != "rl_zoo3")
    with pytest.raises(UserError, match=r"--hyperparameters zoo needs the package rl_zoo3.*lightning_pz\[zoo\]"):
        finetune.main(
            ["--checkpoint", checkpoint, "--algorithm", "sac", "--hyperparameters", "zoo", "--logs", str(tmp_path)]
        )
