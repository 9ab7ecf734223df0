"""The results pages of the few-episode study and its kin: tables, written from finished runs, with what they say of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_pz.common.tables import Table
from sweeps.few_episodes.episode_lengths import lengths_table
from sweeps.few_episodes.few_counts import count_tables
from sweeps.few_episodes.few_grid import FewGrid
from sweeps.few_episodes.few_tables import SIGNIFICANT, TaskAnswers, all_tables
from sweeps.few_episodes.ledger import RunRow, shipped, write_ledger
from sweeps.results.pages import PageTable
from sweeps.results.publishing import cell_text, made_today, publish_tables

SHOWN = ("counts", "leads", "improvement", "lengths", "claim", "claim-counts", "parts")
"""Tables of the page, without the study's name; the others have a row for every number."""
_INTERVALS = {"improvement": "Newcombe, 95 %", "parts": "Student over runs, 95 %; (...) the range of fewer than four"}
_LEADS = (
    "leads: a higher mean than every rival that ran so far and than doing nothing; significantly: permutation test, p <= 0.05 "
    "against each of them, not corrected for the number of tasks"
)
_NOTES = {
    "counts": _LEADS,
    "leads": f"who leads and by how much; {SIGNIFICANT} significantly; - where ours have fewer than two runs so far, or rivals none",
    "claim-counts": _LEADS.replace("a higher mean", "a larger mean area under the curve"),
    "lengths": "environment steps an episode, mean over all episodes of a contender; lowest to highest contender of each kind",
    "parts": "runs: by count where fewer of them have come to the later ones, whose means are of those alone",
    "claim": "mean return of the answer over the first episodes",
}


def every_table(grid: FewGrid, found: Sequence[TaskAnswers]) -> dict[str, Table]:
    """Return every table of a study by the name of its file."""
    lengths = {f"{grid.name}-lengths": lengths_table(grid, found)} if grid.by == "episodes" else {}
    return all_tables(grid, found) | count_tables(grid, found) | lengths


def page_tables(grid: FewGrid, found: Sequence[TaskAnswers], study: str) -> dict[str, PageTable]:
    """Return the tables of the page by name; one that has nothing to say yet is missing."""
    tables = every_table(grid, found)
    head = table_head(grid, found, study)
    pages = {}
    for shown in SHOWN:
        if (table := tables.get(name := f"{grid.name}-{shown}")) is not None:
            about = head | {"interval": _INTERVALS.get(shown, "none")}
            about |= {"note": _NOTES[shown]} if shown in _NOTES else {}
            rows = [[cell_text(cell) for cell in row] for row in table.rows]
            if any(set(row[2:]) != {"-"} for row in rows):
                pages[name] = PageTable(about, Table(list(table.header), rows))
    return pages


def table_head(grid: FewGrid, found: Sequence[TaskAnswers], study: str) -> dict[str, str]:
    """Return what all tables of a study say of themselves, made today by this commit."""
    return {
        **made_today(f"python -m sweeps {study}"), "seeds": _seeds(grid, found), "machine": "two shared cores, days",
    }  # fmt: skip


def publish(pages: Mapping[str, PageTable], figures: Sequence[Path], rows: Sequence[RunRow], study: str) -> None:
    """Write tables, figures and rows that come with the package: those of the study, and none of what it once was.

    A reader would take runs of other settings for more runs of the same contender.
    """
    publish_tables(pages, figures)
    # No lock: it would leave a file in the package, where one person works at a time.
    write_ledger(shipped(study), rows)


def _seeds(grid: FewGrid, found: Sequence[TaskAnswers]) -> str:
    parts = []
    for kind, words in (
        ("ours", "growths of ours"),
        ("rival", "tuned rivals"),
        ("default", "rivals with defaults"),
        ("part", "others"),
    ):
        numbers = [len(runs) for one in found for name, runs in one.runs.items() if grid.contenders[name].kind == kind]
        if numbers:
            low, high = min(numbers), max(numbers)
            parts.append(f"{words} {low}" if low == high else f"{words} {low} to {high}")
    return ", ".join(parts)
