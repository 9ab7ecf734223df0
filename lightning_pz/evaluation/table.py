"""One table over several checkpoints: means over training seeds, with intervals over seeds and policies, or ranges of few seeds."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightning_pz.common.console import table
from lightning_pz.common.files import replacing
from lightning_pz.common.statistics import FEWEST, Estimate
from lightning_pz.evaluation.metrics import METRICS, over_seeds
from lightning_pz.evaluation.run import Evaluation

SHOWN = ("recovery_best", "reconstruction_gap", "best_in_pool", "best_latent")
"""Metrics of the console and Markdown tables, few enough for a terminal; the CSV holds all."""
_SIZES = {"small": 0, "medium": 1, "large": 2}


@dataclass(frozen=True)
class Cell:
    """One policy size and latent size on one task.

    Attributes:
        policy: Name of the policy preset.
        latent_dim: k.
        task: Name of the task.
        seeds: Training seeds behind it.
        values: Mean over seeds with its interval or range, by metric; NaN where a ratio has no range to compare with.
    """

    policy: str
    latent_dim: int
    task: str
    seeds: tuple[int, ...]
    values: dict[str, Estimate]


def cells(evaluations: Sequence[Evaluation]) -> list[Cell]:
    """Combine evaluations that differ in the training seed alone, task by task in the order of the tasks."""

    def key(evaluation: Evaluation) -> tuple[int, str, int, int]:
        s = evaluation.summary
        return _SIZES.get(s["policy"], len(_SIZES)), s["policy"], s["latent_dim"], s["seed"]

    found = []
    for (_, policy, k), group in itertools.groupby(sorted(evaluations, key=key), lambda e: key(e)[:3]):
        members = list(group)
        for task in members[0].draws:
            values = {}
            for metric in METRICS:
                numbers = [member.summary[f"{task}/{metric}"] for member in members]
                means = np.array([np.nan if number is None else number for number in numbers], dtype=float)
                values[metric] = over_seeds(means, np.stack([m.draws[task][metric] for m in members]))
            found.append(Cell(policy, k, task, tuple(m.summary["seed"] for m in members), values))
    tasks = list(evaluations[0].draws)
    return sorted(found, key=lambda cell: tasks.index(cell.task))


ENDS = f"[95 % interval] over seeds and policies; below {FEWEST} seeds (lowest to highest), their range; of one seed neither"
"""What stands behind the numbers of the tables."""


def _text(value: Estimate) -> str:
    if not np.isfinite(value.value):
        return "none"
    digits = 2 if max(abs(x) for x in value[:3] if np.isfinite(x)) < 20 else 0
    return f"{value.value:.{digits}f}{value.ends(f'.{digits}f')}"


def rows(
    found: Sequence[Cell], metrics: Sequence[str], published: Mapping[str, Mapping] | None = None
) -> list[list[str]]:
    """Lay cells out as text, a header first.

    Args:
        found: The cells.
        metrics: Which metrics to show.
        published: Recovery that a paper reports, by task, policy and latent size, to stand beside ours.
    """
    header = ["task", "policy", "k", "seeds", *metrics, *(["published"] if published else [])]
    lines = [header]
    for cell in found:
        line = [cell.task, cell.policy, str(cell.latent_dim), str(len(cell.seeds))]
        line += [_text(cell.values[metric]) for metric in metrics]
        if published:
            number = published.get(cell.task, {}).get(cell.policy, {}).get(cell.latent_dim)
            line.append("" if number is None else f"{number:.2f}")
        lines.append(line)
    return lines


def console(lines: Sequence[Sequence[str]]) -> str:
    """Return rows for a terminal."""
    return table(lines[1:], lines[0])


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table."""
    text = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(lines[0]), *text[1:]]) + "\n"


def write_csv(found: Sequence[Cell], path: Path) -> None:
    """Write every metric of every cell with its ends and their kind."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        columns = [f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high", "_interval")]
        writer.writerow(["task", "policy", "latent_dim", "seeds", *columns])
        for cell in found:
            numbers = [number for metric in METRICS for number in cell.values[metric]]
            writer.writerow([cell.task, cell.policy, cell.latent_dim, len(cell.seeds), *numbers])
