"""Studies of grown pools on tiny grids: one pool per seed, shared between the studies, and refused where it makes no sense."""

import contextlib
import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.common.statistics import iqm
from lightning_pz.envs.presets import conf_dir
from lightning_pz.evaluation.elsewhere import transfer_fvu
from lightning_pz.evaluation.groups import find_pool
from sweeps.__main__ import main
from sweeps.compare import load_comparison
from sweeps.growth import load_ways

STATES = {"probe": 16, "train": 24, "val": 12, "test": 12, "episodes": 2}
FIT = {
    "model.latent_dim": 2, "model.encoder_widths": [16], "model.decoder_widths": [16], "data.batch_size": 16,
    "data.states_per_step": 8, "data.steps_per_epoch": 10, "trainer.max_steps": 10, "trainer.log_every_n_steps": 5,
    "data.recipe": "grown", "data.grown.steps": 15000, "data.grown.first": 40, "data.grown.size": 60, "data.grown.horizon": 50,
    "data.grown.directions": 4, "data.grown.population": 4, "data.grown.generations": 4, "data.grown.neighbors": 5,
    "data.grown.states": STATES, "data.grown.seed": "{seed}",
}  # fmt: skip
EVALUATE = {"policies": 6, "episodes": 2, "draws": 20, "fresh_episodes": 3}
SEARCHES = {
    "environments": {
        "mountaincar": {
            "run": "tiny", "fit_seeds": 2, "policy": "small", "tasks": ["left"], "fit": FIT, "evaluate": EVALUATE,
        },
    },
    "at": [3000, 6000],
    "finetune": {
        "budget": 6000, "workers": 1, "starts": 2, "evaluation_episodes": 1, "test_episodes": 2, "pgpe.population": 2,
    },
    "algorithms": {
        "latent": {"algorithm": "pgpe", "start": "pool_top"},
        "released": {"algorithm": "pgpe", "start": "pool_top", "release_decoder_at": 2500},
        "weights": {"algorithm": "parameter_pgpe", "seeds": 1},
    },
}  # fmt: skip
WAYS = {
    "default": {
        "policy": "small", "fit": FIT, "evaluate": EVALUATE, "tasks": ["left", "height"],
        "variants": {
            "grown": {"run": "tiny", "seeds": 2},
            "random pool": {
                "run": "tiny-random", "seeds": 1,
                "fit": {
                    "data.recipe": "random", "data.random.candidates": 120, "data.random.neighbors": 3,
                    "data.random.states": STATES, "data.random.seed": "{seed}",
                },
            },
        },
    },
}  # fmt: skip


def write(path, grid):
    path.write_text(yaml.safe_dump(grid))
    return str(path)


def tables(logs, study):
    """Return the folder of a study's tables; of another grid than the shipped one it ends with a digest of its own."""
    (folder,) = (path for path in (logs / "sweeps").iterdir() if re.fullmatch(rf"{study}-[0-9a-f]{{8}}", path.name))
    return folder


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grown")
    command = ["grown", "--grid", write(folder / "grid.yaml", SEARCHES), "--logs", str(folder / "logs")]
    main(command)
    return command


@pytest.mark.slow
def test_every_seed_has_a_pool_a_fit_and_searches_of_its_own(done):
    logs = Path(done[-1])
    assert (
        len(list((logs / "pools").glob("mountaincar*-s0-*")))
        == len(list((logs / "pools").glob("mountaincar*-s1-*")))
        == 1
    )
    for seed in (0, 1):
        config = yaml.safe_load((logs / "fit" / "mountaincar" / f"tiny-seed{seed}" / "config.yaml").read_text())
        assert config["seed_everything"] == config["data"]["grown"]["seed"] == seed
    runs: dict[str, list[int]] = {}
    for row in table(tables(logs, "grown") / "runs.csv"):
        runs.setdefault(row["label"], []).append(int(row["seed"]))
        summary = json.loads((Path(row["folder"]) / "summary.json").read_text())
        assert f"tiny-seed{row['seed']}/" in summary["checkpoint"]
    assert runs == {
        "latent PGPE from the pool's best": [0, 1],
        "latent PGPE from the pool's best, decoder released at 2.5k": [0, 1],
        "weight PGPE": [0],
    }


@pytest.mark.slow
def test_a_fit_on_a_grown_pool_is_probed_afterwards_as_it_would_have_been_by_fit(done):
    run = Path(done[-1]) / "fit" / "mountaincar" / "tiny-seed0"
    told = json.loads((run / "probes.json").read_text())
    (run / "probes.json").unlink()
    main(["probe", str(run)])
    assert json.loads((run / "probes.json").read_text()) == told


@pytest.mark.slow
def test_the_report_tells_returns_on_the_way(done):
    logs = Path(done[-1])
    report = (tables(logs, "grown") / "report.md").read_text()
    lines = [line for line in report.splitlines() if line.startswith("| mountaincar/left | 6k |")]
    expected = []
    for seed in (0, 1):
        (curve,) = (logs / "finetune" / "mountaincar" / "left").glob(f"pgpe-*-pool_top-seed{seed}/curve.csv")
        expected.append([float(row["eval_return"]) for row in table(curve) if int(row["env_steps"]) <= 6000][-1])
    digits = 2 if abs(iqm(np.array(expected))) < 100 else 1
    assert len(lines) == 1 and f"{iqm(np.array(expected)):.{digits}f}" in lines[0]
    assert re.search(r"Growing a pool of mountaincar took [\d,]+ environment steps .* for each of the 1 tasks", report)
    # Both pools stand behind the line of the best in the pool.
    summaries = [json.loads(path.read_text()) for path in (logs / "evaluate" / "mountaincar").glob("*/summary.json")]
    best = np.mean([summary["left/best_in_pool_fresh"] for summary in summaries])
    assert len(summaries) == 2
    assert any(
        f"{best:.{digits}f} (" in line for digits in (0, 1, 2) for line in report.splitlines() if "median" in line
    )


@pytest.mark.slow
def test_ways_to_make_a_pool_share_fits_with_the_searches(done, tmp_path, capsys):
    logs = Path(done[-1])
    before = {path: path.stat().st_mtime_ns for path in logs.rglob("summary.json")}
    main(["growth", "--env", "mountaincar", "--grid", write(tmp_path / "ways.yaml", WAYS), "--logs", str(logs)])
    after = {path: path.stat().st_mtime_ns for path in logs.rglob("summary.json")}
    assert all(after[path] == stamp for path, stamp in before.items()) and len(after) == len(before) + 2
    rows = table(tables(logs, "growth-mountaincar") / "table.csv")
    assert [(row["pool"], row["task"]) for row in rows] == [
        ("grown", "left"), ("grown", "height"), ("random pool", "left"), ("random pool", "height"),
    ]  # fmt: skip
    found = [json.loads(path.read_text()) for path in (logs / "evaluate" / "mountaincar").glob("*/summary.json")]
    grown = [s for s in found if "tiny-seed" in s["checkpoint"]]
    own, gap = (np.array([s[f"left/{key}"] for s in grown]) for key in ("best_own_return", "reconstruction_gap"))
    if (own > 0).all():
        assert float(rows[0]["kept"]) == pytest.approx((own + gap).mean() / own.mean())
        assert float(rows[0]["kept_low"]) == pytest.approx((1 + gap / own).min())
    else:
        assert rows[0]["kept"] == ""
    assert float(rows[0]["reconstruction_gap"]) == pytest.approx(gap.mean())
    assert rows[0]["best_latent_interval"] == "range" and rows[2]["best_latent_interval"] == "none"
    assert float(rows[0]["best_in_pool"]) == pytest.approx(np.mean([s["left/best_in_pool_fresh"] for s in grown]))
    models = [load_autoencoder(s["checkpoint"]) for s in sorted(grown, key=lambda s: s["seed"])]
    pools = [find_pool(model) for model in models]
    crossed = [transfer_fvu(models[i], pools[1 - i])[2] for i in (0, 1)]
    assert pools[0].digest != pools[1].digest
    assert float(rows[0]["elsewhere_fvu"]) == pytest.approx(np.mean(crossed), rel=1e-5)
    assert rows[2]["elsewhere_fvu"] == ""  # one seed has no others
    printed = capsys.readouterr().out.splitlines()
    whole = tables(logs, "growth-mountaincar") / "table.csv"
    before = whole.read_bytes()
    part = ["--variant", "random pool", "--grid", str(tmp_path / "ways.yaml"), "--logs", str(logs)]
    main(["growth", "--env", "mountaincar", *part])
    assert whole.read_bytes() == before  # a part stands beside it
    assert len(table(tables(logs, "growth-mountaincar-random-pool") / "table.csv")) == 2
    lines = [line for line in printed[-11:] if "/" not in line]
    assert "kept by 50 best" in "".join(lines) and max(map(len, lines)) <= 110 and "growth-mountaincar-" in printed[-1]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ([], "which environment"),
        (["--env", "mountaincar", "--variant", "grwon"], "Did you mean 'grown'"),
        (["--env", "mountaincar", "--grid", "nowhere.yaml"], "none at nowhere.yaml"),
        (["--env", "mountaincar", "--steps", "3"], "there is no option --steps"),
    ],
)
def test_bad_input(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        main(["growth", *arguments])


def test_a_grid_with_unknown_keys_is_refused(tmp_path):
    grid = {"default": WAYS["default"] | {"variants": {"grown": {"rum": "x"}}}}
    with pytest.raises(
        UserError, match=r"variants.grown has the keys run, seeds, fit, but got 'rum'. Did you mean 'run'"
    ):
        main(["growth", "--env", "mountaincar", "--grid", write(tmp_path / "grid.yaml", grid)])


@pytest.mark.slow
def test_the_shipped_grids_pass_the_parsers(tmp_path):
    from lightning_pz.finetune import parse

    grid = load_comparison(conf_dir() / "sweep" / "grown.yaml")
    for name, env in grid.cells():
        for command in grid.commands(name, env, "logs"):
            jobs, _ = parse(command)
            assert jobs.seeds == 1
    assert len(grid.commands("sac", "halfcheetah", "logs")) == 2 and ("sac", "hopper") not in grid.cells()
    for env, world in grid.environments.items():
        assert world.fit_seeds >= 3
        world.make_fits(env, str(tmp_path))[2].check("grown.yaml")
    for env in ("halfcheetah", "hopper", "reacher"):
        ways = load_ways(env, conf_dir() / "sweep" / "growth.yaml")
        for name in ways.variants:
            ways.make_fits(env, str(tmp_path), name)[1].check("growth.yaml")
    # Threads step physics and decide nothing; a seed does.
    made = grid.environments["mountaincar"].make_fits("mountaincar", str(tmp_path))[0]
    made.folder.mkdir(parents=True)
    for threads, seed in ((7, 0), (7, 1)):
        grown = {"threads": threads, "seed": seed}
        (made.folder / "config.yaml").write_text(yaml.safe_dump({"data": {"recipe": "grown", "grown": grown}}))
        with pytest.raises(UserError, match=r"pool\.recipe\.seed is 1, not 0") if seed else contextlib.nullcontext():
            made.check("grown.yaml")
    # The two studies share their fits.
    searched = grid.environments["halfcheetah"].make_fits("halfcheetah", "logs")
    assert searched == load_ways("halfcheetah", conf_dir() / "sweep" / "growth.yaml").make_fits(
        "halfcheetah", "logs", "grown"
    )
