"""The task-recovery dimension: the smallest latent size whose latent space holds what the pool can do on a task."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import yaml

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import file_digest
from lightning_pz.common.identity import first_difference
from lightning_pz.common.statistics import RANGE, UNKNOWN, Estimate, mean_interval, read_estimate, widened
from lightning_pz.evaluation.metrics import BEST_FRESH
from sweeps.dimension.fit_runs import Group, is_grown, model_words
from sweeps.dimension.rules import reached

_DECISIVE = ("policies", "episodes", "episode_seed", "latents", "latent_seed", "best", "sample")
"""Settings of an evaluation that decide `recovery_best`."""
_TRAINED = ("encoder", "loss")
"""Settings of a fit that evaluations must share with a group that borrows them; a curve of any bottleneck may."""


@dataclass(frozen=True)
class TaskDimension:
    """The smallest latent size that recovers a task."""

    task: str  # its name
    value: float  # smallest size whose mean of `metric` over seeds is at least 1 - tolerance; infinity if none
    low: float  # the same by the upper ends of the intervals, or of the range over few seeds
    high: float  # the same by the lower ends
    largest: int  # largest latent size that was evaluated
    best: float  # that metric there or at the largest size
    metric: str  # `recovery_best_fresh`, or `recovery_best` where an evaluation of an earlier version lacks that
    seeds: int  # training seeds behind it
    own: bool  # whether the evaluations are of the study's own checkpoints
    pool: str  # name of the pool behind them
    model: str  # their encoder and loss in words, where these are not the defaults
    kind: str  # what the ends are, as for `Estimate`

    def text(self) -> str:
        """Return it for a table."""
        value, low, high = (reached(size, self.largest) for size in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})" if self.kind == RANGE else f"{value} [{low}, {high}]"


def read_evaluations(logs: Path, env: str) -> list[dict[str, Any]]:
    """Return the summaries of all evaluations of an environment, with what they are of.

    Added to each: `folder`, its own; `fit`, the folder name of the fit; `pool`, the name of its pool, empty if unknown;
    `grown`, whether that was grown; `model`, its encoder, loss and bottleneck; `settings`, with which it was evaluated;
    `pool_digest` and `checkpoint_digest`, None in evaluations of earlier versions; `content`, by which a checkpoint is known.
    """
    from lightning_pz.evaluation.groups import GRID_DIM, EvaluateConfig

    found, defaults = [], EvaluateConfig().plain()
    for path in sorted((logs / "evaluate" / env).glob("*/summary.json")):
        summary, identity = json.loads(path.read_text()), path.with_name("identity.json")
        if "policy" not in summary:
            continue  # of policies of several sizes: a translation
        content = json.loads(identity.read_text()) if identity.is_file() else {}
        # Earlier versions knew no other latents; a grid draws none.
        drawn = {"latents": "gaussian" if summary["latent_dim"] > GRID_DIM else None}
        own = defaults | drawn | (content.get("settings") or _read_yaml(path.with_name("config.yaml")))
        own |= {key: summary[key] for key in ("policies", "episodes")}  # of those that there were
        fit = logs / "fit" / env / Path(summary["checkpoint"]).parent.parent.name
        about = fit / "summary.json"
        model = model_words(_read_yaml(fit / "config.yaml"))
        found.append(summary | {
            "folder": str(path.parent), "settings": {key: own.get(key) for key in _DECISIVE},
            "model": model | {"encoder": summary.get("encoder", model["encoder"])}, "fit": fit.name, "grown": is_grown(fit),
            "pool": Path(json.loads(about.read_text())["pool"]).name if about.is_file() else "",
            "pool_digest": content.get("pool"), "checkpoint_digest": content.get("checkpoint"),
        })  # fmt: skip
    digests = {e["checkpoint"]: e["checkpoint_digest"] for e in found if e["checkpoint_digest"]}
    return [e | {"content": e["checkpoint_digest"] or digests.get(e["checkpoint"], e["checkpoint"])} for e in found]


def task_dimensions(group: Group, evaluations: Sequence[dict[str, Any]], tolerance: float) -> list[TaskDimension]:
    """Return the task-recovery dimension of every task; empty where nothing of this policy size was evaluated.

    The checkpoints of the group count first; where none of them was evaluated, those of other fits of the same policy size
    and of the same encoder and loss do, of the pool that was evaluated at the most latent sizes; of grown pools only if the
    group's is grown. Evaluations of several pools are never averaged: what they recover are different policies. Nor are those
    of several bottlenecks or settings.

    Raises:
        UserError: Evaluations of the group's own of which the one is as good as the other, but which cannot be averaged. Those of
            other fits are none then.
    """
    of_size = [e for e in evaluations if e.get("policy") == group.policy]
    first, model = group.runs[0], model_words(group.runs[0].config)
    own = _own(group, of_size)
    alike = [e for e in of_size if all(e["model"][key] == model[key] for key in _TRAINED)]
    candidates = own or _of_one_pool([e for e in alike if e["grown"] == first.grown])
    words = ", ".join(f"{key} {model[key]}" for key in _TRAINED if model[key] != model_words({})[key])
    try:
        # One for each checkpoint.
        chosen = list({e["content"]: e for e in _of_one_kind(candidates, whole=bool(own))}.values())
        _check_seeds(chosen)
    except UserError:
        if own:
            raise
        return []  # the report asks for evaluations of the group's own
    tasks = list(dict.fromkeys(key.split("/")[0] for e in chosen for key in e if key.endswith("/recovery_best")))
    sizes = sorted({int(e["latent_dim"]) for e in chosen})
    found = []
    for task in tasks:
        metric = BEST_FRESH if all(f"{task}/{BEST_FRESH}" in e for e in chosen) else "recovery_best"
        means = {size: _mean([e for e in chosen if e["latent_dim"] == size], f"{task}/{metric}") for size in sizes}
        value, by_low, by_high = (
            min((size for size in sizes if means[size][end] >= 1 - tolerance), default=math.inf)  # type: ignore[operator]
            for end in range(3)
        )
        at = int(value) if math.isfinite(value) else sizes[-1]
        seeds = len({e["seed"] for e in chosen if e["latent_dim"] == at})
        best, pool = means[at], chosen[0]["pool"]
        ends = (value, by_high, by_low)
        found.append(
            TaskDimension(task, *ends, sizes[-1], best.value, metric, seeds, bool(own), pool, words, best.kind)
        )
    return found


def _own(group: Group, evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the evaluations of a group's checkpoints, known by content, or by the fit's name in earlier versions."""
    best = {run.folder.name: run.folder / "checkpoints" / "best.ckpt" for run in group.runs}
    digests = {name: file_digest(path) if path.is_file() else None for name, path in best.items()}
    return [
        e
        for e in evaluations
        if e["checkpoint_digest"] in {*digests.values()} - {None}
        or (None in (e["checkpoint_digest"], digests.get(e["fit"])) and e["fit"] in digests)
    ]


def _of_one_pool(evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the evaluations of the pool that has the most latent sizes; of equals, the most evaluations."""
    digests = {e["pool"]: e["pool_digest"] for e in evaluations if e["pool_digest"]}
    by_pool: dict[str, list[dict[str, Any]]] = {}
    for e in evaluations:
        by_pool.setdefault(e["pool_digest"] or digests.get(e["pool"], e["pool"]), []).append(e)
    return max(by_pool.values(), key=lambda own: (len({e["latent_dim"] for e in own}), len(own)), default=[])


def _of_one_kind(evaluations: Sequence[dict[str, Any]], *, whole: bool) -> list[dict[str, Any]]:
    """Return the evaluations of one bottleneck and one set of settings that has the most latent sizes.

    Of equals, that of the most checkpoints, then of the most episodes; `UserError` if there still are several, or if `whole`
    and a checkpoint has another set alone.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for e in evaluations:
        kind = {"bottleneck": e["model"]["bottleneck"]} | e["settings"]
        # A grid of latents, which draws none, goes with any that are drawn.
        drawn = sorted({o["settings"]["latents"] for o in evaluations}, key=str)
        for latents in drawn if kind["latents"] is None else [kind["latents"]]:
            found.setdefault(json.dumps(kind | {"latents": latents}), []).append(e)

    def rank(own: list[dict[str, Any]]) -> tuple[int, int, int]:
        sizes, checkpoints = ({e[key] for e in own} for key in ("latent_dim", "content"))
        return len(sizes), len(checkpoints), own[0]["policies"] * own[0]["episodes"]

    best, *others = sorted(found.values(), key=rank, reverse=True) or [[]]
    known = {e["content"]: e for e in best}
    for own in others:
        for e in own:
            if e not in best and (rank(own) == rank(best) or (whole and e["content"] not in known)):
                _refuse(known.get(e["content"], best[-1]), e)
    return best


def _check_seeds(evaluations: Sequence[dict[str, Any]]) -> None:
    """Raise `UserError` for two checkpoints of one latent size and one training seed, which are no sample of seeds."""
    known: dict[tuple[int, int], dict[str, Any]] = {}
    for e in evaluations:
        if (other := known.setdefault((e["latent_dim"], e["seed"]), e)) is not e:
            _refuse(other, e)


def _refuse(one: dict[str, Any], other: dict[str, Any]) -> NoReturn:
    drawn = all(e["settings"]["latents"] for e in (one, other))
    plain = [{"bottleneck": e["model"]["bottleneck"], **e["settings"]} for e in (one, other)]
    plain = [{key: value for key, value in each.items() if drawn or key != "latents"} for each in plain]
    differs = first_difference(*plain) or f"both are of k = {one['latent_dim']} and training seed {one['seed']}"
    raise UserError(
        f"evaluations are averaged over training seeds, but {one['folder']} and {other['folder']} are no such sample: {differs}. "
        "Move one of them away, or evaluate all checkpoints alike"
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    """Return what a file of settings holds, nothing if there is none that can be read."""
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _mean(evaluations: Sequence[dict[str, Any]], key: str) -> Estimate:
    """Return the mean over seeds of a metric with its interval or range, of a single one that over policies.

    NaN, which passes no threshold, if one is missing.
    """
    each = [found for e in evaluations if (found := read_estimate(e, key)) is not None]
    if not each or len(each) < len(evaluations):
        return UNKNOWN
    if len(each) == 1:
        return each[0]
    value, low, high = np.mean([found[:3] for found in each], axis=0)
    return widened(mean_interval(np.array([found.value for found in each])), value, low, high)
