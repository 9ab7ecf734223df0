"""The dimension report on run folders made up so that the answers are known."""

import csv
import hashlib
import json

import numpy as np
import pytest
import yaml

from lightning_pz.common.errors import UserError
from sweeps.__main__ import main

PRIOR = {"initializer": "fan_in_normal", "gain": 1.0, "bias_scale": 1.0}
CURVE = {1: 0.5, 2: 0.25, 3: 0.09, 5: 0.04, 8: 0.02, 16: 0.01}


def estimates(value):
    one = {"value": value, "standard_error": 0.2, "surrogate": value + 2, "surrogate_standard_error": 0.2}
    names = (
        "participation_ratio", "n90", "n95", "two_nn", "gride_1", "gride_4", "gride_16", "levina_bickel", "local_pca",
    )  # fmt: skip
    return {"estimates": dict.fromkeys(names, one), "notes": {}}


def make_run(
    logs, env, name, *, seed, policy="medium", dims, levels, bottleneck="plain", pool="pool-a", probes=True, count=300
):
    """A run whose FVU is `levels` up to 5 % of noise that the policies share between runs."""
    folder = logs / "fit" / env / name
    (folder / "checkpoints").mkdir(parents=True)
    spread = np.random.default_rng(len(pool)).exponential(size=count)
    noise = 1 + 0.05 * np.random.default_rng(seed).normal(size=count)
    error = np.array(levels)[:, None] * spread * noise
    np.savez(
        folder / "policy_errors.npz", latent_dims=np.array(dims), error=error, spread=spread, rows=np.arange(count)
    )
    summary = {
        "env": "Made-v0", "policy": policy, "latent_dim": dims[-1], "seed": seed, "pca_fvu": levels[-1] * 1.5, "affine_fvu": 0.08,
        "affine_numbers": 3.0, "pool": f"logs/pools/{pool}",
    }  # fmt: skip
    if bottleneck == "nested":
        summary |= {f"pca_fvu_k{k}": 1.5 * level for k, level in zip(dims, levels, strict=True)}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"model": {"bottleneck": bottleneck}, "data": {"random": {"prior": PRIOR}}})
    )
    if probes:
        decoder = {"estimates": {"lipschitz": {"value": 0.5, "standard_error": 0.01}}, "notes": {}}
        report = {
            "prior": PRIOR,
            "action_size": 1,
            "behavior": estimates(8.0),
            "latent": estimates(3.0),
            "map": decoder,
        }
        (folder / "probes.json").write_text(json.dumps(report))
    return folder


def write_trials(logs, study, env, rows):
    folder = logs / "sweeps" / f"{study}-{env}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "trials.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def trial(number, run, seed, k, state="COMPLETE", policy="medium"):
    told = {"number": number, "state": state, "value": 0.1, "seed": seed, "run": run, "policy": policy}
    return told | {"model.latent_dim": k}


@pytest.fixture
def logs(tmp_path):
    """Separate runs on Mountain Car, one trial of them pruned; nested runs of two sizes there and on HalfCheetah."""
    rows = [
        trial(i, make_run(tmp_path, "mountaincar", f"s-k{k}-seed{seed}", seed=seed, dims=[k], levels=[level]), seed, k)
        for i, (k, level, seed) in enumerate((k, level, seed) for k, level in CURVE.items() for seed in (0, 1))
    ]
    rows.append(trial(99, tmp_path / "nowhere", 2, 1, state="PRUNED"))
    write_trials(tmp_path, "latent_dim", "mountaincar", rows)
    for env, factor in (("mountaincar", 1.0), ("halfcheetah", 12.0)):
        nested = []
        for policy in ("medium", "small"):
            for seed in (0, 1):
                run = make_run(
                    tmp_path, env, f"n-{policy}-seed{seed}", seed=seed, policy=policy, dims=list(CURVE), bottleneck="nested",
                    levels=[min(0.98, factor * level) for level in CURVE.values()], pool=f"pool-{policy}-{env}",
                )  # fmt: skip
                nested.append(trial(len(nested), run, seed, 16, policy=policy))
        write_trials(tmp_path, "dimension", env, nested)
    return tmp_path


def table_of(folder, name):
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def report(logs, *arguments):
    main(["report", *arguments, "--logs", str(logs), "--draws", "300"])
    return max((logs / "sweeps").glob("report-*"), key=lambda folder: (folder / "report.md").stat().st_mtime_ns)


def test_the_dimension_is_the_one_that_was_made_up(logs, capsys):
    folder = report(logs, "latent_dim", "--env", "mountaincar")
    assert capsys.readouterr().out.strip().splitlines()[-1] == str(folder)
    (row,) = table_of(folder, "dimensions")
    assert row["k for FVU <= 0.1 [95 %]"] == "3 [3]" and row["not enough"] == "2"
    assert row["marginal rule [95 %]"] == "5 [5]" and row["PCA floor"] == "5 (val)"
    assert row["seeds"] == "2" and row["policies"] == "300" and row["affine numbers (FVU)"] == "3 (0.080) (val)"
    assert row["2 x action size + 1"] == "3" and row["prior"] == "N(0, 1/fan-in), gain 1, bias 1"
    curve = {int(r["k"]): float(r["fvu"]) for r in table_of(folder, "curves")}
    assert curve == pytest.approx(CURVE, rel=0.02)
    assert all(float(r["fvu_low"]) <= float(r["fvu"]) <= float(r["fvu_high"]) for r in table_of(folder, "curves"))


def test_another_threshold_gives_another_dimension(logs):
    folder = report(logs, "latent_dim", "--tau", "0.3")
    assert table_of(folder, "dimensions")[0]["k for FVU <= 0.3 [95 %]"] == "2 [2]"
    first = (folder / "report.md").read_bytes()
    other = report(logs, "latent_dim", "--tau", "0.005")
    # Each threshold has a report of its own.
    assert other != folder and (folder / "report.md").read_bytes() == first
    folder = other
    assert table_of(folder, "dimensions")[0]["k for FVU <= 0.005 [95 %]"] == "> 16 [> 16]"
    assert "more than 16 latent numbers" in (folder / "report.md").read_text()


@pytest.mark.draws
def test_all_environments_and_several_studies_in_one(logs):
    folder = report(logs, "dimension", "latent_dim")
    rows = {(r["environment"], r["policy"], r["runs"]): r for r in table_of(folder, "dimensions")}
    assert len(rows) == 5
    assert rows["halfcheetah", "medium", "nested"]["k for FVU <= 0.1 [95 %]"] == "> 16 [> 16]"
    assert rows["mountaincar", "small", "nested"]["k for FVU <= 0.1 [95 %]"] == "3 [3]"
    assert rows["mountaincar", "medium", "separate runs"]["k for FVU <= 0.1 [95 %]"] == "3 [3]"
    for name in ("mountaincar", "halfcheetah", "overview"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 20_000
    text = (folder / "report.md").read_text()
    assert "the intervals overlap" in text and "published claim 8 to 16" in text and "Two quantities" in text


def test_estimates_stand_beside_error_surrogate_and_prior(logs):
    folder = report(logs, "dimension", "--env", "mountaincar")
    rows = table_of(folder, "estimates")
    behavior = [r for r in rows if r["space"] == "behaviors" and r["policy"] == "medium"]
    assert len(behavior) == 9 and all(r["estimate"] == "8.00 +- 0.20" for r in behavior)
    for space, estimate, surrogate in (
        ("behaviors", "8.00 +- 0.20", "10.00 +- 0.20"),
        ("latents", "3.00 +- 0.20", "5.00 +- 0.20"),
    ):
        found = [(r["estimate"], r["Gaussian, same spectrum"]) for r in rows if r["space"] == space]
        assert len(found) == 18 and set(found) == {(estimate, surrogate)}
    assert all("fan-in" in r["prior"] for r in rows)
    assert [r["Gaussian, same spectrum"] for r in rows if r["space"] == "decoder"] == ["-", "-"]
    assert "below what the spectrum alone gives" in (folder / "report.md").read_text()


def write_evaluation(logs, fit, k, seed, best, pool="pool-a", policies=10, fresh=None):
    folder = logs / "evaluate" / "mountaincar" / f"medium-k{k}-seed{seed}-{fit}-{policies}"
    folder.mkdir(parents=True)
    found = {"recovery_best": best} | ({} if fresh is None else {"recovery_best_fresh": fresh})
    ends = (("", 0), ("_low", -0.1), ("_high", 0.1))
    values = {f"standard/{name}{end}": value + by for name, value in found.items() for end, by in ends}
    about = {
        "policy": "medium", "latent_dim": k, "seed": seed, "policies": policies, "episodes": 2,
        "checkpoint": f"logs/fit/mountaincar/{fit}/checkpoints/best.ckpt",
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(about | values))
    if not (run := logs / "fit" / "mountaincar" / fit).exists():
        run.mkdir(parents=True)
        (run / "summary.json").write_text(json.dumps({"pool": f"elsewhere/pools/{pool}"}))


def test_the_task_recovery_dimension_takes_the_studys_own_fits_first(logs):
    text = (report(logs, "latent_dim") / "report.md").read_text()
    assert "lightning_pz.evaluate --checkpoint" in text and "not evaluated" in text
    for seed in (0, 1):
        for k, best in ((1, 0.99), (2, 0.99)):
            write_evaluation(logs, f"other-k{k}-seed{seed}", k, seed, best)
        # Another pool with fewer sizes, a grown one, and one evaluated with few policies before: none of them counts.
        write_evaluation(logs, f"third-k1-seed{seed}", 1, seed, -50, pool="pool-b")
        for k in (1, 2, 3):
            write_evaluation(logs, f"grown-k{k}-seed{seed}", k, seed, 50, pool="mountaincar-medium-grown-s0-1234")
        write_evaluation(logs, f"other-k1-seed{seed}", 1, seed, -50, policies=5)
    (row,) = table_of(report(logs, "latent_dim"), "recovery")
    assert (
        row["fits"] == "of other studies, pool pool-a"
        and row["task-recovery dimension [by interval ends]"] == "1 (1 to 1)"
    )
    for seed in (0, 1):
        for k, best in ((1, 0.5), (2, 0.9 + 0.1 * seed), (3, 1.3)):
            write_evaluation(logs, f"s-k{k}-seed{seed}", k, seed, best)
    folder = report(logs, "latent_dim")
    (row,) = table_of(folder, "recovery")
    assert row["fits"] == "of this study" and row["seeds"] == "2" and row["recovery there"] == "0.95"
    assert row["measured by"] == "recovery_best"
    assert row["task-recovery dimension [by interval ends]"] == "2 (2 to 3)"
    assert "Not evaluated" not in (folder / "report.md").read_text()


def test_numbers_of_a_grown_pool_are_said_to_be_of_that_pool(logs):
    assert "--elsewhere" not in (report(logs, "dimension") / "report.md").read_text()
    run = make_run(
        logs, "mountaincar", "g-seed0", seed=0, dims=[2], levels=[0.1], pool="mountaincar-medium-grown-s0-1234"
    )
    write_trials(logs, "purposeful", "mountaincar", [trial(0, run, 0, 2)])
    text = (report(logs, "purposeful") / "report.md").read_text()
    assert "the dimension of that very pool" in text and "--elsewhere" in text


def test_content_tells_grown_pools_and_own_checkpoints_whatever_names_say(logs):
    run = make_run(logs, "mountaincar", "g-seed0", seed=0, dims=[2], levels=[0.1], pool="mine")
    (run / "identity.json").write_text(json.dumps({"pool": {"recipe": {"kind": "grown"}}}))
    (run / "checkpoints" / "best.ckpt").write_bytes(b"weights")
    write_trials(logs, "purposeful", "mountaincar", [trial(0, run, 0, 2)])
    # Of the checkpoint that was there before, and of this one from another place.
    for fit, content, best in (("g-seed0", b"other", 0.2), ("moved", b"weights", 0.97)):
        write_evaluation(logs, fit, 2, 0, best)
        about = {"checkpoint": hashlib.sha256(content).hexdigest(), "pool": "digest"}
        (logs / "evaluate" / "mountaincar" / f"medium-k2-seed0-{fit}-10" / "identity.json").write_text(
            json.dumps(about)
        )
    folder = report(logs, "purposeful")
    assert "the dimension of that very pool" in (folder / "report.md").read_text()
    (row,) = table_of(folder, "recovery")
    assert row["fits"] == "of this study" and row["recovery there"] == "0.97"
    (run / "identity.json").write_text(json.dumps({"pool": {"recipe": {"kind": "random"}}}))
    assert "--elsewhere" not in (report(logs, "purposeful") / "report.md").read_text()


def test_the_same_report_again(logs):
    first = {p.name: p.read_bytes() for p in report(logs, "dimension").glob("*.*")}
    assert {p.name: p.read_bytes() for p in report(logs, "dimension").glob("*.*")} == first
    assert set(first) == {"report.md", "dimensions.csv", "recovery.csv", "estimates.csv", "curves.csv"}


def test_runs_without_probes_are_reported_as_such(logs):
    for path in logs.glob("fit/*/*/probes.json"):
        path.unlink()
    folder = report(logs, "dimension")
    assert {r["2 x action size + 1"] for r in table_of(folder, "dimensions")} == {"unknown"}
    assert table_of(folder, "estimates") == []
    assert "fit with --probes.enabled true" in (folder / "report.md").read_text()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["latent_dims"], r"sweeps/latent_dims-\*/trials.csv, but there is none.*there are .*latent_dim-mountaincar"),
        (["latent_dim", "--env", "hopper"], "sweeps/latent_dim-hopper/trials.csv, but there is none"),
        ([], "needs studies"),
        (["latent_dim", "--threshold", "3"], "there is no option --threshold"),
        (["latent_dim", "--tau", "2"], "--tau expects a number between 0 and 1, but got 2"),
        (["latent_dim", "--tau", "low"], "--tau expects a number, but got 'low'"),
        (["latent_dim", "--draws", "3"], "--draws expects at least 100"),
    ],
)
def test_bad_arguments(logs, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        main(["report", *arguments, "--logs", str(logs)])


def test_bad_run_folders(logs):
    run = logs / "fit" / "mountaincar" / "s-k3-seed1"
    whole = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    with np.load(run / "policy_errors.npz") as arrays:
        good = dict(arrays)
    for change, sentence in (
        ({"rows": good["rows"] + 1}, "measured on different policies"),
        ({"error": good["error"] * np.nan}, "not finite"),
        ({"error": good["error"][:, :-1]}, "expects error of 1 sizes x 300 policies"),
    ):
        np.savez(run / "policy_errors.npz", **(good | change))
        with pytest.raises(UserError, match=sentence):
            report(logs, "latent_dim")
    (run / "policy_errors.npz").write_bytes(b"cut off")
    with pytest.raises(UserError, match="is broken"):
        report(logs, "latent_dim")
    (run / "policy_errors.npz").write_bytes(whole["policy_errors.npz"])
    (run / "summary.json").unlink()
    with pytest.raises(UserError, match=r"lacks summary.json: it is not finished"):
        report(logs, "latent_dim")


def test_a_study_without_finished_trials(logs):
    write_trials(logs, "width", "hopper", [trial(0, "nowhere", 0, 3, state="FAIL")])
    with pytest.raises(UserError, match="none of the trials"):
        report(logs, "width")
