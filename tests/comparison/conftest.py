"""Run folders as `finetune` leaves them, made up without a search."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from lightning_pz.common.known_folders import Identity, claim
from lightning_pz.common.run_folder import RunFolder
from lightning_pz.search.loop import COLUMNS, write_curve
from lightning_pz.search.settings import SearchSettings

ENV_IDS = {"mountaincar": "MountainCarContinuous-v0", "reacher": "Reacher-v5"}


def _write_run(
    root: Path, algorithm="pgpe", seed=0, steps=(100, 500), returns=(1.0, 2.0), *, env="mountaincar", task="standard",
    budget=1000, final=None, tag="medium-k2-seed0", seconds=2.0, finished=True, checkpoint="best.ckpt", content=None, **settings,
) -> Path:  # fmt: skip
    """Write one run through the very code that `finetune` writes with."""
    parent = root / "finetune" / env / task
    about = {"algorithm": algorithm, "tag": tag, "seed": seed, "budget": budget, "settings": str(settings)}
    identity = Identity(about | (content or {}))
    folder = RunFolder(claim([parent], f"{algorithm}-{tag}-seed{seed}", identity), identity)
    search = SearchSettings(algorithm=algorithm, task=task, seed=seed, budget=budget, **settings)
    folder.begin({"checkpoint": "best.ckpt", "seeds": 1, "logs": str(root)} | dataclasses.asdict(search))
    rows = [[float(s), s / 100, r, r, r, 0.1, 0.0] for s, r in zip(steps, returns, strict=True)]
    assert len(rows[0]) == len(COLUMNS)
    write_curve(folder, rows)
    final = returns[-1] if final is None else final
    value = final if math.isfinite(final) else None
    if finished:
        folder.write_summary({
            "env": ENV_IDS[env], "policy": "medium", "algorithm": algorithm, "task": task, "latent_dim": 2,
            "seed": seed, "budget": budget, f"{task}/return": value, f"{task}/return_low": value,
            f"{task}/return_high": value, f"{task}/eval_return": max(returns), "env_steps": int(steps[-1]),
            "seconds": seconds, "invalid": 0, "checkpoint": checkpoint,
        })  # fmt: skip
    return folder.path


def _write_evaluation(
    root: Path, name="a", policies=100, *, env="mountaincar", policy="medium", best=3.0, pool=(), content=None, **more
):
    """Write what the report reads of an evaluation; `pool` holds a list of episodes' returns per policy."""
    folder = root / "evaluate" / env / name
    folder.mkdir(parents=True)
    ends = {"": best, "_low": best - 0.5, "_high": best}
    summary = {"env": ENV_IDS[env], "policy": policy, "policies": policies} | more
    summary |= {f"standard/best_in_pool_fresh{end}": value for end, value in ends.items()}
    (folder / "summary.json").write_text(json.dumps(summary))
    if content:
        (folder / "identity.json").write_text(json.dumps(content))
    if pool:
        lines = ["group,policy,episode,steps,valid,standard"]
        for i, episodes in enumerate(pool):
            lines += [
                f"pool,{i},{e},9,{int(math.isfinite(r))},{r if math.isfinite(r) else -1e9}"
                for e, r in enumerate(episodes)
            ]
            lines += [f"random,{i},{e},9,1,-1e6" for e in range(len(episodes))]
        (folder / "returns.csv").write_text("\n".join(lines) + "\n")
    return folder / "summary.json"


def _rising(rng: np.random.Generator, level: float, budget=1000, points=20, noise=0.3):
    """Return the steps and returns of a curve that rises to about `level`."""
    steps = np.linspace(budget / points, budget, points).astype(int)
    returns = level * (1 - np.exp(-4 * steps / budget)) + noise * rng.normal() + 0.1 * noise * rng.normal(size=points)
    return steps.tolist(), returns.tolist()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def write_run():
    return _write_run


@pytest.fixture
def write_evaluation():
    return _write_evaluation


@pytest.fixture
def rising():
    return _rising
