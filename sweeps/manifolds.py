"""The dimension estimators on manifolds whose dimension is known: `python -m sweeps manifolds`.

Leaves in `logs/sweeps/manifolds` `table.md` and `table.csv`: the mean estimate over clouds beside its mean standard
error, for every manifold with 0, 1 and 5 % noise; other points, clouds or seeds have a folder of their own beside it.
About 15 seconds of one core with the default 2,000 points and 5 clouds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lightning_pz.common.files import write_text
from lightning_pz.common.progress import ProgressBar
from lightning_pz.common.tables import Table
from lightning_pz.probes.measure import measure_space
from sweeps.folders import changed_options, tables_folder
from sweeps.options import ManifoldOptions

NOISES = (0.0, 0.01, 0.05)
"""Standard deviation of the noise in every coordinate, as a share of the root mean square spread of a coordinate."""
ESTIMATORS = ("participation_ratio", "n95", "two_nn", "gride_1", "gride_4", "gride_16", "levina_bickel", "local_pca")
_NEAR, _WIDE = ("two_nn", "gride_1"), ("gride_4", "gride_16", "levina_bickel")
Range = tuple[int, int]
_Draw = Callable[[int, np.random.Generator], np.ndarray]  # from a number of points and a generator to points, (N, D)


@dataclass(frozen=True)
class Manifold:
    """A manifold to draw from."""

    name: str  # with its dimension
    dimension: int
    draw: _Draw
    # Documented bias at 2,000 points, from and to, % of the dimension, by level of noise: of estimators that read the first
    # two neighbors, of those that read 8 to 32, and of local PCA over 100, at every level.
    near: tuple[Range, Range, Range]
    wide: tuple[Range, Range, Range]
    local: Range


def _linear(count: int, generator: np.random.Generator) -> np.ndarray:
    axes = np.linalg.qr(generator.normal(size=(20, 5)))[0]
    return generator.normal(size=(count, 5)) @ axes.T


def _sphere(count: int, generator: np.random.Generator) -> np.ndarray:
    points = generator.normal(size=(count, 6))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _swiss_roll(count: int, generator: np.random.Generator) -> np.ndarray:
    angle = 1.5 * np.pi * (1 + 2 * generator.random(count))
    return np.stack([angle * np.cos(angle), 21 * generator.random(count), angle * np.sin(angle)], 1)


def _torus(count: int, generator: np.random.Generator) -> np.ndarray:
    angle = 2 * np.pi * generator.random((count, 3))
    return np.concatenate([np.cos(angle), np.sin(angle)], 1)


def _network(dimension: int) -> _Draw:
    def draw(count: int, generator: np.random.Generator) -> np.ndarray:
        points, sizes = generator.normal(size=(count, dimension)), (dimension, 64, 64, 50)
        for layer, (inner, outer) in enumerate(itertools.pairwise(sizes)):
            points = points @ generator.normal(size=(inner, outer)) / math.sqrt(inner)
            points = np.tanh(points) if layer < 2 else points
        return points

    return draw


# Noise looks like more dimensions, most at the smallest scale. From about ten dimensions on, 2,000 points are too few:
# neighborhoods reach as far as the cloud, and ratios of distances give too small a dimension. Local PCA sees a curved
# sheet as flat only where 100 points cover a small part of it.
MANIFOLDS = (
    Manifold("linear 5", 5, _linear, ((-12, 14), (-12, 14), (-6, 22)), ((-6, 7), (-6, 7), (-4, 10)), (0, 1)),
    Manifold("sphere 5", 5, _sphere, ((-12, 14), (-12, 14), (-12, 16)), ((-8, 3), (-8, 3), (-8, 4)), (3, 16)),
    Manifold("Swiss roll 2", 2, _swiss_roll, ((-15, 10), (-10, 18), (25, 60)), ((-8, 4), (-8, 5), (-5, 20)), (0, 50)),
    Manifold("torus 3", 3, _torus, ((-12, 13), (-12, 13), (-3, 27)), ((-3, 9), (-3, 9), (0, 12)), (70, 95)),
    Manifold("MLP-embedded 3", 3, _network(3), ((-13, 13), (-10, 17), (25, 95)), ((-12, 5), (-12, 6), (-6, 28)), (0, 8)),
    Manifold("MLP-embedded 8", 8, _network(8), ((-19, 6), (-19, 6), (-17, 8)), ((-23, -5), (-23, -5), (-22, -4)), (0, 12)),
    Manifold("MLP-embedded 16", 16, _network(16), ((-33, -10), (-33, -10), (-32, -9)), ((-43, -22),) * 3, (-4, 4)),
    Manifold("cube 20", 20, lambda count, generator: generator.random((count, 20)), ((-33, -11),) * 3, ((-35, -22),) * 3, (-1, 1)),
)  # fmt: skip


@dataclass(frozen=True)
class ManifoldRow:
    """Estimates of one manifold at one level of noise."""

    manifold: Manifold
    noise: float  # share of the spread
    # (mean over clouds, mean standard error, standard deviation over clouds) by estimator
    estimates: dict[str, tuple[float, float, float]]

    @property
    def documented(self) -> dict[str, Range]:
        """Documented bias, from and to, in % of the dimension, by estimator; spectral measures see the span and have none."""
        level, own = NOISES.index(self.noise), self.manifold
        known = dict.fromkeys(_NEAR, own.near[level]) | dict.fromkeys(_WIDE, own.wide[level])
        return known | {"local_pca": own.local}

    def outside(self) -> list[str]:
        """Return the estimators whose mean is not within the documented bias."""
        bias = {name: 100 * (self.estimates[name][0] / self.manifold.dimension - 1) for name in self.documented}
        return [name for name, (low, high) in self.documented.items() if not low <= bias[name] <= high]


def measure_manifolds(
    manifolds: Sequence[Manifold],
    noises: Sequence[float],
    points: int,
    clouds: int,
    seed: int,
    progress: bool | None = None,
) -> list[ManifoldRow]:
    """Return a row per manifold and level of noise, averaged over independent clouds of so many points.

    A cloud is a function of (seed, manifold, its number); noise comes on top of the same points.
    """
    found = []
    with ProgressBar(total=len(manifolds) * len(noises) * clouds, unit="cloud", progress=progress) as bar:
        for (place, manifold), noise in itertools.product(enumerate(manifolds), noises):
            estimates = []
            for cloud in range(clouds):
                generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(place, cloud)))
                drawn = manifold.draw(points, generator)
                scale = noise * math.sqrt(float(((drawn - drawn.mean(0)) ** 2).mean()))
                drawn = drawn + scale * generator.normal(size=drawn.shape)
                probe = measure_space(torch.from_numpy(drawn), seed=cloud, surrogate=False)
                estimates.append([[probe.estimates[n].value, probe.estimates[n].standard_error] for n in ESTIMATORS])
                bar.update()
            values, errors = np.moveaxis(np.array(estimates), 2, 0)
            spread = values.std(0, ddof=1) if clouds > 1 else np.full(len(ESTIMATORS), np.nan)
            columns = zip(values.mean(0).tolist(), errors.mean(0).tolist(), spread.tolist(), strict=True)
            found.append(ManifoldRow(manifold, noise, dict(zip(ESTIMATORS, columns, strict=True))))
    return found


def run(study: str, options: ManifoldOptions) -> None:
    """Measure all manifolds and leave the tables."""
    folder = tables_folder(options.logs, study, [], changed_options(options))
    rows = measure_manifolds(MANIFOLDS, NOISES, options.points, options.clouds, options.seed)
    text = (
        f"{options.points:,} points, mean of {options.clouds} clouds +- mean standard error of one; noise as a share of the "
        "spread. In brackets the documented bias at 2,000 points, % of the dimension; an estimate outside it is marked (!). "
        "Spectral measures count the directions that a manifold spans, so they have none.\n\n"
    )
    text += Table(["manifold", "noise", *ESTIMATORS], [_cells(row) for row in rows], {"noise": ".0%"}).markdown()
    columns = [f"{name}{end}" for name in ESTIMATORS for end in ("", "_standard_error", "_spread")]
    numbers = [[r.manifold.name, r.manifold.dimension, r.noise, *itertools.chain(*r.estimates.values())] for r in rows]
    write_text(folder / "table.md", text)
    write_text(folder / "table.csv", Table(["manifold", "dimension", "noise", *columns], numbers).csv())
    print(f"{text}\n{folder}")


def _cells(row: ManifoldRow) -> list[Any]:
    cells = {name: f"{value:.2f} +- {error:.2f}" for name, (value, error, _) in row.estimates.items()}
    for name, (low, high) in row.documented.items():
        cells[name] += f" [{low:+d}, {high:+d}]" + " (!)" * (name in row.outside())
    return [row.manifold.name, row.noise, *cells.values()]
