"""The dimension report behind its entry point: `python -m sweeps report STUDY [STUDY ...] [--env NAME]`.

Reads finished runs, trains nothing, and leaves tables, page and figures in `logs/sweeps/report-<studies>`. Options that are
not the defaults give it a folder of its own. Seconds.
"""

from __future__ import annotations

from pathlib import Path

from lightning_pz.common.console import show_end
from lightning_pz.common.files import write_text
from lightning_pz.envs.presets import resolve_env
from sweeps.folders import changed_options, tables_folder
from sweeps.options import ReportOptions


def run(study: str, options: ReportOptions) -> None:
    """Write the report of one or several studies."""
    env, logs = resolve_env(options.env)["env"]["name"] if options.env else None, Path(options.logs)
    studies = list(dict.fromkeys(options.studies))
    parts = [*studies, *([env] if env else [])]
    folder = tables_folder(options.logs, study, parts, changed_options(options, ["studies", "env"]))
    from lightning_pz.common.plotting import save_figure
    from sweeps.dimension import dimension_page as page
    from sweeps.dimension.figures import across_environments, environment_figure
    from sweeps.dimension.findings import find_dimensions
    from sweeps.dimension.fit_runs import read_groups
    from sweeps.dimension.task_recovery import read_evaluations

    groups = [group for name in studies for group in read_groups(logs, name, env)]
    known = {name: read_evaluations(logs, name) for name in dict.fromkeys(group.env for group in groups)}
    results = [find_dimensions(group, known[group.env], options) for group in groups]
    # The simplest environment first: by the numbers of an affine policy.
    order = {result.group.env: (result.affine, result.group.env) for result in reversed(results)}
    results.sort(key=lambda result: order[result.group.env])
    drawn = {name: environment_figure([r for r in results if r.group.env == name], options.tau) for name in order}
    if len(results) > 1:
        drawn["overview"] = across_environments(results, options.tau)
    for name, figure in drawn.items():
        save_figure(figure, folder / "figures" / name)
    files = {
        "report.md": page.dimension_page("-".join(parts), results, options),
        "dimensions.csv": page.dimensions_table(results, options.tau).csv(),
        "recovery.csv": page.tasks_table(results).csv(),
        "estimates.csv": page.estimates_table(results).csv(),
        "curves.csv": page.curves_table(results).csv(),
    }
    for name, content in files.items():
        write_text(folder / name, content)
    rows = {f"{r.group.env}, {r.group.label}": r.behavior.text() for r in results}
    show_end({"": f"k for FVU <= {options.tau:g} [95 %]", **rows}, str(folder / "report.md"), folder)
