"""The evaluate command on a real tiny checkpoint: what it writes, that it repeats, and what it refuses."""

import csv
import dataclasses
import io
import json
import shutil
import sys

import gymnasium
import numpy as np
import pytest
import torch

from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.evaluate import main
from lightning_pz.evaluation.groups import GROUPS, find_pool, held_out_rows, read_returns, write_returns
from lightning_pz.evaluation.metrics import RECOVERY_METRICS
from lightning_pz.evaluation.recovery_table import average_recovery, recovery_table, short_recovery_table
from lightning_pz.evaluation.video import film
from lightning_pz.pool.batches import split_rows
from tests.evaluation.conftest import evaluate


@pytest.fixture(scope="module")
def checkpoint(fitted):
    return fitted.summary["checkpoint"]


@pytest.fixture(scope="module")
def done(checkpoint, tmp_path_factory):
    return evaluate(checkpoint, tmp_path_factory.mktemp("logs"))[0]


@pytest.mark.slow
def test_summary_has_every_metric_with_its_interval(done):
    summary = json.loads((done.folder / "summary.json").read_text())
    for task in ("standard", "left", "speed", "height"):
        for metric in RECOVERY_METRICS:
            value, low, high = (summary[f"{task}/{metric}{end}"] for end in ("", "_low", "_high"))
            assert low <= high and np.isfinite(value)
            assert summary[f"{task}/{metric}_interval"] == "bootstrap"
        assert summary[f"{task}/best_in_pool_fresh_interval"] in ("student", "range")
    assert summary["invalid_policies"] == 0 and summary["latents"] == 9  # a grid of 3 x 3 fits into 12
    names = {path.name for path in (done.folder / "figures").iterdir()}
    assert names == {"latent_map.png", "returns.png", "coordinates.png"}
    assert list(done.folder.glob("events.*"))


def test_returns_are_gymnasiums(done, checkpoint):
    """A decoded latent of the table, played in Gymnasium with the same seed, earns what the table says."""
    model = load_autoencoder(checkpoint)
    latents = torch.from_numpy(np.load(done.folder / "latents.npz")["latents"])
    with (done.folder / "returns.csv").open() as file:
        line = next(
            row
            for row in csv.DictReader(file)
            if row["group"] == "latents" and row["policy"] == "4" and row["episode"] == "1"
        )
    env = gymnasium.make("MountainCarContinuous-v0", max_episode_steps=model.env["horizon"])
    observation, _ = env.reset(seed=1_000_001)
    total, steps, ended = 0.0, 0, False
    with torch.no_grad():
        params = model.decoder(latents[4:5])
        while not ended:
            action = model.policy(params, torch.as_tensor(observation)[None, None])[0, 0].numpy()
            observation, reward, terminated, truncated, _ = env.step(action)
            total, steps, ended = total + float(reward), steps + 1, terminated or truncated
    env.close()
    assert steps == int(line["steps"])
    assert total == pytest.approx(float(line["standard"]), abs=1e-2)


def test_held_out_policies_were_not_trained_on(checkpoint):
    model = load_autoencoder(checkpoint)
    pool = find_pool(model)
    rows = held_out_rows(model, pool, 1000)
    train = split_rows(pool, **model.hparams["description"]["pool"]["split"])["train"]
    assert len(rows) + len(train) == len(pool) and not set(rows) & set(train)


@pytest.mark.slow
def test_an_equal_evaluation_is_found_again_and_gives_the_same_numbers(done, checkpoint):
    again = evaluate(checkpoint, done.folder.parents[2])[0]
    assert again.found and again.folder == done.folder and again.summary == done.summary
    for task, draws in done.draws.items():
        for metric in RECOVERY_METRICS:
            np.testing.assert_array_equal(again.draws[task][metric], draws[metric])


def test_bootstrap_draws_can_be_made_again_from_the_returns(done, checkpoint, tmp_path):
    shutil.copytree(done.folder.parents[2], tmp_path / "logs")
    (tmp_path / "logs" / "evaluate" / "mountaincar" / done.folder.name / "bootstrap.npz").unlink()
    again = evaluate(checkpoint, tmp_path / "logs")[0]
    assert again.found
    np.testing.assert_array_equal(again.draws["left"]["wasserstein"], done.draws["left"]["wasserstein"])


@pytest.mark.slow
def test_metrics_that_an_older_version_did_not_know_are_measured_from_the_returns(done, checkpoint, tmp_path):
    shutil.copytree(done.folder.parents[2], tmp_path / "logs")
    path = tmp_path / "logs" / "evaluate" / "mountaincar" / done.folder.name / "summary.json"
    older = {key: value for key, value in done.summary.items() if "best_own_return" not in key}
    assert len(older) == len(done.summary) - 4 * len(done.draws)
    path.write_text(json.dumps(older))
    again = evaluate(checkpoint, tmp_path / "logs")[0]
    assert again.found and again.summary == done.summary
    assert json.loads(path.read_text()) == done.summary  # once, not at every look


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "3"])  # with three torch would round some sums differently
def test_same_settings_same_returns_elsewhere(threads, done, checkpoint, tmp_path):
    other = evaluate(checkpoint, tmp_path, "--threads", threads)[0]
    assert (other.folder / "returns.csv").read_bytes() == (done.folder / "returns.csv").read_bytes()


def test_returns_survive_the_csv(done, tmp_path):
    plays = read_returns(done.folder / "returns.csv")
    write_returns(plays, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (done.folder / "returns.csv").read_bytes()
    assert set(plays.returns) == set(GROUPS)


@pytest.mark.slow
def test_several_checkpoints_give_one_table(done, checkpoint, tmp_path, capsys):
    copy = tmp_path / "checkpoints" / "copy.ckpt"
    copy.parent.mkdir()
    content = torch.load(checkpoint, weights_only=True)
    content["hyper_parameters"]["description"]["seed"] = 7
    torch.save(content, copy)
    both = evaluate(checkpoint, done.folder.parents[2], "--checkpoint", str(copy), "--tasks", "[standard, left]")
    printed = capsys.readouterr().out
    assert "standard" in printed and "(lowest to highest), their range" in printed
    found = average_recovery(both)
    assert [(cell.task, cell.seeds) for cell in found] == [("standard", (0, 7)), ("left", (0, 7))]
    mean, low, high, kind = found[0].values["recovery_best"]
    assert kind == "range" and low <= mean <= high
    assert mean == pytest.approx(done.summary["standard/recovery_best"])  # the same networks twice
    lines = short_recovery_table(found, {"standard": {"small": {2: 0.93}}}).markdown().splitlines()
    assert lines[2].endswith("| 0.93 |") and lines[3].endswith("|  |")
    with pytest.raises(
        UserError, match=r"averaged over training seeds, but .* have seed 0 both: evaluate them one by one"
    ):
        average_recovery([both[0], both[0]])
    other = dataclasses.replace(both[1], summary=both[1].summary | {"encoder": "parameters"})
    with pytest.raises(UserError, match="have encoders behavior and parameters"):
        average_recovery([both[0], other])
    (first, _) = csv.DictReader(io.StringIO(recovery_table(found).csv()))
    assert (first["latent_dim"], first["best_latent_interval"]) == ("2", "range")


@pytest.mark.slow
def test_a_policy_that_turns_non_finite_is_counted_and_the_rest_go_on(checkpoint, tmp_path, monkeypatch):
    """A decoder that overflows on one side of the latent space."""
    from lightning_pz.autoencoder.decoders import Decoder

    forward = Decoder.forward

    def overflowing(self, latents):
        params = forward(self, latents).clone()
        params[latents[:, 0] > latents[:, 0].mean()] = float("nan")
        return params

    monkeypatch.setattr(Decoder, "forward", overflowing)
    result = evaluate(checkpoint, tmp_path)[0]
    assert result.summary["invalid_latents"] == 3 and result.summary["invalid_reconstructed"] > 0
    assert result.summary["invalid_pool"] == result.summary["invalid_random"] == 0
    assert np.isfinite(result.summary["standard/best_latent"])


@pytest.mark.slow
def test_a_task_of_ones_own_stands_in_the_table(checkpoint, tmp_path, monkeypatch):
    (tmp_path / "owntasks.py").write_text(
        "def stay(transition):\n    return -abs(transition.after.velocities[:, 0])\n\n"
        "def wrong(transition):\n    return transition.after.velocities\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    result = evaluate(checkpoint, tmp_path, "--tasks", "[standard, owntasks:stay]")[0]
    assert result.summary["owntasks:stay/best_in_pool"] <= 0
    with pytest.raises(UserError, match=r"one reward per simulation.*returned shape"):
        evaluate(checkpoint, tmp_path / "wrong", "--tasks", "[owntasks:wrong]")
    assert not (tmp_path / "wrong").exists() or not list((tmp_path / "wrong").rglob("summary.json"))
    sys.modules.pop("owntasks")


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--tasks", "[heigth]"], "Did you mean 'height'"),
        (["--policies", "0"], "--policies expects at least 1"),
        (["--env", "halfcheetah"], "was trained on MountainCarContinuous-v0, but --env asks for HalfCheetah-v5"),
        (["--env", "halfcheeta"], "Did you mean 'halfcheetah'"),
        (["--pool", "nowhere"], "nowhere, which does not exist"),
        (["--checkpoint", "nowhere.ckpt"], "there is none at nowhere.ckpt"),
    ],
)
def test_bad_input(arguments, sentence, checkpoint, tmp_path):
    with pytest.raises(UserError, match=sentence):
        main(["--checkpoint", str(checkpoint), "--logs", str(tmp_path), *arguments])
    assert not list(tmp_path.iterdir())


def test_no_checkpoint_at_all():
    with pytest.raises(UserError, match="which checkpoint"):
        main([])


def test_another_pool_of_the_same_kind_is_refused(checkpoint, pool, tmp_path):
    with pytest.raises(UserError, match="another pool than the one"):
        main(["--checkpoint", str(checkpoint), "--pool", str(pool.folder), "--logs", str(tmp_path)])


def test_a_cut_off_csv_is_explained(done, checkpoint, tmp_path):
    shutil.copytree(done.folder.parents[2], tmp_path / "logs")
    path = tmp_path / "logs" / "evaluate" / "mountaincar" / done.folder.name / "returns.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:30]))
    (path.parent / "bootstrap.npz").unlink()
    with pytest.raises(UserError, match="cut off"):
        evaluate(checkpoint, tmp_path / "logs")


class _Drawn(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, False, False, {}

    def render(self):
        return np.zeros((16, 16, 3), np.uint8)


def test_video(checkpoint, tmp_path):
    model = load_autoencoder(checkpoint)
    gymnasium.register("Drawn-v0", entry_point=_Drawn)
    gymnasium.register("Undrawn-v0", entry_point=lambda render_mode=None: 1 / 0)
    try:
        params = model.decoder(torch.zeros(1, 2))[0].detach()
        spec = EnvSpec.from_dict({**model.env, "id": "Drawn-v0", "horizon": 5})
        path, why = film(model.policy, params, spec, 0, tmp_path / "film")
        assert why == "" and path is not None and path.stat().st_size > 0
        path, why = film(
            model.policy, params, EnvSpec.from_dict({**model.env, "id": "Undrawn-v0"}), 0, tmp_path / "none"
        )
        assert path is None and "cannot be drawn here" in why
    finally:
        del gymnasium.registry["Drawn-v0"], gymnasium.registry["Undrawn-v0"]
