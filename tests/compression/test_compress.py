"""The command as typed: the files it leaves, the runs it finds again, the mistakes it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from stable_baselines3 import SAC
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_pz import compress
from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.compression.environments import find_world, play_world
from lightning_pz.compression.formats.network_file import FORMATS, read_network
from lightning_pz.compression.formats.reference_forward import reference_forward
from lightning_pz.compression.make_environment import register_providers
from lightning_pz.compression.measures import outputs
from lightning_pz.compression.resolve import env_settings, expand
from lightning_pz.compression.seeds import RETURN_SEEDS
from lightning_pz.compression.settings import CompressSettings
from lightning_pz.envs.presets import conf_dir, preset_names
from lightning_pz.jobs import compress as compressing
from lightning_pz.policy import Layout
from lightning_pz.policy.heads import Head
from lightning_pz.policy.saved import SavedPolicy
from tests.compression.test_c_header import compile_and_run, observations

TINY = [
    "--distill.steps", "60", "--distill.episodes", "1", "--distill.held_out", "1", "--distill.rounds", "1",
    "--distill.batch_size", "32", "--episodes", "4", "--progress", "false",
]  # fmt: skip
TINY_MODEL = "{sac: {learning_starts: 50, batch_size: 16, policy_kwargs: {net_arch: [16, 16]}}}"


@pytest.fixture
def policy_file(tmp_path) -> Path:
    torch.manual_seed(0)
    layout = Layout(3, (24, 24), 1)
    weights = 0.3 * torch.randn(layout.num_params)
    policy = SavedPolicy(layout, weights, torch.zeros(3), torch.ones(3), torch.tensor([-2.0]), torch.tensor([2.0]))
    policy.save(tmp_path / "policy.npz")
    return tmp_path / "policy.npz"


def last_line(capsys) -> Path:
    return Path(capsys.readouterr().out.strip().splitlines()[-1])


def run(capsys, *arguments) -> Path:
    compress.main([*map(str, arguments), *TINY])
    return last_line(capsys)


def test_a_policy_file_leaves_a_whole_run_folder(policy_file, tmp_path, capsys, monkeypatch):
    command = ["--env", "Pendulum-v1", "--policy", policy_file, "--sparsity", "0.6", "--logs", tmp_path / "logs"]
    folder = run(capsys, *command)
    assert folder == tmp_path / "logs" / "compress" / "pendulum-v1" / "distill-prune-int8-0.6-seed0"
    names = {path.name for path in folder.iterdir() if not path.name.startswith(("events", "."))}
    assert names == {
        "config.yaml", "identity", "identity.json", "summary.json", "policy.lpz", "formats", "figures", "policy.onnx", "policy_int8.onnx",
    }  # fmt: skip
    summary = json.loads((folder / "summary.json").read_text())
    for name in FORMATS:
        assert summary[f"bytes_{name}"] == (folder / "formats" / f"{name}.lpz").stat().st_size
    assert summary["bytes_file"] == (folder / "policy.lpz").stat().st_size == summary["bytes_sparse_int8"]
    assert summary["sparsity"] == pytest.approx(0.6, abs=1e-3)
    assert summary["file_ratio"] == pytest.approx(summary["bytes_float32"] / summary["bytes_file"])
    assert summary["paper_ratio"] == pytest.approx(4 / (1 - summary["zeros"]))

    # The return is that of the file on fresh episodes, and the ONNX files do the same.
    network, _ = read_network(folder / "policy.lpz")
    world = find_world("Pendulum-v1")
    played = play_world(network, world, range(RETURN_SEEDS, RETURN_SEEDS + 4), keep=True)
    assert summary["return"] == pytest.approx(played.returns.mean())
    assert summary["return_low"] <= summary["return"] <= summary["return_high"]
    for name in ("policy.onnx", "policy_int8.onnx"):
        session = onnxruntime.InferenceSession(folder / name)
        (actions,) = session.run(None, {"observation": played.observations.numpy()})
        assert np.abs(actions - outputs(network, played.observations).numpy()).max() < 1e-4
    assert {path.name for path in (folder / "figures").iterdir()} == {"bytes.png", "sparsity.png", "trade_off.png"}
    events = EventAccumulator(str(folder))
    events.Reload()
    assert {"sparsity", "behavior_fvu", "distill/loss"} <= set(events.Tags()["scalars"])

    # A finished run is found again, also by its own config; other settings get a folder of their own.
    monkeypatch.setattr(compressing, "distill", lambda *_, **__: pytest.fail("repeated"))
    assert run(capsys, *command) == folder
    assert run(capsys, "--config", folder / "config.yaml") == folder
    monkeypatch.undo()
    assert run(capsys, *command, "--distribution", "uniform") == folder.with_name(folder.name + "-002")


@pytest.mark.slow
def test_training_leaves_a_model_and_can_be_measured_against_a_dense_one(tmp_path, capsys):
    command = ["--env", "Pendulum-v1", "--steps", "150", "--model", TINY_MODEL, "--logs", tmp_path]
    dense = run(capsys, *command, "--method", "none")
    folder = run(capsys, *command, "--sparsity", "0.5", "--reference", dense / "model.zip")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["behavior_fvu"] > 0 and summary["return_difference_low"] <= summary["return_difference"]
    assert summary["env_steps"] == 195 and summary["algorithm"] == "sac"  # 150 and 30 % for int8
    model = SAC.load(folder / "model.zip", device="cpu")
    states = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    network, _ = read_network(folder / "policy.lpz")
    assert np.allclose(
        model.predict(states, deterministic=True)[0], outputs(network, torch.from_numpy(states)), atol=1e-4
    )
    none = json.loads((dense / "summary.json").read_text())
    assert none["sparsity"] == 0 and none["return_dense"] is None and none["gates_closed"] is None


@pytest.mark.slow
def test_a_latent_of_a_checkpoint_is_decoded_and_compressed(fitted, tmp_path, capsys):
    checkpoint = fitted.summary["checkpoint"]
    command = ["--env", "mountaincar", "--policy", checkpoint, "--method", "int8", "--logs", tmp_path]
    folder = run(capsys, *command, "--latent", "[0.5, -1.0]")
    model = load_autoencoder(checkpoint)
    params = model.decoder(torch.tensor([[0.5, -1.0]]))
    dense, _ = read_network(folder / "formats" / "float32.lpz")
    states = torch.randn(10, 2)
    assert torch.allclose(outputs(dense, states), model.policy(params, states[None])[0], atol=1e-5)
    for latent, sentence in (("[1.0]", "--latent expects 2 numbers"), (None, "needs --latent")):
        with pytest.raises(UserError, match=sentence):
            run(capsys, *command, *(["--latent", latent] if latent else []))
    with pytest.raises(UserError, match="was made for MountainCarContinuous-v0"):
        run(capsys, "--env", "Pendulum-v1", "--policy", checkpoint, "--latent", "[1.0, 1.0]")


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--env", "halfcheeta"], "Did you mean 'halfcheetah'"),
        ([], "which environment"),
        (["--env", "cartpole", "--sparsity", "1"], "--sparsity expects a share of at least 0 and below 1, but got 1"),
        (["--env", "cartpole", "--sparsity", "-0.1"], "--sparsity expects"),
        (["--env", "cartpole", "--method", "prun"], "Did you mean 'prune'"),
        (["--env", "cartpole", "--method", "none+int8"], "none, or different parts"),
        (["--env", "cartpole", "--method", "l0+l0"], "none, or different parts"),
        (["--env", "cartpole", "--method", "prune+l0"], "prune or l0, not both"),
        (["--env", "cartpole", "--method", "int8+int4"], "--method expects int8 or int4, not both"),
        (["--env", "cartpole", "--method", "int8", "--int4.per_channel", "false"], "--int4.per_channel goes with"),
        (["--env", "cartpole", "--method", "int4", "--int8.per_channel", "true"], "--int8.per_channel goes with"),
        (["--env", "cartpole", "--algorithm", "a2c"], "--algorithm expects one of sac, td3, ppo, dqn"),
        (["--env", "cartpole", "--policy", "nowhere.zip"], "--policy expects a policy file"),
        (["--env", "cartpole", "--reference", "nowhere.zip"], "--reference expects a policy file"),
        (["--env", "cartpole", "--latent", "[1.0]"], "--latent goes with --policy"),
        (["--env", "cartpole", "--activations", "true"], "--activations rounds"),
        (["--env", "cartpole", "--method", "prune", "--int8.per_channel", "true"], "--int8.per_channel goes with"),
        (
            ["--env", "cartpole", "--format", "lpz,onyx"],
            "--format expects one of lpz, onnx, c, but got 'onyx'. Did you mean 'onnx'",
        ),
        (["--env", "cartpole", "--format", ""], "--format expects one of lpz, onnx, c, but got ''"),
        (["--env", "cartpole", "--format", "c,c"], "--format expects different formats joined by commas"),
        (["--env", "cartpole", "--low_rank.rank", "0"], "--low_rank.rank expects at least 1"),
        (["--env", "cartpole", "--low_rank.rank", "2", "--low_rank.error", "0.1"], "one rule for the rank"),
        (["--env", "cartpole", "--low_rank.energy", "1.5"], "--low_rank.energy expects a share"),
        (["--env", "cartpole", "--ramp.end", "0.1"], "0 <= begin < end <= 1"),
        (["--env", "cartpole", "--l0.penalty", "-1"], "--l0.penalty expects a number above 0"),
        (["--env", "cartpole", "--episodes", "1"], "--episodes expects 2 to 1000000 episodes, but got 1"),
        (["--config", "nowhere.yaml"], "there is none at nowhere.yaml"),
    ],
)
def test_mistakes_in_the_arguments_are_refused(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=sentence):
        compress.main(arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--sparsity", "0.999"], "leaves 0 of"),
        (["--algorithm", "sac", "--sparsity", "0.5"], "has discrete actions"),
        (["--sparsity", "0.5", "--model", "{ppo: {learning_ratte: 1}}"], "learning_ratte"),
    ],
)
def test_a_run_refused_for_what_its_network_says_leaves_no_folder(arguments, sentence, tmp_path):
    model = [] if "--model" in arguments else ["--model", "{ppo: {policy_kwargs: {net_arch: [4]}}}"]
    with pytest.raises(UserError, match=sentence):
        compress.main(
            [
                "--env",
                "CartPole-v1",
                "--method",
                "prune",
                "--algorithm",
                "ppo",
                *arguments,
                *model,
                "--logs",
                str(tmp_path),
            ]
        )
    assert not list(tmp_path.rglob("config.yaml")) and not list(tmp_path.rglob("identity*"))


def test_policies_that_do_not_fit(policy_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for env, sentence in (
        ("MountainCarContinuous-v0", "takes 3 observations and gives 1 actions, but .* has 2 and 1"),
        ("CartPole-v1", "made for another environment"),
    ):
        with pytest.raises(UserError, match=sentence):
            run(capsys, "--env", env, "--policy", policy_file)
    with pytest.raises(UserError, match="expects at most 1, the rank of layer"):
        run(capsys, "--env", "Pendulum-v1", "--policy", policy_file, "--method", "low_rank", "--low_rank.rank", "3")
    with pytest.raises(UserError, match=r"expects a policy.npz, a Stable-Baselines3 .zip or a .ckpt"):
        run(capsys, "--env", "Pendulum-v1", "--policy", __file__)
    with pytest.raises(UserError, match="has discrete actions: use dqn or ppo"):
        run(capsys, "--env", "CartPole-v1", "--algorithm", "sac")


def test_what_is_missing_is_named_with_the_line_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_pz.common.checks.is_installed", lambda module: False)
    with pytest.raises(UserError, match=r"pip install 'lightning_pz\[compression\]'"):
        compress.main(["--env", "cartpole", "--logs", str(tmp_path)])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for env, line in (
        ("PongNoFrameskip-v4", r"pip install 'lightning_pz\[atari\]'"),
        ("SuperMarioBros-7-1-v0", "pip install gymnasium-mariobros"),
        ("surrol/ECMReach-v0", "see lightning_pz/compression/README.md"),
    ):
        if env not in gymnasium.registry:
            with pytest.raises(UserError, match=line):
                register_providers(env)


def test_the_real_command_exits_with_2_before_the_heavy_imports():
    script = (
        "import runpy, sys; sys.argv = ['x', '--env', 'halfcheetah', '--sparsity', '2']\n"
        "try: runpy.run_module('lightning_pz.compress', run_name='__main__')\n"
        "finally: print('torch' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert output.returncode == 2 and output.stdout.strip() == "False"
    assert output.stderr.startswith("error: --sparsity expects") and "Traceback" not in output.stderr


@pytest.mark.parametrize("name", preset_names("compress"))
def test_every_shipped_setting_parses(name):
    settings = env_settings(name)
    shipped = yaml.safe_load((conf_dir() / "compress.yaml").read_text())
    assert settings.keys() <= {"env", *shipped}
    assert shipped.keys() <= {*CompressSettings.__dataclass_fields__}
    merged = yaml.safe_load(expand(["--env", name])[0].removeprefix("--config="))
    assert merged["model"]["sac"]["learning_rate"] == 3e-4
    assert merged["env"]["id"] == settings["env"]["id"]
    # By its id the same settings are found, or those of the plain network.
    assert env_settings(settings["env"]["id"])["env"]["name"] == name.removesuffix("-residual")


def test_a_header_beside_the_file_does_what_the_file_does(policy_file, tmp_path, capsys):
    command = ["--env", "Pendulum-v1", "--policy", policy_file, "--method", "prune+int8", "--sparsity", 0.6]
    command += ["--logs", tmp_path / "logs"]
    folder = run(capsys, *command, "--format", "c")
    assert (folder / "policy.h").is_file() and not list(folder.glob("*.onnx"))
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["c_flash_bytes"] > summary["c_ram_bytes"] > 0 and "bytes_onnx" not in summary
    network, _ = read_network(folder / "policy.lpz")
    seen = torch.from_numpy(observations(200, 3))
    got = compile_and_run(folder, seen.numpy())
    assert np.abs(got - outputs(network, seen).numpy()).max() < 1e-5
    # A finished run gets the formats that it lacks, without being repeated, and keeps those that it has.
    before = (folder / "policy.h").stat().st_mtime_ns
    compress.main([*map(str, command), "--format", "onnx,c", *TINY])
    printed = capsys.readouterr().out
    assert Path(printed.strip().splitlines()[-1]) == folder and "bytes of flash" in printed
    both = json.loads((folder / "summary.json").read_text())
    assert both.pop("bytes_onnx") > both.pop("bytes_onnx_int8") > 0 and both == summary
    assert (folder / "policy.h").stat().st_mtime_ns == before


def test_choices_as_a_header(tmp_path, capsys):
    torch.manual_seed(0)
    layout = Layout(4, (8,), 1, head=Head("categorical", choices=(2,)))
    box = torch.zeros(1), torch.ones(1)
    SavedPolicy(layout, torch.randn(layout.num_params), torch.zeros(4), torch.ones(4), *box).save(tmp_path / "p.npz")
    command = ["--env", "CartPole-v1", "--policy", tmp_path / "p.npz", "--method", "int8", "--activations", "true"]
    folder = run(capsys, *command, "--format", "c,lpz", "--logs", tmp_path / "logs")
    seen = observations(300, 4)
    chosen = compile_and_run(folder, seen, "-DCHOICES", arguments=("choose",))[:, 0]
    assert np.array_equal(chosen, reference_forward(folder / "policy.lpz", seen).argmax(1)) and set(chosen) == {0, 1}


def test_networks_of_images_are_refused_as_headers_before_anything_is_written(tmp_path, monkeypatch):
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    with pytest.raises(UserError, match="--format c writes networks of linear layers, but this one has convolutions"):
        compress.main(["--env", "pong", "--format", "lpz,c", "--logs", str(tmp_path / "logs")])
    assert not list(tmp_path.iterdir())
