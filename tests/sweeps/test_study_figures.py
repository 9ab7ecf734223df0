"""Figures of the studies say what they show: single runs, names in few letters, places on the axis, units."""

import numpy as np
import pytest

from lightning_pz.common.plotting import drawn
from lightning_pz.envs.presets import conf_dir
from sweeps.compression.compression_figures import agent_figure
from sweeps.compression.compression_grid import levels, load_compression
from sweeps.compression.training_curves import logged_curve
from sweeps.few_episodes.few_figures import pretraining_curves, return_curves
from sweeps.few_episodes.few_grid import load_few_episodes
from sweeps.few_episodes.few_tables import collect_answers, parts_table
from sweeps.few_episodes.lead_figure import lead_map
from sweeps.few_episodes.ledger import RunRow


def rows_of(name, returns, counts, env="halfcheetah", task="forward"):
    """One run for each list of returns, which are those at the counts."""
    return [
        RunRow(f"{env}{task}{name}{seed}", env, task, name, seed, counts[-1], counts[-1], own[-1], dict(zip(counts, own, strict=True)))
        for seed, own in enumerate(returns)
    ]  # fmt: skip


def study_of(name, rows, still=0.0):
    grid = load_few_episodes(conf_dir() / "sweep" / f"{name}.yaml")
    return grid, collect_answers(grid, rows, {(row.env, row.task): still for row in rows})


@pytest.fixture(scope="module")
def few():
    rows = rows_of("latent Bayesian optimization", [[5.0, 6.0, 7.0], [7.0, 8.0, 9.0]], [0, 1, 2])
    rows += rows_of("weights from the pool", [[1.0, 1.0, 3.0], [1.0, 1.0, 3.0]], [0, 1, 2])
    rows += rows_of("latent CMA-ES", [[90.0, 95.0]], [0, 1])
    rows += rows_of("SAC (defaults)", [[-50.0, -60.0], [-70.0, -80.0]], [0, 1])
    return study_of("few_episodes", rows)


def words_of(figure):
    (spot,) = [axis for axis in figure.axes if axis.get_legend() is not None]
    return [text.get_text() for text in spot.get_legend().get_texts()]


def test_a_single_run_is_no_curve_and_the_best_of_each_group_has_a_band(few):
    figure = return_curves(*few)
    panel = figure.axes[0]
    lines = {tuple(line.get_ydata()): line for line in panel.lines}
    assert lines[90.0, 95.0].get_linestyle() == "None" and lines[90.0, 95.0].get_markerfacecolor() == "none"
    assert lines[6.0, 7.0, 8.0].get_linewidth() > lines[1.0, 1.0, 3.0].get_linewidth()
    assert len(panel.collections) == 2  # the best of ours of several runs, and the default rival
    low, high = panel.get_ylim()
    assert low < -70 and high > 95
    words = words_of(figure)
    assert words[: words.index("from scratch, default settings")] == [
        "ours", "latent Bayesian optimization", "latent CMA-ES", "weights from the pool", "",
    ]  # fmt: skip
    assert (
        "open, without a line: a single run" in words
        and "bold: best of its group at its end\nband over runs: range" in words
    )


def test_a_curve_has_a_gap_where_fewer_runs_go_on_and_the_table_has_their_numbers():
    """Else the mean of the two that are left would look as what has become of all."""
    rows = rows_of("learned weights", [[1.0, 2.0, 9.0], [3.0, 4.0, 11.0]], [0, 10_000, 30_000])
    short = rows_of("learned weights", [[-1.0, -2.0]] * 4, [0, 10_000])[2:]
    alone = rows_of("old data alone", [[5.0], [6.0]], [0])
    grid, found = study_of("reuse", [*rows, *short, *alone])
    figure = return_curves(grid, found)
    lines = [list(line.get_ydata()) for line in figure.axes[0].lines]
    assert [0.5, 0.5] in lines and [10.0] in lines and [0.5, 0.5, 10.0] not in lines
    assert "a gap in a curve: fewer runs behind it" in words_of(figure)
    assert {row[2]: row[3] for row in parts_table(grid, found).rows} == {
        "learned weights": "4, 4, 2", "old data alone": "2",
    }  # fmt: skip


def test_the_axis_ends_at_the_last_count_that_a_run_reached(few):
    for figure, ticks in ((return_curves(*few), ["0", "1", "2"]), (lead_map(*few), ["0", "1"])):
        assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ticks


def key_of(figure):
    return figure.get_supxlabel().replace("\N{NO-BREAK SPACE}", " ")


def test_the_map_of_leads_says_what_its_names_and_colors_mean(few):
    figure = lead_map(*few)
    assert key_of(figure) == "BO = latent Bayesian optimization"
    assert figure.axes[1].get_ylabel() == "lead, share of the task's range\n(lowest to highest return of any run)"
    ours, rivals = rows_of("latent PGPE", [[1.0], [2.0]], [0]), rows_of("PPO (RL Zoo)", [[8.0], [9.0]], [0])
    assert (
        key_of(lead_map(*study_of("few_episodes", ours + rivals))) == "PPO = PPO (RL Zoo), from scratch, tuned settings"
    )
    poorer = rows_of("PPO (RL Zoo)", [[0.0], [0.5]], [0])
    assert (
        key_of(lead_map(*study_of("few_episodes", ours + poorer, still=50.0))) == "nothing = a policy that does nothing"
    )


def test_of_pre_training_no_point_hides_another_and_lines_are_named():
    counts = [0, 5, 20]
    rows = [
        row for name in ("1 million steps", "10 million steps") for row in rows_of(name, [[3.0] * 3, [4.0] * 3], counts)
    ]
    rows += rows_of("SAC (RL Zoo), 20 episodes", [[1.0] * 3, [1.0] * 3], counts)
    rows += rows_of("SAC (defaults), 20 episodes", [[1.1] * 3, [1.1] * 3], counts)
    figure = pretraining_curves(*study_of("pretraining", rows))
    panel = figure.axes[0]
    drawn(figure)
    assert [text.get_text() for text in panel.get_xticklabels()] == ["1 M", "10 M"]
    assert len({float(bars[0].get_xdata()[0]) for bars in panel.containers[: len(counts)]}) == len(counts)
    names = {text.get_text(): text.get_position()[1] for text in panel.texts}
    assert set(names) == {"SAC (RL Zoo)\n20 episodes", "SAC (defaults)\n20 episodes"}
    assert names["SAC (defaults)\n20 episodes"] - names["SAC (RL Zoo)\n20 episodes"] == pytest.approx(0.13)


@pytest.mark.parametrize(
    "dense, unit", [(200.0, "% of the dense policy's"), (-200.0, "return (bars: range over seeds)")]
)
def test_what_compression_leaves_is_a_share_of_the_dense_return_where_that_means_something(dense, unit, tmp_path):
    grid = load_compression(conf_dir() / "sweep" / "compression.yaml", ["hopper"])
    same = {
        "env": "Hopper-v5",
        "weights": 10,
        "return_dense": dense,
        "return_dense_low": dense - 1,
        "return_dense_high": dense + 1,
    }
    found = {level: same | {"return": dense * (1 - level.sparsity) + level.seed} for level in levels(grid)}
    (tmp_path / "metrics.csv").write_text("step,rollout/ep_rew_mean\n10,1.0\n20,5.0\n")
    figure = agent_figure(grid, found, "hopper", logged_curve(tmp_path))
    left, right = figure.axes
    assert left.get_ylabel() == "return of training episodes, exploring\n(mean of the last 100)"
    assert left.get_ylim()[0] < dense < left.get_ylim()[1]  # beside the dense policy, which does not explore
    assert unit in right.get_ylabel()
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    values = right.containers[0][0].get_ydata()
    if dense > 0:
        assert words[0] == "dense policy, not exploring: a return of 200 [199, 201] = 100 %"
        np.testing.assert_allclose(values, [100 * (1 - share) + 0.5 for share in grid.sparsities])
    else:
        assert words[0] == "dense policy (band: 95 % interval)"
        np.testing.assert_allclose(values, [dense * (1 - share) + 1 for share in grid.sparsities])
