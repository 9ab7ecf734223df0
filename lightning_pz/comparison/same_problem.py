"""Holds runs that are compared to one environment and one task, known by their content, and tells of other versions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lightning_pz.common.errors import UserError
from lightning_pz.common.identity import digest, first_difference
from lightning_pz.envs.specs import without_paths

if TYPE_CHECKING:
    from lightning_pz.comparison.search_runs import SearchRun

_WORDS = {"env.source": "the digest of the environment's source", "task_source": "the digest of the task's source"}


def check_same_problem(name: str, runs: Sequence[SearchRun]) -> None:
    """Raise `UserError` for the first run whose environment or task is surely not that of one before it.

    A run of an earlier version passes where it kept nothing to compare.
    """
    kinds: dict[str, tuple[dict[str, Any], SearchRun]] = {}
    for run in runs:
        mine = _problem(run)
        for theirs, other in kinds.values():
            both = [key for key in mine if key in theirs]
            told = first_difference({key: mine[key] for key in both}, {key: theirs[key] for key in both})
            if told is not None:
                raise UserError(
                    f"expected all runs on {name} to be of one environment and one task, but in {run.folder} {told} as in "
                    f"{other.folder}: give these folders to a report each, or leave one out"
                )
        kinds.setdefault(digest(mine), (mine, run))


def versions_note(tasks: Iterable[Sequence[SearchRun]]) -> str | None:
    """Return one sentence on the packages of which runs of a task have several versions; None where there are none.

    Versions that earlier versions of this package did not keep are not counted.
    """
    found: dict[str, Counter[str]] = {}
    for runs in tasks:
        kept: dict[str, Counter[str]] = {}
        for run in runs:
            for package, version in run.identity.get("versions", {}).items():
                kept.setdefault(package, Counter())[version] += 1
        for package, counts in kept.items():
            if len(counts) > 1:
                found.setdefault(package, Counter()).update(counts)
    if not found:
        return None
    words = [
        f"{package} ({', '.join(f'{version} in {count}' for version, count in sorted(counts.items()))})"
        for package, counts in sorted(found.items())
    ]
    return (
        f"Runs of one task were made with different versions of {' and '.join(words)}: what differs between them may come "
        "from that. Run the older ones again to know."
    )


def _problem(run: SearchRun) -> dict[str, Any]:
    """Return what a run kept of its environment and its task, by the words that readers get."""
    env = without_paths(run.identity.get("env") or {})
    if env:
        # Kept only where there are some.
        env = {"choices": []} | env
    if "kwargs" in env:
        # Not as the text that it is kept as, of which an error would show the beginning alone.
        env["kwargs"] = json.loads(env["kwargs"] or "[{}, []]")
    kept = {f"env.{key}": value for key, value in env.items()}
    kept |= {key: run.identity[key] for key in ("task_source",) if key in run.identity}
    return {_WORDS.get(key, key): value for key, value in kept.items()}
