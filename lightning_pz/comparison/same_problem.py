"""Holds runs that are compared to one environment and one task, known by their content, and tells of other versions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_pz.common.errors import UserError
from lightning_pz.common.identity import digest, first_difference
from lightning_pz.envs.specs import without_paths

if TYPE_CHECKING:
    from lightning_pz.comparison.search_runs import SearchRun

_UNEQUAL = 2
"""How many times as many evaluations one contender must have as another to be told."""
_WORDS = {"env.source": "the digest of the environment's source", "task_source": "the digest of the task's source"}


def check_same_problem(name: str, runs: Sequence[SearchRun]) -> None:
    """Raise `UserError` for the first run whose environment or task is surely not that of one before it.

    A run of an earlier version passes where it kept nothing to compare.
    """
    kinds: dict[str, tuple[dict[str, Any], SearchRun]] = {}
    for run in runs:
        mine = _problem(run.identity, run.identity)
        for theirs, other in kinds.values():
            if (told := _difference(mine, theirs)) is not None:
                raise UserError(
                    f"expected all runs on {name} to be of one environment and one task, but in {run.folder} {told} as in "
                    f"{other.folder}: give these folders to a report each, or leave one out"
                )
        kinds.setdefault(digest(mine), (mine, run))


def other_problem(run: SearchRun, evaluation: Mapping[str, Any]) -> str | None:
    """Return in words what surely differs between a run's environment and task and those of an evaluation's identity.

    None where nothing does, as far as both have kept it.
    """
    sources = evaluation.get("tasks", {})
    source = {"task_source": sources[run.task]} if run.task in sources else {}
    return _difference(_problem(evaluation, source), _problem(run.identity, run.identity))


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


def evaluations_note(tasks: Iterable[Mapping[str, Sequence[SearchRun]]]) -> str | None:
    """Return one sentence if contenders of a task, with their runs, had unequal numbers of evaluations to choose from.

    A search's return is that of the best policy in its evaluations, which cost no budget: with more of them it may stop
    earlier for nothing.
    """
    found: dict[int, str] = {}
    for contenders in tasks:
        counts = {name: round(sum(len(run.steps) for run in runs) / len(runs)) for name, runs in contenders.items()}
        if max(counts.values()) > _UNEQUAL * min(counts.values()):
            found |= {count: name for name, count in counts.items()}
    if not found:
        return None
    (few, least), *_, (many, most) = sorted(found.items())
    return (
        f"The return of a search is that of the best policy in its evaluations, which cost no budget, and searches of one task had "
        f"unequal numbers of them: from {few} ({least}) to {many} ({most}) a run. With more of them a better one is found; run them "
        "with one `--evaluate_every` to compare returns. Areas are of the incumbents, and choose nothing."
    )


def _problem(identity: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an identity keeps of its environment, and `task_source` of a task, by the words that readers get."""
    env = without_paths(identity.get("env") or {})
    if env:
        # Kept only where there are some.
        env = {"choices": []} | env
    if "kwargs" in env:
        # Not as the text that it is kept as, of which an error would show the beginning alone.
        env["kwargs"] = json.loads(env["kwargs"] or "[{}, []]")
    kept = {f"env.{key}": value for key, value in env.items()}
    kept |= {key: source[key] for key in ("task_source",) if key in source}
    return {_WORDS.get(key, key): value for key, value in kept.items()}


def _difference(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    both = [key for key in mine if key in theirs]
    return first_difference({key: mine[key] for key in both}, {key: theirs[key] for key in both})
