"""Policies taken from one size to another by `evaluate --translate`: by hand, found again, distilled, refused."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_pz import evaluate, fit
from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.autoencoder.sizes import PolicySize
from lightning_pz.common.errors import UserError
from lightning_pz.envs.rollout import rollout
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.evaluation.translation import return_kept
from lightning_pz.evaluation.translation_run import chosen_pairs
from lightning_pz.jobs.translate import translation_table
from lightning_pz.policy import Layout, Prior, draw_params
from lightning_pz.policy.saved import SavedPolicy, load_policy
from lightning_pz.pool.batches import split_rows
from lightning_pz.pool.store import read_pool
from tests.conftest import TINY_FIT
from tests.jobs.conftest import DISTILLED, PAIRED


@pytest.mark.draws
def test_translation_by_hand(fitted_sizes, tmp_path, two_pools, capsys):
    """Returns there and back from weights and episodes; the same command finds them again."""
    checkpoint = fitted_sizes.summary["checkpoint"]
    command = ["--checkpoint", checkpoint, *PAIRED, "--logs", str(tmp_path), "--translate", "4,small", "small,6-5"]
    evaluate.main([*command, "4,small", "4, small"])  # a pair that comes again is not another one
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    summary = json.loads((folder / "summary.json").read_text())
    with (folder / "returns.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {(line["from"], line["to"]) for line in lines} == {("4", "small"), ("small", "6-5")}
    model, pool = load_autoencoder(checkpoint), read_pool(Path(two_pools.split(",")[1]))
    small, four, _ = model.sizes
    rows = split_rows(pool, 0.05, 0.05, 0)
    rows = np.concatenate([rows["test"], rows["val"]])[:8]
    spec, tasks = EnvSpec.from_dict(model.env), find_tasks(model.env["id"], ["left"])
    with torch.no_grad():
        own = pool.params(rows)
        there = small.decoder(model.encode(own, four.policy))
        back = four.decoder(model.encode(there, small.policy))
        played = [
            rollout(network, params, spec, [1_000_000, 1_000_001], tasks).returns["left"]
            for network, params in ((pool.network, own), (small.policy, there), (four.policy, back))
        ]
    for way, returns in zip(("own", "there", "back"), played, strict=True):
        told = [float(line[f"left/{way}"]) for line in lines if line["from"] == "4"]
        assert np.allclose(told, returns.ravel(), rtol=1e-4, atol=1e-3)
    assert summary["4_to_small/left/return_kept"] == pytest.approx(return_kept(*played[:2], 3), rel=1e-3)
    assert summary["4_to_small/left/return_kept_back"] == pytest.approx(return_kept(*played[::2], 3), rel=1e-3)
    best = load_policy(folder / "policies" / "4_to_small" / "left.npz")
    assert torch.allclose(best.params, there[int(played[0].mean(1).argmax())], atol=1e-5)
    assert (folder / "figures" / "translation.png").stat().st_size > 5000
    assert translation_table(summary).rows[0][:3] == ["4", "small", "standard"]
    before = (folder / "summary.json").stat().st_mtime_ns
    evaluate.main(command)
    assert capsys.readouterr().out.splitlines()[-1] == str(folder)
    assert (folder / "summary.json").stat().st_mtime_ns == before
    moved = [tmp_path / name for name in ("mine", "yours")]
    for old, new in zip(two_pools.split(","), moved, strict=True):
        shutil.copytree(old, new)
    evaluate.main([*command, "--pool", f"{moved[1]},{moved[0]}"])
    assert capsys.readouterr().out.splitlines()[-1] == str(folder)


def test_return_kept_is_the_lead_over_the_median():
    own = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [9.0, 9.0], [12.0, 12.0]])
    assert return_kept(own, own, 2) == 1
    assert return_kept(own, np.full_like(own, 2.0), 2) == 0
    assert return_kept(own, own - 2, 2) == pytest.approx((8.5 - 2) / (10.5 - 2))
    assert np.isnan(return_kept(np.ones((4, 2)), np.ones((4, 2)), 2))


def test_a_policy_of_any_kind_is_distilled_into_a_size(fitted_sizes, tmp_path, capsys):
    """A decoded policy keeps its latent; one of another layout and squash is encoded by what it does."""
    checkpoint = fitted_sizes.summary["checkpoint"]
    model = load_autoencoder(checkpoint)
    alone = model.sizes[2]
    layout = Layout(2, (9,), 1, "relu")
    params = draw_params(Prior(), layout, 3, range(1))[0]
    one = torch.ones(1)
    foreign = SavedPolicy(layout, params, torch.zeros(2), torch.ones(2), -one, one, "clip", 10.0)
    foreign.save(tmp_path / "foreign.npz")
    place = ["--checkpoint", checkpoint, *DISTILLED, "--logs", str(tmp_path)]
    evaluate.main([*place, "--translate", *[f"{tmp_path / 'foreign.npz'},6-5"] * 2])
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    summary, made = json.loads((folder / "summary.json").read_text()), load_policy(folder / "policy.npz")
    with torch.no_grad():
        code = model.encoder(foreign.act(model.probe_states)[None])  # the box is -1 to 1
        assert torch.allclose(made.params, alone.decoder(code)[0], atol=1e-5)
    assert made.layout == alone.layout and summary["difference"] > 0
    tasks, spec = find_tasks(model.env["id"], None), EnvSpec.from_dict(model.env)
    seeds = [20_000_000, 20_000_001, 20_000_002]
    played = rollout(made.network(), made.params[None], spec, seeds, tasks).returns
    assert all(summary[f"{task}/distilled"] == pytest.approx(played[task].mean(), rel=1e-4, abs=1e-3) for task in tasks)
    wrong = Layout(3, (4,), 1)
    SavedPolicy(wrong, torch.zeros(wrong.num_params), torch.zeros(3), torch.ones(3), -one, one).save(tmp_path / "w.npz")
    with pytest.raises(UserError, match="2 observations and 1 actions"):
        evaluate.main([*place, "--translate", f"{tmp_path / 'w.npz'},small"])


def test_weights_of_a_file_are_no_behavior_that_an_encoder_of_weights_could_read(tmp_path):
    logs = ["--logs", str(tmp_path / "fits")]
    checkpoint = fit.main(["--env", "mountaincar", *TINY_FIT, "--model.encoder", "parameters", *logs]).summary[
        "checkpoint"
    ]
    model = load_autoencoder(checkpoint)
    SavedPolicy.of(model.policy, model.decoder(torch.zeros(1, 2))[0].detach()).save(tmp_path / "policy.npz")
    words = ["--translate", f"{tmp_path / 'policy.npz'},small", "--logs", str(tmp_path / "logs")]
    with pytest.raises(
        UserError, match=r"has the encoder parameters, which reads weights: give a checkpoint .* behavior"
    ):
        evaluate.main(["--checkpoint", checkpoint, *words])
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["FILE,small", "nowhere.npz,small"], "there is none at nowhere.npz"),
        (["FILE,small", "FILE,huge"], r"--translate expects a size .* but got 'huge'"),
        (["FILE,small", "4,huge"], r"--translate expects a size .* but got 'huge'"),
        (["4,small", "FILE,small,4"], "--translate expects a policy's file and a size"),
    ],
)
def test_all_words_are_checked_before_anything_is_played(words, told, fitted_sizes, tmp_path):
    checkpoint = fitted_sizes.summary["checkpoint"]
    model = load_autoencoder(checkpoint)
    SavedPolicy.of(model.policy, model.decoder(torch.zeros(1, 2))[0].detach()).save(tmp_path / "policy.npz")
    given = [word.replace("FILE", str(tmp_path / "policy.npz")) for word in words]
    with pytest.raises(UserError, match=told):
        evaluate.main(["--checkpoint", checkpoint, "--logs", str(tmp_path / "logs"), "--translate", *given])
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["small"], "--translate expects pairs FROM,TO, such as small,4"),
        (["6-5,small"], "no pool of 6-5 policies was trained on"),
        (["small,huge"], r"--translate expects a size .*\(small, 4, 6-5\), but got 'huge'"),
    ],
)
def test_pairs_that_cannot_be_translated(words, told, fitted_sizes):
    sizes = load_autoencoder(fitted_sizes.summary["checkpoint"]).sizes
    with pytest.raises(UserError, match=told):
        chosen_pairs(sizes, words)


def test_all_pairs_begin_at_a_pool(fitted_sizes, fitted):
    pairs = chosen_pairs(load_autoencoder(fitted_sizes.summary["checkpoint"]).sizes, [])
    assert [(a.name, b.name) for a, b in pairs] == [(a, b) for a in ("small", "4") for b in ("small", "4", "6-5")]
    again = chosen_pairs(load_autoencoder(fitted_sizes.summary["checkpoint"]).sizes, ["4,small", "small,4", "4, small"])
    assert [(a.name, b.name) for a, b in again] == [("4", "small"), ("small", "4")]
    (one,) = load_autoencoder(fitted.summary["checkpoint"]).sizes
    assert isinstance(one, PolicySize)
    with pytest.raises(UserError, match="of several sizes of policy, but this one has small alone"):
        chosen_pairs([one], [])


@pytest.mark.slow
def test_bad_words_exit_with_2(fitted_sizes, tmp_path):
    command = [sys.executable, "-m", "lightning_pz.evaluate", "--checkpoint", fitted_sizes.summary["checkpoint"]]
    for more, told in (
        (["--translate", "--policy", "4"], "leave --policy out"),
        (["--translate", "--elsewhere", "x"], "leave one of them out"),
    ):
        ended = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ended.returncode == 2 and told in ended.stderr and not any(tmp_path.iterdir())
