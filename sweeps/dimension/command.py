"""The dimension report behind its entry point: `python -m sweeps report STUDY [STUDY ...] [--env NAME]`.

Reads finished runs, trains nothing, and leaves `logs/sweeps/report-<studies>`: `report.md`, `dimensions.csv`, `recovery.csv`,
`estimates.csv`, `curves.csv`, a figure for each environment and one across them. Seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_pz.console import show_end
from lightning_pz.errors import UserError
from lightning_pz.presets import resolve_env, take_option
from sweeps.dimension.analysis import Settings


def run(arguments: list[str]) -> None:
    """Write the report of one or several studies.

    Raises:
        UserError: An option that is not known or outside its range, or a study that has nothing to report.
    """
    env, arguments = take_option(arguments, "--env")
    logs, arguments = take_option(arguments, "--logs")
    given: dict[str, Any] = {}
    for name, field in Settings.__dataclass_fields__.items():
        text, arguments = take_option(arguments, f"--{name}")
        if text is not None:
            number = int if field.type in (int, "int") else float
            try:
                given[name] = number(text)
            except ValueError:
                raise UserError(f"--{name} expects a number, but got {text!r}") from None
    settings = Settings(**given)
    settings.check()
    options = [word for word in arguments if word.startswith("-")]
    if options or not arguments:
        known = ", ".join(f"--{name}" for name in ("env", "logs", *Settings.__dataclass_fields__))
        raise UserError(
            f"python -m sweeps report takes one study or more, and {known}; got {' '.join(arguments) or 'nothing'}"
        )
    write(arguments, resolve_env(env)["env"]["name"] if env else None, Path(logs or "logs"), settings)


def write(studies: list[str], env: str | None, logs: Path, settings: Settings) -> Path:
    """Write the report and return its folder.

    Args:
        studies: Names of studies, drawn together.
        env: Short name of an environment; all if None.
        logs: Folder of all runs.
        settings: How dimensions are told.

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
    folder = logs / "sweeps" / f"report-{name}"
    (folder / "figures").mkdir(parents=True, exist_ok=True)
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
        temporary = folder / "figures" / f".{name}.png"
        figures.plt.Figure.savefig(figure, temporary, dpi=150, bbox_inches="tight")
        temporary.rename(folder / "figures" / f"{name}.png")
        figures.plt.close(figure)
    for name, content in files.items():
        temporary = folder / f"{name}.tmp"
        temporary.write_text(content)
        temporary.rename(folder / name)
    rows = {f"{r.group.env}, {r.group.label}": r.behavior.text() for r in results}
    show_end({"": f"k for FVU <= {settings.tau:g} [95 %]", **rows}, str(folder / "report.md"), folder)
    return folder
