"""Reads the finished fits of a study, grouped into curves of FVU against latent size."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lightning_pz.common.errors import UserError

_SIZES = {"small": 0, "medium": 1, "large": 2}
_NO_CURVE = ("model.latent_dim", "seed_everything")
"""Varied settings that do not make another curve."""


@dataclass(frozen=True)
class FitRun:
    """One fit."""

    folder: Path  # its run folder
    summary: dict[str, Any]  # its summary.json
    probes: dict[str, Any] | None  # its probes.json; None if it was made without
    config: dict[str, Any]  # its config.yaml
    grown: bool  # whether its pool was grown by search
    latent_dims: np.ndarray  # sizes whose error was measured, (K,)
    error: np.ndarray  # squared action error of each test policy at each size, (K, N)
    spread: np.ndarray  # its squared deviation from the mean policy, (N,)
    rows: np.ndarray  # its row in the pool, (N,)
    climbs: np.ndarray  # which of them are drawn together, (N,): those of a climb where whole climbs are held out

    @property
    def pool(self) -> str:
        """Name of its pool."""
        return Path(self.summary["pool"]).name

    @property
    def bottleneck(self) -> str:
        """`plain`, `nested` or `variational`."""
        return model_words(self.config)["bottleneck"]

    @property
    def prior(self) -> dict[str, Any]:
        """Distribution of the policies, or of those from which they were grown; empty if unknown."""
        if self.probes:
            return self.probes["prior"]
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return dict(json.loads((self.folder / "identity.json").read_text())["pool"]["recipe"]["prior"])
        # Of an earlier version: its settings, which hold both recipes, say nothing of a pool that was given.
        data = self.config.get("data", {})
        own = data.get("grown" if self.grown else "random", {})
        return {} if data.get("pool") else own.get("prior", {})


@dataclass(frozen=True)
class Group:
    """Fits that differ in latent size and training seed alone: one curve."""

    env: str  # short name of the environment
    policy: str  # preset of the policy's size
    bottleneck: str  # of the autoencoder
    settings: tuple[tuple[str, str], ...]  # other settings that the study varied, with their values
    runs: tuple[FitRun, ...] = field(repr=False)  # the fits

    @property
    def kind(self) -> str:
        """Bottleneck and varied settings in words."""
        kind = "separate runs" if self.bottleneck == "plain" else self.bottleneck
        return ", ".join([kind, *(f"{key} {value}" for key, value in self.settings)])

    @property
    def label(self) -> str:
        """Policy size, bottleneck and varied settings in words."""
        return f"{self.policy}, {self.kind}"

    @property
    def joint(self) -> bool:
        """Whether one training gave all latent sizes."""
        return any(len(run.latent_dims) > 1 for run in self.runs)

    @property
    def sizes(self) -> list[int]:
        """Latent sizes, ascending; of nested runs those that all of them have."""
        each = [set(run.latent_dims.tolist()) for run in self.runs]
        return sorted(set.intersection(*each) if self.joint else set.union(*each))

    def errors(self) -> list[np.ndarray]:
        """Return for each latent size the squared action errors, (seeds, policies)."""
        return [
            np.stack([run.error[list(run.latent_dims).index(k)] for run in self.runs if k in run.latent_dims])
            for k in self.sizes
        ]

    @property
    def references(self) -> str:
        """Policies of the linear references: `test`, those of the errors, or `val` of fits by an earlier version."""
        return "test" if all("test_pca_fvu" in run.summary for run in self.runs) else "val"

    def reference(self, run: FitRun, key: str) -> Any:
        """Return a linear reference of a run, by its name in older summaries."""
        return run.summary[f"test_{key}" if self.references == "test" else key]

    def pca(self) -> dict[int, float]:
        """Return the FVU of PCA on actions by number of components, where runs have measured it."""
        found = {int(run.summary["latent_dim"]): self.reference(run, "pca_fvu") for run in self.runs}
        prefix = "test_pca_fvu_k" if self.references == "test" else "pca_fvu_k"
        pairs = [pair for run in self.runs for pair in run.summary.items() if pair[0].startswith(prefix)]
        return dict(sorted((found | {int(key.removeprefix(prefix)): value for key, value in pairs}).items()))


def is_grown(fit: Path) -> bool:
    """Return whether the pool of a fit was grown by search; of older fits its config.yaml or the pool's name says it."""
    try:
        if (fit / "identity.json").is_file():
            return json.loads((fit / "identity.json").read_text())["pool"]["recipe"]["kind"] == "grown"
        config = fit / "config.yaml"
        data = (yaml.safe_load(config.read_text()) if config.is_file() else {}).get("data", {})
        if "recipe" in data and not data.get("pool"):
            return data["recipe"] == "grown"
        return "-grown-" in Path(json.loads((fit / "summary.json").read_text())["pool"]).name
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return False


def model_words(config: Mapping[str, Any]) -> dict[str, str]:
    """Return encoder, loss and bottleneck of a fit from its settings; the defaults where they say nothing."""
    return {"encoder": "behavior", "loss": "behavior", "bottleneck": "plain"} | {
        key: value for key, value in config.get("model", {}).items() if key in ("encoder", "loss", "bottleneck")
    }


def read_groups(logs: Path, study: str, env: str | None) -> list[Group]:
    """Return the groups of a study, of one environment or all, smaller policies first.

    Raises:
        UserError: No such study, none of its trials finished, or run folders that are incomplete or do not fit together.
    """
    folders = [logs / "sweeps" / f"{study}-{env}"] if env else sorted((logs / "sweeps").glob(f"{study}-*"))
    folders = [folder for folder in folders if (folder / "trials.csv").is_file()]
    if not folders:
        where = f"{study}-{env}" if env else f"{study}-*"
        known = sorted({path.parent.name for path in (logs / "sweeps").glob("*/trials.csv")})
        raise UserError(
            f"expected {logs / 'sweeps' / where}/trials.csv, but there is none: run python -m sweeps {study} "
            f"--env {env or 'NAME'} first" + (f"; there are {', '.join(known)}" if known else "")
        )
    groups = [group for folder in folders for group in _groups(folder, folder.name.removeprefix(f"{study}-"), logs)]
    if not groups:
        named = ", ".join(map(str, folders))
        raise UserError(f"none of the trials in {named} is finished: let python -m sweeps {study} continue")
    return groups


def _groups(folder: Path, env: str, logs: Path) -> list[Group]:
    with (folder / "trials.csv").open(newline="") as file:
        trials = [trial for trial in csv.DictReader(file) if trial.get("state") == "COMPLETE"]
    found: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[FitRun]] = {}
    for trial in trials:
        run = read_fit(Path(trial["run"]), logs)
        others = tuple((k, v) for k, v in trial.items() if "." in k and k not in _NO_CURVE and v not in ("", None))
        own = found.setdefault((run.summary["policy"], run.bottleneck, others), [])
        # Grid points that two workers met twice are the same fit.
        if run.folder not in [other.folder for other in own]:
            own.append(run)
    groups = [Group(env, *key, tuple(runs)) for key, runs in found.items()]
    for group in groups:
        _check_paired(group)
    return sorted(groups, key=lambda g: (_SIZES.get(g.policy, 9), g.policy, g.bottleneck, g.settings))


def read_fit(folder: Path, logs: Path) -> FitRun:
    """Return one fit from its run folder; where that is missing, the same `fit/...` under `logs`, for logs can be moved."""
    if not folder.is_dir() and "fit" in folder.parts:
        folder = logs.joinpath(*folder.parts[len(folder.parts) - 1 - folder.parts[::-1].index("fit") :])
    for name in ("summary.json", "policy_errors.npz", "config.yaml"):
        if not (folder / name).is_file():
            raise UserError(f"{folder} lacks {name}: it is not finished, or of an older version; run its study again")
    try:
        summary = json.loads((folder / "summary.json").read_text())
        config = yaml.safe_load((folder / "config.yaml").read_text())
        probes = json.loads((folder / "probes.json").read_text()) if (folder / "probes.json").is_file() else None
        with np.load(folder / "policy_errors.npz", allow_pickle=False) as arrays:
            dims, error, spread, rows = (arrays[name] for name in ("latent_dims", "error", "spread", "rows"))
            climbs = arrays["climbs"] if "climbs" in arrays else np.arange(len(rows))
    except (KeyError, ValueError, OSError) as fault:
        raise UserError(f"a file in {folder} is broken ({fault}): delete the folder and run its study again") from fault
    path = folder / "policy_errors.npz"
    if error.shape != (len(dims), len(spread)) or len(rows) != len(spread):
        raise UserError(f"{path} expects error of {len(dims)} sizes x {len(spread)} policies, but has {error.shape}")
    if not (np.isfinite(error).all() and np.isfinite(spread).all() and spread.sum() > 0):
        raise UserError(f"{path} holds numbers that are not finite, or policies that all act alike")
    error, spread = error.astype(float), spread.astype(float)
    return FitRun(folder, summary, probes, config, is_grown(folder), dims, error, spread, rows, climbs)


def _check_paired(group: Group) -> None:
    """Raise `UserError` unless all runs of a group were measured on the same policies of the same pool."""
    first = group.runs[0]
    for run in group.runs[1:]:
        same = run.pool == first.pool and np.array_equal(run.rows, first.rows)
        if not (same and np.allclose(run.spread, first.spread, rtol=1e-6)):
            raise UserError(
                f"{run.folder} and {first.folder} were measured on different policies, so their errors cannot be paired: give "
                "the study's fits one pool, one --data.split_seed and one --data.test_share"
            )
