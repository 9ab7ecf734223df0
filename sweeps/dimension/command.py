"""The dimension report behind its entry point: `python -m sweeps report STUDY [STUDY ...] [--env NAME]`.

Reads finished runs, trains nothing, and leaves `logs/sweeps/report-<studies>`: `report.md`, `dimensions.csv`, `recovery.csv`,
`estimates.csv`, `curves.csv`, a figure for each environment and one across them. Options that are not the defaults give it
a folder of its own. Seconds.
"""

from __future__ import annotations

from pathlib import Path

from lightning_pz.common.console import show_end
from lightning_pz.common.files import check_writable, replacing, write_text
from lightning_pz.envs.presets import resolve_env
from sweeps.dimension.analysis import Settings
from sweeps.folders import changed_options, tables_folder
from sweeps.options import ReportOptions


def run(study: str, options: ReportOptions) -> None:
    """Write the report of one or several studies.

    Args:
        study: Name of this one, `report`.
        options: Of the command line.

    Raises:
        UserError: A study that has nothing to report.
    """
    settings = Settings(options.tau, options.gain, options.tolerance, options.draws, options.seed)
    env = resolve_env(options.env)["env"]["name"] if options.env else None
    studies = list(dict.fromkeys(options.studies))
    parts = [*studies, *([env] if env else [])]
    folder = tables_folder(options.logs, study, parts, changed_options(options, ["studies", "env"]))
    check_writable(folder)
    write(studies, env, Path(options.logs), settings, folder)


def write(studies: list[str], env: str | None, logs: Path, settings: Settings, folder: Path) -> None:
    """Write the report.

    Args:
        studies: Names of studies, drawn together.
        env: Short name of an environment; all if None.
        logs: Folder of all runs.
        settings: How dimensions are told.
        folder: Where it goes.

    Raises:
        UserError: A study has nothing to report.
    """
    from sweeps.dimension import figures, text
    from sweeps.dimension.analysis import analyze
    from sweeps.dimension.recovery import read_evaluations
    from sweeps.dimension.runs import read_study

    groups = [group for study in studies for group in read_study(logs, study, env)]
    known = {name: read_evaluations(logs, name) for name in dict.fromkeys(group.env for group in groups)}
    results = [analyze(group, known[group.env], settings) for group in groups]
    # The simplest environment first: by the numbers of an affine policy.
    order = {result.group.env: (result.affine, result.group.env) for result in reversed(results)}
    results.sort(key=lambda result: order[result.group.env])
    name = "-".join([*studies, *([env] if env else [])])
    files = {
        "report.md": text.report(name, results, settings),
        "dimensions.csv": text.as_csv(text.dimension_rows(results, settings.tau)),
        "recovery.csv": text.as_csv(text.task_rows(results)),
        "estimates.csv": text.as_csv(text.estimate_rows(results)),
        "curves.csv": text.as_csv(text.curve_rows(results)),
    }
    drawn = {name: figures.environment([r for r in results if r.group.env == name], settings.tau) for name in order}
    if len(results) > 1:
        drawn["overview"] = figures.overview(results, settings.tau)
    for name, figure in drawn.items():
        with replacing(folder / "figures" / f"{name}.png") as temporary:
            figures.plt.Figure.savefig(figure, temporary, format="png", dpi=150, bbox_inches="tight")
        figures.plt.close(figure)
    for name, content in files.items():
        write_text(folder / name, content)
    rows = {f"{r.group.env}, {r.group.label}": r.behavior.text() for r in results}
    show_end({"": f"k for FVU <= {settings.tau:g} [95 %]", **rows}, str(folder / "report.md"), folder)
