"""Compare search algorithms: `python -m lightning_pz.report logs/finetune/mountaincar`.

Reads every finished run of `finetune` below the given folders and writes `logs/report/<env>`:

    report.md                     wins, standings and all numbers, with what each is
    cells.csv runs.csv wins.csv   the same for programs: per algorithm, per run, per task
    figures/<env>-<task>.*        learning curves (PNG, PDF): interquartile mean over seeds, 95 % band
    figures/overview.*            all tasks in one

Algorithms are compared at equal environment steps. Unfinished and broken runs are named and left out.
"""

from __future__ import annotations

from pathlib import Path

from lightning_pz.common.errors import run_main


def main(arguments: list[str]) -> None:
    """Run the whole job on command-line arguments."""
    from lightning_pz.common.command_line import CommandParser, pick
    from lightning_pz.comparison.settings import ReportSettings

    parser = CommandParser(command="report", description=__doc__)
    parser.add_argument("folders", nargs="+", type=str, help="Folders of finetune runs, at any level.")
    about = "summary.json files of evaluate, for the best policy in the pool; found beside finetune if not given."
    parser.add_argument("--evaluation", nargs="+", type=str, default=[], help=about)
    parser.add_class_arguments(ReportSettings, skip={"evaluation"})
    given = parser.parse_args(arguments)
    settings = pick(ReportSettings, given)

    from lightning_pz.jobs.report import print_report, report

    print_report(report([Path(folder) for folder in given.folders], settings))


if __name__ == "__main__":
    run_main(main)
