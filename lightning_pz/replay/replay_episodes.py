"""Plays kept policies' own episodes of the growth again: the same numbers, bit for bit, and no step of any budget.

A grown pool keeps its episodes as seeds, as a random pool keeps its policies. Nothing new is learned from the world: every
transition was seen, and counted, when the pool was grown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from lightning_pz.common.errors import UserError
from lightning_pz.envs.episode_identity import environment_now
from lightning_pz.envs.episodes import Ends, Observer, Step, TaskReturns, finite_rows, play_episodes
from lightning_pz.envs.forward import BatchForward
from lightning_pz.envs.own_tasks import TaskFunction, earn
from lightning_pz.envs.simulators import make_simulator
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import find_tasks, task_names
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.recipe_identity import library_versions
from lightning_pz.pool.store import Pool
from lightning_pz.pool.unplayed import unplayed

_CHUNK_POLICIES, _CHUNK_FLOATS = 256, 1 << 26

Rows = Int[np.ndarray, " episodes"]
"""Numbers of kept policies in their pool, in any order."""


def replay_episodes(
    pool: Pool,
    rows: Rows,
    observe: Callable[[Rows], Sequence[Observer]] = lambda rows: (),
    *,
    chunk: int | None = None,
    threads: int = 1,
    on_ended: Callable[[int], object] = lambda count: None,
) -> Ends:
    """Play the episodes again by which some policies came into a grown pool, and return how they ended.

    `observe` is called with the rows of each chunk, in order, and gives the observers of its episodes, one per slot;
    `on_ended` with the number of episodes that have just ended. Results depend neither on the chunk nor on the threads. Every
    episode is compared with what the pool keeps of it: its length, some of its states, its returns on tasks of this package.

    Raises:
        UserError: A random pool, whose policies were never played; an earlier pool that lacks what is needed; an environment
            that is gone or was changed; an episode that comes out otherwise than in the growth.
    """
    recipe, spec = growth_recipe(pool), EnvSpec.from_dict(environment_now(pool.meta["env"], pool.folder))
    horizon, seeds = recipe.episode_steps(spec.horizon), growth_seeds(pool, rows)
    names = [name for name in pool.meta["growth"]["tasks"] if name in task_names(spec.id)]
    tasks, simulator = find_tasks(spec.id, names), None
    if chunk is None:
        chunk = max(1, min(_CHUNK_POLICIES, _CHUNK_FLOATS // pool.layout.num_params))
    ends = [Ends(np.empty(0, dtype=np.int64), np.empty(0, dtype=bool))]
    for first in range(0, len(rows), chunk):
        own = rows[first : first + chunk]
        seen, ledger = _KeptStates(pool.arrays["visited"][own]), TaskReturns(tasks, len(own), decisive=False)
        played = seeds[first : first + chunk]
        act = BatchForward(pool.network, pool.params(own), seeds=played)
        simulator = simulator or make_simulator(spec, min(chunk, len(rows)), threads)
        observers: list[Observer] = [seen, ledger, *observe(own)]
        end = play_episodes(act, simulator, played, horizon, observers, on_ended)
        _check(pool, own, end, seen, dict(zip(names, ledger.totals, strict=True)))
        ends.append(end)
    return Ends(*(np.concatenate([getattr(end, name) for end in ends]) for name in ("lengths", "valid")))


def replayed_returns(
    pool: Pool,
    rows: Rows,
    tasks: Mapping[str, TaskFunction],
    *,
    threads: int = 1,
    on_ended: Callable[[int], object] = lambda count: None,
) -> Float[np.ndarray, "episodes tasks"]:
    """Return what policies' own episodes would have earned with any rewards, (N, T) undiscounted, exact.

    Raises `UserError` as `replay_episodes` does, or for a reward that is not finite.
    """
    parts: list[_AnyReturns] = []

    def observe(own: Rows) -> list[_AnyReturns]:
        parts.append(_AnyReturns(tasks, own))
        return parts[-1:]

    replay_episodes(pool, rows, observe, threads=threads, on_ended=on_ended)
    return np.concatenate([np.empty((0, len(tasks))), *[part.totals.T for part in parts]])


def growth_seeds(pool: Pool, rows: Rows) -> list[int]:
    """Return the seeds of the episodes by which policies came into a grown pool."""
    recipe = growth_recipe(pool)
    generations = recipe.generation_of(pool.arrays["indices"][rows])
    seed_of_generation = {int(number): recipe.episode_seed(int(number)) for number in np.unique(generations)}
    return [seed_of_generation[int(number)] for number in generations]


def growth_recipe(pool: Pool) -> GrownRecipe:
    """Return the settings of a growth that decide its episodes; those that do not are at their defaults.

    A random pool, or an earlier one that does not keep them, raises `UserError`.
    """
    if pool.meta.get("recipe") != "grown":
        raise UserError(
            f"{pool.folder} {unplayed(pool.meta)}, so there are no episodes to play again: "
            "give a grown pool (python -m lightning_pz.collect --recipe grown)"
        )
    settings = pool.meta["growth"].get("settings", {})
    names = ("seed", "first", "directions", "population", "horizon")
    missing = [name for name in names if name not in settings]
    missing += [name for name in ("lengths", "visited", "returns") if name not in pool.arrays]
    if missing:
        raise UserError(
            f"{pool.folder} was grown by an earlier version, which did not keep {', '.join(missing)}, so its episodes cannot "
            "be played again: grow it anew (python -m lightning_pz.collect --recipe grown)"
        )
    return GrownRecipe(**{name: settings[name] for name in names})


def finite_rewards(task: TaskFunction, step: Step, rows: Rows, name: str = "the task") -> np.ndarray:
    """Return a task's rewards of one step, (n,) float64; `UserError` says in whose episode one is not finite."""
    rewards = earn(task, step.transition, step.number, step.seeds, step.active)
    finite = finite_rows(rewards)
    if finite is not None:
        slot = int(step.active[int(np.argmin(finite))])
        raise UserError(
            f"{name} gave a reward that is not finite, {rewards[~finite][0]}, in step {step.number + 1} of the episode of "
            f"the pool's policy {rows[slot]}, with seed {step.seeds[slot]}: mend the task"
        )
    return rewards


class _AnyReturns:
    def __init__(self, tasks: Mapping[str, TaskFunction], rows: Rows) -> None:
        self._tasks, self._rows = tasks, rows
        self.totals = np.zeros((len(tasks), len(rows)))

    def see(self, step: Step) -> None:
        for total, (name, task) in zip(self.totals, self._tasks.items(), strict=True):
            total[step.active] += finite_rewards(task, step, self._rows, f"task {name!r}")


class _KeptStates:
    """Notes which of the states that the pool keeps of each episode, (S, m, O) float32, were seen again."""

    def __init__(self, kept: np.ndarray) -> None:
        self._kept, self.again = kept, np.zeros(kept.shape[:2], dtype=bool)

    def see(self, step: Step) -> None:
        seen = step.transition.observations.astype(np.float32)[:, None, :]
        self.again[step.active] |= (self._kept[step.active] == seen).all(axis=2)


def _check(pool: Pool, rows: Rows, ends: Ends, seen: _KeptStates, returns: Mapping[str, np.ndarray]) -> None:
    """Raise `UserError` for the first episode that is not the one of the growth."""
    kept, known = pool.arrays, pool.meta["growth"]["tasks"]
    same = {"its length": ends.valid & (ends.lengths == kept["lengths"][rows]), "a state": seen.again.all(1)}
    for name, totals in returns.items():
        before = kept["returns"][rows, known.index(name)]
        same[f"its return on {name}"] = (totals == before) | ~(np.isfinite(totals) | np.isfinite(before))
    for what, equal in same.items():
        if equal.all():
            continue
        then, now = pool.meta.get("versions", {}), library_versions()
        other = [
            f"{name} was {then[name]}, and is {now[name]}" for name in then if now.get(name, then[name]) != then[name]
        ]
        why = (
            f"When it was grown, {', '.join(other)}: install the versions of its pool.json"
            if other
            else "Package versions are as they were, so the environment was changed, does not follow its seed, or is "
            "simulated by another kind of processor, which rounds otherwise: replay where the pool was grown"
        )
        raise UserError(
            f"{pool.folder}: the episode of policy {rows[int(np.argmin(equal))]} is not the one of the growth when it is "
            f"played again; {what} is another. {why}, or grow the pool anew (python -m lightning_pz.collect)"
        )
