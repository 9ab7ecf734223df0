"""Who wins, where it is known who must."""

import math

import numpy as np
import pytest

from lightning_pz.common.statistics import probability_above
from lightning_pz.comparison.analysis import SHARES, aggregate_area, analyze
from lightning_pz.comparison.curves import permutation_p
from lightning_pz.comparison.labels import ALGORITHM_LABELS
from lightning_pz.comparison.pool_best import find_pools
from lightning_pz.comparison.search_runs import find_runs, group_runs
from lightning_pz.comparison.wins import decide, rounds


def analyzed(root, pools=None):
    return analyze(group_runs(find_runs([root / "finetune"]).runs), pools or {})


def entry_of(task, algorithm):
    return next(entry for entry in task.entries if entry.contender == ALGORITHM_LABELS[algorithm])


def test_area_floor_best_and_shares_by_hand(tmp_path, write_run):
    write_run(tmp_path, seed=0, steps=[200, 600], returns=[-10.0, 10.0])
    write_run(tmp_path, "cmaes", seed=0, steps=[500, 900], returns=[0.0, 5.0])
    (task,) = analyzed(tmp_path)
    assert (task.floor, task.best, task.best_of, task.floor_is_median) == (-10, 10, "latent PGPE, seed 0", False)
    # Floor until 600, then 1: 0.4. Floor until 500, 0.5 for 400 steps, 0.75 for 100: 0.275.
    assert entry_of(task, "pgpe").area[1000].value == pytest.approx(0.4)
    assert entry_of(task, "cmaes").area[1000].value == pytest.approx(0.275)
    assert [entry_of(task, "cmaes").reach[share].tolist() for share in SHARES] == [[500], [900], [math.inf], [math.inf]]


def test_curve_begins_where_every_seed_has_been_evaluated(tmp_path, write_run):
    write_run(tmp_path, seed=0, steps=[100, 500], returns=[1.0, 2.0])
    write_run(tmp_path, seed=1, steps=[300, 500], returns=[3.0, 4.0])
    (task,) = analyzed(tmp_path)
    curve = entry_of(task, "pgpe").curve
    assert np.isnan(curve.value[task.grid < 300]).all()
    np.testing.assert_array_equal(curve.value[(task.grid >= 300) & (task.grid < 500)], 2.0)
    np.testing.assert_array_equal(curve.value[task.grid >= 500], 3.0)
    assert (curve.low[-1], curve.high[-1]) == (2, 4)


def test_known_winner_wins(tmp_path, rng, write_run, rising):
    for seed in range(8):
        write_run(tmp_path, "pgpe", seed, *rising(rng, 10))
        write_run(tmp_path, "ppo", seed, *rising(rng, 5))
        write_run(tmp_path, "sac", seed, *rising(rng, 2))
    (whole,) = rounds(analyzed(tmp_path), 500, 0)
    (win,) = whole.wins
    assert (win.leader.contender, win.runner_up.contender, win.verdict) == ("latent PGPE", "PPO (defaults)", "win")
    assert win.paired
    assert win.probability > 0.999
    first = whole.standings[0]
    assert (first.contender, first.leads, first.leads_low, first.leads_high) == ("latent PGPE", 1, 1, 1)
    assert first.wins == ("mountaincar/standard",)
    assert {s.contender: s.behind for s in whole.standings[1:]} == dict.fromkeys(
        ("PPO (defaults)", "SAC (defaults)"), first.wins
    )


def test_identical_algorithms_tie(tmp_path, rng, write_run, rising):
    for seed in range(8):
        curve = rising(rng, 10)
        write_run(tmp_path, "pgpe", seed, *curve)
        write_run(tmp_path, "ppo", seed, *curve)
    (whole,) = rounds(analyzed(tmp_path), 500, 0)
    assert (whole.wins[0].verdict, whole.wins[0].probability) == ("tie", 0.5)
    assert [standing.ties for standing in whole.standings] == [("mountaincar/standard",)] * 2


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_equal_algorithms_rarely_win(seeds):
    """Of two equal algorithms one is said to win in about 5 % of comparisons, however few seeds there are."""
    rng, trials, wins = np.random.default_rng(5), 150, 0
    for trial in range(trials):
        one, other = rng.normal(size=seeds), rng.normal(size=seeds)
        probability = probability_above(one, other, True)
        sure = max(probability, 1 - probability) >= 0.975
        wins += sure and permutation_p(one, other, trial) <= 0.05
    assert wins / trials <= 0.10


def test_four_seeds_are_too_few_and_five_are_enough(tmp_path, write_run):
    for seed in range(5):
        write_run(tmp_path, "pgpe", seed, returns=[0.0, 9.0 + seed])
        write_run(tmp_path, "ppo", seed, returns=[0.0, 1.0 + seed])
    (task,) = analyzed(tmp_path)
    assert decide(task, 1000, 0).verdict == "win"
    few = tmp_path / "few"
    for seed in range(4):
        write_run(few, "pgpe", seed, returns=[0.0, 9.0 + seed])
        write_run(few, "ppo", seed, returns=[0.0, 1.0 + seed])
    (task,) = analyzed(few)
    assert decide(task, 1000, 0).verdict == "too few seeds"


def test_one_algorithm_alone_beats_nobody(tmp_path, write_run):
    write_run(tmp_path)
    (whole,) = rounds(analyzed(tmp_path), 500, 0)
    assert (whole.wins[0].verdict, whole.wins[0].runner_up) == ("alone", None)
    assert whole.standings[0].wins == ()


def test_unequal_seeds_are_not_paired(tmp_path, write_run):
    for seed in range(5):
        write_run(tmp_path, "pgpe", seed)
        write_run(tmp_path, "ppo", seed + (seed == 4))
    (task,) = analyzed(tmp_path)
    assert not decide(task, 1000, 0).paired


def test_smaller_budgets_are_compared_where_they_reach(tmp_path, write_run):
    for seed in range(5):
        write_run(tmp_path, "pgpe", seed, steps=[100, 900], returns=[0.0, 10.0])
        write_run(tmp_path, "sac", seed, steps=[100, 200], returns=[0.0, 5.0], budget=500)
    (task,) = analyzed(tmp_path)
    assert task.horizons == (500, 1000)
    sac = entry_of(task, "sac")
    assert set(sac.areas) == {500}
    assert np.isnan(sac.curve.value[task.grid > 500]).all()
    whole, shared = rounds([task], 500, 0)
    assert [s.contender for s in whole.standings] == ["latent PGPE"]
    assert whole.missing == ("SAC (defaults)",)
    assert shared.wins[0].leader.contender == "SAC (defaults)"
    assert not shared.missing
    # Up to step 500 pgpe has shown nothing above the floor.
    assert shared.wins[0].runner_up.area[500].value == 0


def test_a_task_with_more_seeds_does_not_weigh_more(tmp_path, write_run):
    for algorithm in ("pgpe", "cmaes"):
        for seed in range(2):
            write_run(tmp_path, algorithm, seed, steps=[0, 1], returns=[0.0, 2.0], task="left")
            write_run(tmp_path, algorithm, seed, steps=[0, 1], returns=[0.0, 10.0])
    write_run(tmp_path, "ppo", 0, steps=[0, 1], returns=[0.0, 10.0], task="left")
    for seed in range(2, 12):
        write_run(tmp_path, "pgpe", seed, steps=[0, 1], returns=[0.0, 10.0])
    tasks = analyzed(tmp_path)
    areas = [aggregate_area([entry_of(task, name) for task in tasks], [1000, 1000]).value for name in ("pgpe", "cmaes")]
    assert areas[0] == areas[1] == pytest.approx((0.2 + 1) / 2 * 0.999)


def test_non_finite_returns_rank_last_and_are_counted(tmp_path, write_run):
    write_run(tmp_path, seed=0, returns=[4.0, math.nan], final=math.nan)
    write_run(tmp_path, seed=1, returns=[4.0, 6.0])
    write_run(tmp_path, "ppo", seed=0, returns=[2.0, 3.0])
    (task,) = analyzed(tmp_path)
    pgpe = entry_of(task, "pgpe")
    assert (pgpe.invalid, entry_of(task, "ppo").invalid) == (1, 0)
    assert pgpe.final.value == (2 + 6) / 2  # 2 is the worst return that was seen
    assert pgpe.scores[0, -1] == 0
    assert np.isnan(pgpe.scores[0, 0])


def test_pool_sets_floor_and_best(tmp_path, write_run, write_evaluation):
    write_run(tmp_path, returns=[0.0, 8.0])
    # Policies' means: 1, 3 and 5; the fourth has an invalid episode.
    write_evaluation(tmp_path, best=11.0, pool=[[0.0, 2.0], [3.0, 3.0], [5.0, 5.0], [math.nan, 100.0]])
    found = find_runs([tmp_path / "finetune"])
    (task,) = analyze(group_runs(found.runs), find_pools(found.runs, []))
    assert (task.floor, task.floor_is_median, task.best, task.best_of) == (3, True, 11, "the pool")
    assert (task.pool.value, task.pool.low, task.pool.high) == (11, 10.5, 11)


def test_flat_tasks_divide_by_nothing(tmp_path, write_run):
    for name in ("pgpe", "ppo"):
        for seed in range(5):
            write_run(tmp_path, name, seed, returns=[1.0, 1.0])
    (whole,) = rounds(analyzed(tmp_path), 500, 0)
    assert whole.wins[0].verdict == "tie"
