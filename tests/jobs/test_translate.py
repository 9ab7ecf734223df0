"""Several sizes under one latent, through the commands: fitted, resumed, picked, translated, distilled, refused."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_pz import collect, evaluate, finetune, fit
from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.autoencoder.module import BehaviorAutoencoder
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

STATES = "{probe: 16, train: 24, val: 12, test: 12}"
TINY = [
    "--env", "mountaincar", "--policy", "small", "--model.latent_dim", "2", "--model.encoder_widths", "[32]",
    "--model.decoder_widths", "[32]", "--data.batch_size", "32", "--data.states_per_step", "8", "--data.steps_per_epoch", "10",
    "--trainer.max_steps", "30", "--trainer.log_every_n_steps", "5", "--decodes", "6-5", "--env.horizon", "40",
]  # fmt: skip
PLAYED = [
    "--policies",
    "8",
    "--episodes",
    "2",
    "--draws",
    "10",
    "--best",
    "3",
    "--fresh_episodes",
    "3",
    "--threads",
    "1",
]


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    """Make pools of two sizes, with states of their own; returns both folders with a comma between them."""
    folder = tmp_path_factory.mktemp("pools")
    for policy, seed in (("small", "0"), ("4", "1")):
        widths = [] if policy == "small" else ["--policy.hidden", "[4]", "--policy.name", "four"]
        collect.main([
            "--env", "mountaincar", "--policy", "small", *widths, "--candidates", "300", "--neighbors", "5", "--seed", seed,
            "--states", STATES, "--env.horizon", "40", "--pool", str(folder / policy),
        ])  # fmt: skip
    return f"{folder / 'small'},{folder / '4'}"


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def done(pools, logs):
    return fit.main([*TINY, "--data.pool", pools, "--logs", str(logs)])


def fvu(model, pool, source, target, part, states):
    """Recompute an FVU from weights and raw states, policy by policy, with no table of a pool."""
    rows = split_rows(pool, 0.05, 0.05, 0)[part]
    own, rebuilt = [], []
    with torch.no_grad():
        for row in rows:
            params = pool.params(np.array([row]))
            own.append(pool.network(params, states[None]))
            rebuilt.append(target.policy(target.decoder(model.encode(params, source.policy)), states[None]))
    own, rebuilt = torch.cat(own).double(), torch.cat(rebuilt).double()
    return float((own - rebuilt).square().sum() / (own - own.mean(0)).square().sum())


def test_fvu_of_every_pair_is_what_the_checkpoint_does(done, pools):
    model = load_autoencoder(done.summary["checkpoint"])
    small, four, alone = model.sizes
    assert [(size.name, size.has_pool) for size in model.sizes] == [("small", True), ("4", True), ("6-5", False)]
    opened = [read_pool(Path(folder)) for folder in pools.split(",")]
    assert not np.array_equal(opened[0].arrays["states"], opened[1].arrays["states"])
    states = torch.from_numpy(opened[0].arrays["states"].copy())
    found = {}
    for source, pool in zip((small, four), opened, strict=True):
        for target in (small, four, alone):
            expected = fvu(model, pool, source, target, "test", states[-12:])
            found[f"{source.name}_to_{target.name}"] = done.summary[f"test_fvu/{source.name}_to_{target.name}"]
            assert found[f"{source.name}_to_{target.name}"] == pytest.approx(expected, rel=5e-3)
    assert done.summary["test_fvu"] == pytest.approx(np.mean(list(found.values())))
    val = [
        fvu(model, p, s, t, "val", states[40:52])
        for s, p in zip((small, four), opened, strict=True)
        for t in model.sizes
    ]
    assert done.summary["val_fvu"] == pytest.approx(np.mean(val), rel=5e-3)


def test_the_latent_learns_policies_of_both_sizes(pools, tmp_path):
    """Also those of a size that no pool holds; the mean policy would have an FVU of 1."""
    longer = [
        "--trainer.max_steps",
        "400",
        "--data.steps_per_epoch",
        "100",
        "--model.latent_dim",
        "6",
        "--probes.enabled",
        "false",
    ]
    summary = fit.main([*TINY, *longer, "--data.pool", pools, "--logs", str(tmp_path)]).summary
    pairs = {key: value for key, value in summary.items() if key.startswith("test_fvu/")}
    assert len(pairs) == 6 and max(pairs.values()) < 0.5, pairs


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


class Killed(Exception):
    pass


def test_resumed_is_as_straight_and_other_sizes_are_another_run(done, pools, tmp_path, monkeypatch):
    same, straight_step = [*TINY, "--data.pool", pools], BehaviorAutoencoder.training_step

    def dies(self, batch, batch_idx):
        if self.global_step == 25:
            raise Killed
        return straight_step(self, batch, batch_idx)

    monkeypatch.setattr(BehaviorAutoencoder, "training_step", dies)
    with pytest.raises(Killed):
        fit.main([*same, "--logs", str(tmp_path)])
    monkeypatch.undo()
    whole = fit.main([*same, "--logs", str(tmp_path), "--ckpt_path", "last"])
    assert len(list(tmp_path.rglob("config.yaml"))) == 1
    one, other = weights(done.folder), weights(whole.folder)
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    first = pools.split(",")[0]
    plain = [word for word in same if word not in ("--decodes", "6-5")]
    for arguments, told in (
        ([*same[:-1], first], r"pool\.others"),
        (plain, r"pool\.decodes"),
        ([*same, "--decodes", "7"], r"pool\.decodes"),
    ):
        with pytest.raises(UserError, match=told):
            fit.main(
                [*arguments, "--logs", str(tmp_path), "--ckpt_path", str(whole.folder / "checkpoints" / "last.ckpt")]
            )
    alone = fit.main([*plain[:-1], first, "--logs", str(tmp_path / "one")])
    with pytest.raises(UserError, match=r"pool\.decodes"):
        last = str(alone.folder / "checkpoints" / "last.ckpt")
        fit.main([*same[:-1], first, "--logs", str(tmp_path / "one"), "--ckpt_path", last])
    assert "others" not in json.loads((alone.folder / "identity.json").read_text())["pool"]


def test_evaluate_and_finetune_take_the_size_that_is_asked_for(done, logs, tmp_path, pools):
    place = ["--checkpoint", done.summary["checkpoint"], "--logs", str(tmp_path)]
    evaluate.main([*place, *PLAYED])
    evaluate.main([*place, *PLAYED, "--policy", "4"])
    found = [json.loads(path.read_text()) for path in (tmp_path / "evaluate").rglob("summary.json")]
    assert {(one["policy"], one["params_per_policy"]) for one in found} == {("small", 9), ("4", 17)}
    evaluate.main([*place, "--policy", "4", "--elsewhere", pools.split(",")[1]])
    with pytest.raises(UserError, match="no pool of 6-5 policies was trained on"):
        evaluate.main([*place, *PLAYED, "--policy", "6-5"])
    search = [
        "--budget",
        "400",
        "--pgpe.population",
        "2",
        "--starts",
        "1",
        "--test_episodes",
        "2",
        "--evaluation_episodes",
        "2",
    ]
    for size in ("small", "6-5"):
        finetune.main([*place, *search, "--policy", size])
    finetune.main([*place, *search])  # which is that of `small`
    made = {path.parent.name: load_policy(path) for path in (tmp_path / "finetune").rglob("policy.npz")}
    assert sorted(policy.layout.hidden for policy in made.values()) == [(2,), (6, 5)] and len(made) == 2
    with pytest.raises(UserError, match=r"--policy expects a size .*'huge'"):
        finetune.main([*place, *search, "--policy", "huge"])
    with pytest.raises(UserError, match="no pool of 6-5 policies was trained on"):
        finetune.main([*place, *search, "--policy", "6-5", "--start", "pool_best"])


def test_translation_by_hand(done, tmp_path, pools, capsys):
    """Returns there and back from weights and episodes; the same command finds them again."""
    checkpoint = done.summary["checkpoint"]
    command = ["--checkpoint", checkpoint, *PLAYED, "--logs", str(tmp_path), "--translate", "4,small", "small,6-5"]
    evaluate.main(command)
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    summary = json.loads((folder / "summary.json").read_text())
    with (folder / "returns.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {(line["from"], line["to"]) for line in lines} == {("4", "small"), ("small", "6-5")}
    model, pool = load_autoencoder(checkpoint), read_pool(Path(pools.split(",")[1]))
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
    for old, new in zip(pools.split(","), moved, strict=True):
        shutil.copytree(old, new)
    evaluate.main([*command, "--pool", f"{moved[1]},{moved[0]}"])
    assert capsys.readouterr().out.splitlines()[-1] == str(folder)


def test_return_kept_is_the_lead_over_the_median():
    own = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [9.0, 9.0], [12.0, 12.0]])
    assert return_kept(own, own, 2) == 1
    assert return_kept(own, np.full_like(own, 2.0), 2) == 0
    assert return_kept(own, own - 2, 2) == pytest.approx((8.5 - 2) / (10.5 - 2))
    assert np.isnan(return_kept(np.ones((4, 2)), np.ones((4, 2)), 2))


def test_a_policy_of_any_kind_is_distilled_into_a_size(done, tmp_path, capsys):
    """A decoded policy keeps its latent; one of another layout and squash is encoded by what it does."""
    checkpoint = done.summary["checkpoint"]
    model = load_autoencoder(checkpoint)
    alone = model.sizes[2]
    layout = Layout(2, (9,), 1, "relu")
    params = draw_params(Prior(), layout, 3, range(1))[0]
    one = torch.ones(1)
    foreign = SavedPolicy(layout, params, torch.zeros(2), torch.ones(2), -one, one, "clip", 10.0)
    foreign.save(tmp_path / "foreign.npz")
    place = ["--checkpoint", checkpoint, *PLAYED, "--logs", str(tmp_path)]
    evaluate.main([*place, "--translate", f"{tmp_path / 'foreign.npz'},6-5"])
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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["small"], "--translate expects pairs FROM,TO, such as small,4"),
        (["6-5,small"], "no pool of 6-5 policies was trained on"),
        (["small,huge"], r"--translate expects a size .*\(small, 4, 6-5\), but got 'huge'"),
    ],
)
def test_pairs_that_cannot_be_translated(words, told, done):
    sizes = load_autoencoder(done.summary["checkpoint"]).sizes
    with pytest.raises(UserError, match=told):
        chosen_pairs(sizes, words)


def test_all_pairs_begin_at_a_pool(done, fitted):
    pairs = chosen_pairs(load_autoencoder(done.summary["checkpoint"]).sizes, [])
    assert [(a.name, b.name) for a, b in pairs] == [(a, b) for a in ("small", "4") for b in ("small", "4", "6-5")]
    (one,) = load_autoencoder(fitted.summary["checkpoint"]).sizes
    assert isinstance(one, PolicySize)
    with pytest.raises(UserError, match="of several sizes of policy, but this one has small alone"):
        chosen_pairs([one], [])


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--model.loss", "parameters"], "compare weights"),
        (["--model.encoder", "parameters"], "compare weights"),
        (["--decodes", "small"], "is there already"),
        (["--data.batch_size", "1"], "--data.batch_size expects at least 2"),
    ],
)
def test_settings_that_do_not_go_with_several_sizes(more, told, pools, tmp_path):
    with pytest.raises(UserError, match=told):
        fit.main([*TINY, "--data.pool", pools, *more, "--logs", str(tmp_path)])
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
def test_grown_pools_of_two_sizes_with_states_of_their_own(tmp_path):
    folders = []
    for seed, (widths, own) in enumerate((("[2]", "3"), ("[4]", "3"), ("[5]", "2"))):
        folders.append(str(tmp_path / f"grown{seed}"))
        collect.main([
            "--env", "mountaincar", "--policy", "small", "--policy.hidden", widths, "--recipe", "grown", "--steps", "2500",
            "--first", "40", "--size", "60", "--horizon", "15", "--directions", "4", "--population", "4", "--generations", "4",
            "--neighbors", "4", "--seed", str(seed), "--own_states", own, "--latent_rounds", "0", "--threads", "1",
            "--states", STATES, "--env.horizon", "40", "--pool", folders[-1],
        ])  # fmt: skip
    command = [
        *TINY,
        "--model.loss",
        "behavior_visited",
        "--data.held_out",
        "climbs",
        "--data.val_share",
        "0.2",
        "--data.test_share",
        "0.2",
    ]
    done = fit.main([*command, "--data.pool", ",".join(folders[:2]), "--logs", str(tmp_path)])
    assert np.isfinite(done.summary["test_fvu/4_to_small"]) and "left/pool_best_decoded" in done.summary
    place = [
        "--checkpoint",
        done.summary["checkpoint"],
        "--logs",
        str(tmp_path),
        "--policy",
        "4",
        "--start",
        "pool_best",
    ]
    finetune.main(
        [*place, "--budget", "200", "--pgpe.population", "2", "--test_episodes", "2", "--evaluation_episodes", "2"]
    )
    (made,) = (tmp_path / "finetune").rglob("policy.npz")
    assert load_policy(made).layout.hidden == (4,)
    with pytest.raises(UserError, match="as many states of each policy's own"):
        fit.main([*command, "--data.pool", ",".join(folders[1:]), "--policy.hidden", "[4]", "--logs", str(tmp_path)])


@pytest.mark.slow
def test_bad_words_exit_with_2(done, tmp_path):
    command = [sys.executable, "-m", "lightning_pz.evaluate", "--checkpoint", done.summary["checkpoint"]]
    for more, told in (
        (["--translate", "--policy", "4"], "leave --policy out"),
        (["--translate", "--elsewhere", "x"], "leave one of them out"),
    ):
        ended = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ended.returncode == 2 and told in ended.stderr and not any(tmp_path.iterdir())
