"""What the workers of a growth exchange in a round: `python -m sweeps exchange --env halfcheetah`.

Plays the first round of a growth in 1, 2, 4, 8 and 16 pieces, one after another in this process, each through the bytes that
a worker gets and gives, and leaves in `logs/sweeps/exchange` `round.csv`, measured, and `plan.csv`: what follows for more
workers, each of which climbs one direction. All seconds are CPU seconds of one core. About five minutes.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from lightning_pz.common.files import write_text
from lightning_pz.common.tables import Table
from lightning_pz.common.threads import one_thread
from lightning_pz.envs.presets import load_preset, resolve_env
from lightning_pz.envs.specs import env_spec
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.growth.archive import nearest_others
from lightning_pz.growth.climb_pieces import play_piece
from lightning_pz.growth.resume import save_growth
from lightning_pz.growth.rounds import Grower, Growth, put_together
from lightning_pz.policy import Layout, PolicyNetwork
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.states import StateCounts, sample_states
from sweeps.options import ExchangeOptions

_Result = TypeVar("_Result")
_PIECES = (1, 2, 4, 8, 16)
_PLANNED = (16, 100, 1000, 10_000)
_NETWORK = 1e9
"""Bytes a second that reach the process which keeps the growth, by 10 Gbit/s."""


class RoundCost(NamedTuple):
    """What a round took in pieces: bytes, and CPU seconds of one core."""

    pieces: int
    found: int  # policies
    sent: int
    returned: int
    packing: float  # pieces and what they found, both ways, where the growth is kept
    slowest: float  # piece
    playing: float  # all pieces
    choosing: float  # directions and starts
    thinning: float  # with putting together
    saving: float

    @property
    def keeping(self) -> float:
        """Seconds of a round in which all workers wait."""
        return self.packing + self.choosing + self.thinning + self.saving


def measure_round(grower: Grower, growth: Growth) -> RoundCost:
    """Play the next round of a growth, in as many pieces as the grower cuts it into."""
    cut, choosing = _timed(lambda: grower.cut(growth))
    sent, packing = _timed(lambda: [pickle.dumps(piece, protocol=5) for piece in cut])
    found, times = [], []
    for blob in sent:
        piece = pickle.loads(blob)
        rows, seconds = _timed(lambda piece=piece: play_piece(piece))  # type: ignore[misc]
        found.append(pickle.dumps(rows, protocol=5))
        times.append(seconds)
    parts, unpacking = _timed(lambda: [pickle.loads(blob) for blob in found])
    kept, thinning = _timed(lambda: grower.keep(growth, cut, *put_together(parts)))
    with tempfile.TemporaryDirectory() as folder:
        _, saving = _timed(lambda: save_growth(Path(folder), kept, {}, {}))
    sizes = (sum(len(rows) for rows, _ in parts), sum(map(len, sent)), sum(map(len, found)))
    return RoundCost(len(cut), *sizes, packing + unpacking, max(times), sum(times), choosing, thinning, saving)


def thinning_seconds(points: int, size: int, for_one: float) -> float:
    """Return how long points take to be thinned out, `for_one` times their square for each sixteenth that goes."""
    seconds = for_one * points**2
    while points > size:
        points = max(size, points - -(-points // 16))
        seconds += for_one * points**2
    return seconds


def plan(one: RoundCost, size: int, for_one: float) -> Table:
    """Return what a round takes with more workers than were measured, each with a direction of its own and a full pool.

    `one` is a round of a direction for each piece; `size` the policies that a pool keeps; `for_one` seconds to find the
    nearest neighbor of a point, over the number of points.
    """
    rows: list[list[Any]] = []
    for workers in _PLANNED:
        share = workers / one.pieces
        bytes_in, saved = one.returned * share, one.saving * size / one.found
        receiving = max(bytes_in / _NETWORK, one.packing * share)
        thinning = thinning_seconds(size + round(one.found * share), size, for_one)
        waiting = receiving + thinning + saved
        busy = one.slowest / (one.slowest + waiting)
        rows.append(
            [workers, bytes_in / 1e9, one.slowest, receiving, thinning, saved, f"{100 * busy:.2g} %"]
        )  # fmt: skip
    names = ["workers", "GB returned", "climbing, s", "receiving, s", "thinning out, s", "saving, s", "busy"]
    return Table(names, rows, dict.fromkeys(names[1:-1], ".3g"))


def _timed(work: Callable[[], _Result]) -> tuple[_Result, float]:
    start = time.process_time()
    return work(), time.process_time() - start


def _start(options: ExchangeOptions) -> tuple[Callable[[int], Grower], Growth]:
    """Return a function from the number of pieces to a grower, and the growth after its first policies."""
    env, policy = resolve_env(options.env)["env"], load_preset("policy", options.policy)["policy"]
    spec = env_spec(env["id"], env.get("horizon"), env.get("kwargs"))
    layout = Layout(spec.observation_size, tuple(policy["hidden"]), spec.action_size)
    recipe = GrownRecipe(
        first=options.first, generations=options.generations, horizon=options.horizon, seed=options.seed,
        states=StateCounts(episodes=4),
    )  # fmt: skip
    sample = sample_states(spec, recipe.states, layout, recipe.prior, recipe.seed, progress=False)
    box = (torch.tensor(spec.action_low), torch.tensor(spec.action_high))
    network, tasks = PolicyNetwork(layout, sample.mean, sample.std, *box), find_tasks(spec.id)
    make = lambda pieces: Grower(spec, network, recipe, sample, tasks, groups=pieces)  # noqa: E731
    return make, make(1).begin()


def run(study: str, options: ExchangeOptions) -> None:
    """Measure and leave the tables."""
    with one_thread():
        make, growth = _start(options)
        costs = [measure_round(make(pieces), growth) for pieces in _PIECES]
        points = np.random.default_rng(options.seed).standard_normal((options.points, growth.first.shape[1]))
        _, seconds = _timed(lambda: nearest_others(points))
    rows = [
        [c.pieces, c.sent / 1e6, c.returned / 1e6, c.packing, c.slowest, c.playing, c.choosing, c.thinning, c.saving,
         costs[0].playing / (c.slowest + c.keeping)]
        for c in costs
    ]  # fmt: skip
    names = [
        "pieces", "MB sent", "MB returned", "packing, s", "slowest piece, s", "all pieces, s", "choosing, s",
        "thinning out, s", "saving, s", "times as fast as playing alone",
    ]  # fmt: skip
    tables = {
        "round": Table(names, rows, dict.fromkeys(names[1:], ".3g")),
        "plan": plan(costs[-1], make(1).recipe.size, seconds / options.points**2),
    }
    folder = Path(options.logs) / "sweeps" / study
    for name, table in tables.items():
        write_text(folder / f"{name}.csv", table.csv())
        print(table.markdown())
    print(folder)
