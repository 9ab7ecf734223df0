"""Fits of several sizes of policy under one latent: what is measured, resumed, picked by `--policy`, and refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_pz import collect, evaluate, finetune, fit
from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.policy.saved import load_policy
from lightning_pz.pool.batches import split_rows
from lightning_pz.pool.store import read_pool
from tests.jobs.conftest import PLAYED, STATES, TINY_SIZES
from tests.killed import killed_in_step


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


def test_fvu_of_every_pair_is_what_the_checkpoint_does(fitted_sizes, two_pools):
    model = load_autoencoder(fitted_sizes.summary["checkpoint"])
    small, four, alone = model.sizes
    assert [(size.name, size.has_pool) for size in model.sizes] == [("small", True), ("4", True), ("6-5", False)]
    opened = [read_pool(Path(folder)) for folder in two_pools.split(",")]
    assert not np.array_equal(opened[0].arrays["states"], opened[1].arrays["states"])
    states = torch.from_numpy(opened[0].arrays["states"].copy())
    found = {}
    for source, pool in zip((small, four), opened, strict=True):
        for target in (small, four, alone):
            expected = fvu(model, pool, source, target, "test", states[-12:])
            found[f"{source.name}_to_{target.name}"] = fitted_sizes.summary[f"test_fvu/{source.name}_to_{target.name}"]
            assert found[f"{source.name}_to_{target.name}"] == pytest.approx(expected, rel=5e-3)
    assert fitted_sizes.summary["test_fvu"] == pytest.approx(np.mean(list(found.values())))
    val = [
        fvu(model, p, s, t, "val", states[40:52])
        for s, p in zip((small, four), opened, strict=True)
        for t in model.sizes
    ]
    assert fitted_sizes.summary["val_fvu"] == pytest.approx(np.mean(val), rel=5e-3)


@pytest.mark.slow
def test_the_latent_learns_policies_of_both_sizes(two_pools, tmp_path):
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
    summary = fit.main([*TINY_SIZES, *longer, "--data.pool", two_pools, "--logs", str(tmp_path)]).summary
    pairs = {key: value for key, value in summary.items() if key.startswith("test_fvu/")}
    assert len(pairs) == 6 and max(pairs.values()) < 0.5, pairs


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_resumed_is_as_straight_and_other_sizes_are_another_run(fitted_sizes, two_pools, tmp_path):
    same = [*TINY_SIZES, "--data.pool", two_pools]
    with killed_in_step(25):
        fit.main([*same, "--logs", str(tmp_path)])
    whole = fit.main([*same, "--logs", str(tmp_path), "--ckpt_path", "last"])
    assert len(list(tmp_path.rglob("config.yaml"))) == 1
    one, other = weights(fitted_sizes.folder), weights(whole.folder)
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    first = two_pools.split(",")[0]
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


@pytest.mark.slow
def test_evaluate_and_finetune_take_the_size_that_is_asked_for(fitted_sizes, tmp_path, two_pools):
    place = ["--checkpoint", fitted_sizes.summary["checkpoint"], "--logs", str(tmp_path)]
    evaluate.main([*place, *PLAYED])
    evaluate.main([*place, *PLAYED, "--policy", "4"])
    found = [json.loads(path.read_text()) for path in (tmp_path / "evaluate").rglob("summary.json")]
    assert {(one["policy"], one["params_per_policy"]) for one in found} == {("small", 9), ("4", 17)}
    evaluate.main([*place, "--policy", "4", "--elsewhere", two_pools.split(",")[1]])
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


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--model.loss", "parameters"], "compare weights"),
        (["--model.encoder", "parameters"], "compare weights"),
        (["--decodes", "small"], "is there already"),
        (["--data.batch_size", "1"], "--data.batch_size expects at least 2"),
    ],
)
def test_settings_that_do_not_go_with_several_sizes(more, told, two_pools, tmp_path):
    with pytest.raises(UserError, match=told):
        fit.main([*TINY_SIZES, "--data.pool", two_pools, *more, "--logs", str(tmp_path)])
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
        *TINY_SIZES,
        "--model.loss",
        "behavior_visited",
        "--data.held_out",
        "climbs",
        "--data.val_share",
        "0.2",
        "--data.test_share",
        "0.2",
    ]
    fitted_sizes = fit.main([*command, "--data.pool", ",".join(folders[:2]), "--logs", str(tmp_path)])
    assert np.isfinite(fitted_sizes.summary["test_fvu/4_to_small"]) and "left/pool_best_decoded" in fitted_sizes.summary
    with np.load(fitted_sizes.folder / "policy_errors.npz") as kept:
        assert len(set(kept["climbs"][kept["climbs"] >= 0])) == fitted_sizes.summary["test_climbs"] > 0
        assert len(kept["climbs"]) == len(kept["rows"])
    place = [
        "--checkpoint",
        fitted_sizes.summary["checkpoint"],
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
