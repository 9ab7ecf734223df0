"""How often the intervals of tables and figures hold the truth: `python -m sweeps coverage`.

Draws samples whose truth is known, and leaves in `logs/sweeps/coverage` `table.md` and `table.csv`: the share of samples
whose interval holds the truth, and beside it that of the percentile bootstrap. About a minute of one core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lightning_pz.common.files import write_text
from lightning_pz.common.statistics import FEWEST, interquartile, iqm, mean_interval, percentiles
from lightning_pz.common.tables import Table
from lightning_pz.evaluation.metrics import over_seeds
from sweeps.options import CoverageOptions

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
POPULATIONS: dict[str, Draw] = {
    "normal": lambda generator, shape: generator.normal(size=shape),
    "skewed": lambda generator, shape: generator.exponential(size=shape) - 1,
    "heavy tails": lambda generator, shape: generator.standard_t(3, size=shape) / 3**0.5,
    "two peaks": lambda generator, shape: (generator.beta(0.5, 0.5, size=shape) - 0.5) * 8**0.5,
}
"""Populations of mean 0 and variance 1: Gaussian, exponential, Student's with 3 degrees of freedom, and an arcsine law, bounded
and thickest at its ends."""
_DRAWS = 300
_TASKS = 8


def measure_coverage(trials: int, seed: int) -> Table:
    """Return a row per statistic and number of runs: the share of samples whose interval or range holds the truth."""
    generator = np.random.default_rng(seed)
    several = (2, 3, 4, 5, 6, 8, 10, 15, 20)
    kinds: dict[str, tuple[Callable[..., tuple[float, float]], Sequence[int]]] = {
        "mean": (mean_coverage, (*several, 100, 200)),
        "interquartile mean": (iqm_coverage, several),
        f"interquartile mean over {_TASKS} tasks": (partial(iqm_coverage, tasks=_TASKS), (2, 3, 5, 10)),
        "mean over seeds that share 50 policies": (seeds_coverage, (2, 3, 4, 5, 10)),
    }
    rows: list[list[Any]] = []
    for name, (cover, sizes) in kinds.items():
        for runs in sizes:
            shown = "interval" if runs >= FEWEST or "tasks" in name else "range"
            shares = [share for draw in POPULATIONS.values() for share in cover(draw, runs, trials, generator)]
            rows.append([name, runs, shown, *shares])
    columns = [f"{name}{end}" for name in POPULATIONS for end in ("", "_bootstrap")]
    return Table(["statistic", "runs", "shown", *columns], rows)


def mean_coverage(draw: Draw, runs: int, trials: int, generator: np.random.Generator) -> tuple[float, float]:
    """Return the coverage of `mean_interval` and of the percentile bootstrap."""
    samples = draw(generator, (runs, trials))
    ends = np.array([mean_interval(sample)[1:3] for sample in samples.T]).T
    return _holds(ends, 0.0), _holds(resampled([samples], lambda x: x.mean(0), generator), 0.0)


def iqm_coverage(
    draw: Draw, runs: int, trials: int, generator: np.random.Generator, tasks: int = 1
) -> tuple[float, float]:
    """Return the coverage of `interquartile` for the runs of one or more tasks, and of the percentile bootstrap.

    Several tasks lie two standard deviations apart from first to last.
    """
    levels, many = (np.linspace(-1, 1, tasks), 100_000) if tasks > 1 else (np.zeros(1), 400_000)
    strata = [level + draw(generator, (runs, trials)) for level in levels]
    truth = float(iqm(np.concatenate([level + draw(generator, (many,)) for level in levels])))
    few = [stratum[:, : max(1, trials // tasks)] for stratum in strata]
    return _holds(np.stack(interquartile(strata)[1:3]), truth), _holds(resampled(few, iqm, generator), truth)


def seeds_coverage(draw: Draw, runs: int, trials: int, generator: np.random.Generator) -> tuple[float, float]:
    """Return the coverage of `over_seeds`, seeds and policies each adding to the metric, and of the nested bootstrap."""
    ours, theirs = [], []
    for _ in range(max(1, trials // 5)):
        # The mean over policies varies as much as a seed does.
        policies, own = 50**0.5 * draw(generator, (50,)), draw(generator, (runs, 1))
        each = own + policies + draw(generator, (runs, 50))
        drawn = np.stack([each[:, generator.integers(50, size=50)].mean(1) for _ in range(_DRAWS)], axis=1)
        ours.append(over_seeds(each.mean(1), drawn)[1:3])
        picked = generator.integers(runs, size=(runs, _DRAWS))
        theirs.append(percentiles(drawn[picked, np.arange(_DRAWS)].mean(0)))
    return _holds(np.array(ours).T, 0.0), _holds(np.array(theirs).T, 0.0)


def resampled(
    strata: Sequence[np.ndarray], statistic: Callable[[np.ndarray], np.ndarray], generator: np.random.Generator
) -> np.ndarray:
    """Return the ends of the percentile bootstrap that resamples each stratum, (runs, trials), by itself, (2, trials)."""
    draws = []
    for _ in range(_DRAWS):
        picked = [s[generator.integers(len(s), size=s.shape), np.arange(s.shape[1])] for s in strata]
        draws.append(statistic(np.concatenate(picked)))
    return np.stack(percentiles(np.stack(draws)))


def _holds(ends: np.ndarray, truth: float) -> float:
    return float(((ends[0] <= truth) & (truth <= ends[1])).mean())


def run(study: str, options: CoverageOptions) -> None:
    """Measure and leave the tables."""
    table = measure_coverage(options.trials, options.seed)
    folder = Path(options.logs) / "sweeps" / study
    cells = [
        [*row[:3], *(f"{a:.3f} / {b:.3f}" for a, b in zip(row[3::2], row[4::2], strict=True))] for row in table.rows
    ]
    text = (
        f"Share of {options.trials:,} samples whose interval of nominally 95 % holds the truth / that of the percentile "
        f"bootstrap; below {FEWEST} runs of one task it is the range that holds it.\n\n"
        + Table(["of", "runs", "shown", *POPULATIONS], cells).markdown()
    )
    write_text(folder / "table.md", text)
    write_text(folder / "table.csv", table.csv())
    print(f"{text}\n{folder}")
