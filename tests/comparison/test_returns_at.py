"""Returns on the way: the incumbent of that moment, and who is not told from the leader."""

import numpy as np
import pytest

from lightning_pz.comparison.analysis import analyze, returns_at
from lightning_pz.comparison.pool_best import find_pools
from lightning_pz.comparison.report_page import returns_at_table
from lightning_pz.comparison.search_runs import find_runs, group_runs
from lightning_pz.report import main


def tasks(root):
    return analyze(group_runs(find_runs([root]).runs), {})


def test_the_incumbent_of_that_moment_counts_and_later_ones_do_not(tmp_path, write_run):
    for seed, late in enumerate((3.0, 5.0, 7.0)):
        write_run(tmp_path, seed=seed, steps=(100, 500, 900), returns=(1.0, late, 100.0))
    write_run(tmp_path, "sac", steps=(100, 400), returns=(4.0, 6.0), budget=400)
    early, middle = returns_at(tasks(tmp_path), [499, 600], 0)
    assert {name: list(values) for name, values in early.returns.items()} == {"latent PGPE": [1, 1, 1]}  # 400 < 499
    np.testing.assert_array_equal(middle.returns["latent PGPE"], [3, 5, 7])
    assert middle.estimates["latent PGPE"].value == 5 and 3 <= middle.estimates["latent PGPE"].low < 5
    (both,) = returns_at(tasks(tmp_path), [400], 0)
    assert both.leader == "SAC (defaults)" and both.returns["SAC (defaults)"] == [6]
    assert returns_at(tasks(tmp_path), [50, 5000], 0) == []  # nothing was evaluated by then; no budget goes so far


def test_alike_are_those_that_a_permutation_test_does_not_tell_apart(tmp_path, write_run, rng):
    for seed in range(6):
        write_run(tmp_path, "pgpe", seed, (100, 500), (0.0, 10 + rng.normal()))
        write_run(tmp_path, "cmaes", seed, (100, 500), (0.0, 9.9 + rng.normal()))
        write_run(tmp_path, "ppo", seed, (100, 500), (0.0, rng.normal()))
    (found,) = returns_at(tasks(tmp_path), [500], 0)
    assert found.alike == {"latent PGPE", "latent CMA-ES"}
    table = returns_at_table([found])
    by_name = dict(zip(table.header, table.rows[0], strict=True))
    other = ({"latent PGPE", "latent CMA-ES"} - {found.leader}).pop()
    assert (
        by_name[found.leader].startswith("**") and by_name[other].endswith("~") and "~" not in by_name["PPO (defaults)"]
    )
    assert by_name["task"] == "mountaincar/standard" and by_name["steps"] == "500"


def test_the_report_has_a_table_where_it_is_asked_for(tmp_path, write_run, capsys):
    write_run(tmp_path, steps=(100, 500), returns=(1.5, 2.5))
    main([str(tmp_path / "finetune"), "--at", "[200, 600]", "--draws", "100"])
    text = (tmp_path / "report" / "mountaincar" / "report.md").read_text()
    assert "| mountaincar/standard | 200 | **1.50** |" in text and "| mountaincar/standard | 600 | **2.50** |" in text
    main([str(tmp_path / "finetune"), "--draws", "100"])
    assert "on the way" not in (tmp_path / "report" / "mountaincar" / "report.md").read_text()


def test_pools_of_several_seeds_stand_together_where_they_are_given(tmp_path, write_run, write_evaluation):
    write_run(tmp_path)
    runs = find_runs([tmp_path / "finetune"]).runs
    paths = [write_evaluation(tmp_path, f"seed{i}", 10, best=best) for i, best in enumerate((2.0, 4.0, 9.0))]
    together = find_pools(runs, paths)["mountaincar"]
    assert together.best["standard"].value == pytest.approx(5) and together.policies == 30
    assert 2 <= together.best["standard"].low < 5 < together.best["standard"].high <= 9
    assert find_pools(runs, paths[:1])["mountaincar"].best["standard"].value == 2
