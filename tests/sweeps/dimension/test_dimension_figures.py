"""Figures of the dimension report name populations in words, and PCA that is not enough has an arrow."""

import yaml

from sweeps.dimension.figures import across_environments, environment_figure
from sweeps.dimension.findings import find_dimensions
from sweeps.dimension.fit_runs import read_groups
from sweeps.options import ReportOptions
from tests.sweeps.dimension.test_report import CURVE, make_run, trial, write_trials


def findings(logs):
    """Grown and random policies of one size, of which PCA keeps enough of neither's behavior."""
    rows = []
    for recipe in ("grown", "random"):
        run = make_run(
            logs, "halfcheetah", recipe, seed=0, dims=list(CURVE), bottleneck="nested",
            levels=[max(level, 0.08) for level in CURVE.values()], pool=f"pool-{recipe}",
        )  # fmt: skip
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["data"]["recipe"] = recipe
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        rows.append(trial(len(rows), run, 0, 16) | {"data.recipe": recipe})
    write_trials(logs, "purposeful", "halfcheetah", rows)
    return [find_dimensions(group, [], ReportOptions(draws=100)) for group in read_groups(logs, "purposeful", None)]


def words_of(owner):
    return [text.get_text() for text in owner.get_texts()]


def test_populations_have_readable_names_and_axes_have_labels(tmp_path):
    found = findings(tmp_path)
    left, right = environment_figure(found, 0.1).axes
    assert words_of(left.get_legend()) == [
        "grown medium policies, nested latents", "random medium policies, nested latents", "PCA on actions (val)",
    ]  # fmt: skip
    assert right.get_title().splitlines()[1] == "grown and random policies: (first) weights from N(0, 1/fan-in)"
    assert words_of(right.get_legend())[:2] == ["grown medium policies", "random medium policies"]
    figure = across_environments(found, 0.1)
    left, right = figure.axes
    assert left.get_ylabel() == "latent numbers k, or components" and right.get_ylabel() == "dimension"
    assert "grown medium policies, nested latents" in words_of(figure.legends[0])
    # Latents get below, PCA does not with the 16 components that were measured: a cross and an arrow for each population.
    crosses = [line for line in left.lines if line.get_marker() == "x"]
    assert [line.get_ydata()[0] for line in crosses] == [16, 16] and len(left.texts) == 2
    assert left.get_ylim()[1] > 1.5 * 16
    places = [line.get_xdata()[0] for line in left.lines if line.get_marker() in ("x", "D")]
    assert len(set(places)) == 4  # none on another
