"""Rows and verdicts of the few-episode study: what is kept, what is compared, what is counted."""

import math

import numpy as np
import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import conf_dir
from sweeps.few_episodes import few_counts, few_tables
from sweeps.few_episodes.episode_lengths import lengths_table
from sweeps.few_episodes.few_grid import load_few_episodes
from sweeps.few_episodes.ledger import RunRow, add_to_ledger, longest, read_ledger, write_ledger


def row_of(env="reacher", task="speed", name="a", seed=0, **more):
    own = {"key": f"{env}{task}{name}{seed}", "episodes": 4, "env_steps": 9, "end": 2.5, "answers": {0: 1.0, 2: 1.5}}
    return RunRow(env=env, task=task, contender=name, seed=seed, **own | more)


def test_a_ledger_holds_what_was_written_in_one_order_and_refuses_another_file(tmp_path):
    rows = [row_of(seed=1), row_of(answers={0: -3.25, 20: 7.0}), row_of("hopper", end=-2.0)]
    write_ledger(tmp_path / "a.csv", rows)
    write_ledger(tmp_path / "b.csv", rows[::-1])
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert {row.key: row for row in read_ledger(tmp_path / "a.csv")} == {row.key: row for row in rows}
    assert read_ledger(tmp_path / "none.csv") == []
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"c.csv is no file of runs"):
        read_ledger(tmp_path / "c.csv")


def test_an_answer_that_is_not_finite_is_kept_and_counts_as_the_worst(tmp_path):
    """No survivor's mean: it is neither left out nor replaced by the run's last answer."""
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    rows = [
        row_of(name="PPO (RL Zoo)", seed=0, answers={0: 1.0, 5: math.nan, 10: 2.0}, end=math.nan),
        row_of(name="PPO (RL Zoo)", seed=1, answers={0: -3.0, 5: 4.0, 10: 6.0}),
    ]
    write_ledger(tmp_path / "a.csv", rows)
    (found,) = few_tables.collect_answers(grid, read_ledger(tmp_path / "a.csv"), {("reacher", "speed"): 0.0})
    assert found.values(["PPO (RL Zoo)"], few_tables.after(5))["PPO (RL Zoo)"].tolist() == [-3.0, 4.0]
    assert found.values(["PPO (RL Zoo)"], few_tables.after(10))["PPO (RL Zoo)"].tolist() == [2.0, 6.0]


def test_of_two_runs_with_one_seed_the_longer_one_counts():
    short, long = row_of(key="x"), row_of(answers={0: 1.0, 2: 1.5, 9: 3.0}, key="y")
    assert longest([short, long, row_of(seed=1)]) == [long, row_of(seed=1)]


def test_lengths_of_episodes_are_told_where_they_differ():
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    rows = [row_of("hopper", "jump", "latent PGPE", seed=seed, episodes=10, env_steps=6000 + seed) for seed in range(2)]
    rows += [row_of("hopper", "jump", "latent CMA-ES", episodes=2, env_steps=2000)]
    rows += [
        row_of("hopper", "jump", "PPO (RL Zoo)", seed=0, episodes=100, env_steps=5000),
        row_of("hopper", "jump", "PPO (RL Zoo)", seed=1, episodes=300, env_steps=3000),
    ]
    learned = row_of("hopper", "jump", "weights learned from the growth", episodes=0, env_steps=0)  # plays none
    same = [row_of(name=name, episodes=4, env_steps=200) for name in ("latent PGPE", "PPO (RL Zoo)")]
    found = few_tables.collect_answers(
        grid, [*rows, learned, *same], {("reacher", "speed"): 0.0, ("hopper", "jump"): 0.0}
    )
    assert lengths_table(grid, found).rows == [["hopper", "jump", "600 to 1,000", "20", "-"]]


def test_areas_leave_out_runs_that_end_before():
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    counts = {count: float(count) for count in grid.at}
    rows = [row_of(name="latent PGPE", seed=seed, answers=counts) for seed in range(2)]
    rows += [row_of(name="SAC (RL Zoo)", seed=seed) for seed in range(2)]
    (one,) = few_tables.collect_answers(grid, rows, {("reacher", "speed"): 0.0})
    found = one.values(["latent PGPE", "SAC (RL Zoo)"], few_tables.area_of(grid, "reacher"))
    held = [max(count for count in grid.at if count <= episode) for episode in range(100)]
    assert list(found) == ["latent PGPE"] and found["latent PGPE"] == pytest.approx([np.mean(held)] * 2)


def test_rows_that_another_process_added_meanwhile_stay(tmp_path):
    path = tmp_path / "runs.csv"
    add_to_ledger(path, [row_of(seed=0)])
    add_to_ledger(path, [row_of(seed=1)])
    add_to_ledger(path, [row_of(seed=0, end=9.0)])
    assert [(row.seed, row.end) for row in read_ledger(path)] == [(0, 9.0), (1, 2.5)]


def answers_of(name, values, env="reacher", task="speed", first=0):
    """Return a run for each value, which is the answer at every count of the shipped study."""
    counts = (0, 1, 2, 5, 10, 20, 50, 100)
    return [
        row_of(env, task, name, seed, answers=dict.fromkeys(counts, float(value)), key=f"{env}{task}{name}{seed}")
        for seed, value in enumerate(values, first)
    ]


def test_tasks_are_counted_that_ours_lead_and_how_surely():
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    ten = np.arange(10.0)
    rows = answers_of("latent PGPE", ten + 100) + answers_of("PPO (RL Zoo)", np.arange(5.0))  # a sure lead
    rows += answers_of("latent PGPE", ten + 1, task="radial") + answers_of(
        "PPO (RL Zoo)", np.arange(5.0) + 2, task="radial"
    )
    rows += answers_of("latent PGPE", ten, "hopper", "jump") + answers_of("SAC (RL Zoo)", [-5, -6], "hopper", "jump")
    rows += answers_of("latent PGPE", ten, "hopper", "forward") + answers_of(
        "SAC (RL Zoo)", [5, 60], "hopper", "forward"
    )
    rows += answers_of("latent PGPE", ten, "hopper", "backward")  # no rival: not compared
    rows += answers_of("latent PGPE", ten, "hopper", "standard") + answers_of(
        "SAC (RL Zoo)", [-5, -6], "hopper", "standard"
    )
    still = {
        (row.env, row.task): 50.0 if row.task == "standard" else -100.0 for row in rows
    }  # doing nothing leads there
    found = few_tables.collect_answers(grid, rows, still)
    table = few_counts.count_table(grid, found)
    counted = {tuple(row[:2]): row[2:] for row in table.rows}
    # Five tasks with rivals, three led; one surely, p = 2 / 252 and five times that after Holm; one of the others cannot be
    # sure, since a lead of five growths against two runs has p = 0.1 at best.
    assert counted[few_counts.BEST, 5] == counted[few_counts.CHOSEN, 5] == counted["latent PGPE", 5] == [5, 3, 1, 1, 1]
    assert ("weights from the pool", 5) not in counted
    claim = {tuple(row[:3]): row[3:] for row in few_counts.claim_counts(grid, found).rows}
    assert (
        claim["grown", "latent PGPE", "tuned"] == [2, 2, 1, 1, 0]
        and ("random", "latents of a random pool", "tuned") not in claim
    )
    (speed, *_) = few_counts.improvement_table(grid, found).rows
    assert speed[:4] == ["reacher", "speed", 5, pytest.approx(104.5)] and speed[8].value == 1


def test_no_growth_is_left_out_because_a_contender_lacks_it():
    """Growths 2 and 3 are poor: a contender that has not run from them must not take them from the others."""
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    rows = answers_of("latent PGPE", [10, 10, 1, 1]) + answers_of("weights from the pool", [9, 9, 2, 2])
    rows += answers_of("latent CMA-ES", [8, 8]) + answers_of("latents of a random pool", [70, 80, 90], first=3)
    (one,) = few_tables.collect_answers(grid, rows, {("reacher", "speed"): 0.0})
    ours = few_tables.names_of(grid, "ours")
    found = few_counts.of_shared_growths(one, ours, few_tables.after(5))
    assert {name: values.tolist() for name, values in found.items()} == {
        "latent PGPE": [10, 10, 1, 1], "weights from the pool": [9, 9, 2, 2],
    }  # fmt: skip
    rows += answers_of("PPO (RL Zoo)", [0, 0, 0])
    (one,) = few_tables.collect_answers(grid, rows, {("reacher", "speed"): 0.0})
    verdict = few_counts.said_of(grid, one, few_counts.CHOSEN, ours, ["PPO (RL Zoo)"], few_tables.after(5))
    assert verdict is not None and 1 <= verdict.mean < 7
    rest = ["latent Bayesian optimization", "latent CMA-ES"]
    assert [few_counts.of_shared_growths(one, [name], few_tables.after(5)) == {} for name in rest] == [True, False]


def test_searches_from_one_growth_are_one_run_however_many():
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    once = answers_of("latent PGPE", [5, 6, 7, 8, 9])
    twice = once + answers_of("latent PGPE", [15, 16, 17, 18, 19], first=5)
    rivals = answers_of("PPO (RL Zoo)", [-3, -2, -1, 0, 1, 2])  # no growth: six runs are six
    still = {("reacher", "speed"): -9.0}
    one, two = (few_tables.collect_answers(grid, rows + rivals, still)[0] for rows in (once, twice))
    assert [list(values) for values in two.values(["latent PGPE", "PPO (RL Zoo)"], few_tables.after(5)).values()] == [
        [10, 11, 12, 13, 14], [-3, -2, -1, 0, 1, 2],
    ]  # fmt: skip
    first, second = (few_tables.verdict_at(grid, each, 5) for each in (one, two))
    # More searches do not make a lead surer. (Both leads are as sure as five runs against six can be.)
    assert first.p == second.p == first.least_p == second.least_p == pytest.approx(2 / math.comb(11, 5))


def test_a_growth_with_one_long_and_one_short_search_has_the_long_ones_later_answers():
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    rows = [row_of(name="latent PGPE", answers={0: 1.0, 5: 2.0}, end=8.0)]
    rows += [row_of(name="latent PGPE", seed=5, answers={0: 3.0}, end=4.0, key="short")]
    (run,) = few_tables.collect_answers(grid, rows, {("reacher", "speed"): 0.0})[0].runs["latent PGPE"]
    assert (run.seed, run.answers, run.end) == (0, {0: 2.0, 5: 2.0}, 6.0)


def test_one_of_ours_that_plays_no_episode_holds_its_policy_and_a_part_does_not():
    name, counts = "weights learned from the growth", [0, 1, 2, 5, 10, 20, 50, 100]
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    rows = [row_of(name=name, episodes=0, env_steps=0, answers={0: 2.5})]
    (one,) = few_tables.collect_answers(grid, rows, {("reacher", "speed"): 0.0})
    assert one.runs[name][0].answers == dict.fromkeys(counts, 2.5)
    reuse = load_few_episodes(conf_dir() / "sweep" / "reuse.yaml")
    rows = [row_of("hopper", "jump", "old data alone", episodes=0, env_steps=0, answers={0: 2.5})]
    (one,) = few_tables.collect_answers(reuse, rows, {("hopper", "jump"): 0.0})
    assert one.runs["old data alone"][0].answers == {0: 2.5}


def test_a_search_whose_budget_ends_a_generation_before_a_count_keeps_its_last_answer():
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    rows = [row_of("halfcheetah", "forward", "latent PGPE", episodes=96, answers={0: 1.0, 50: 2.0}, end=7.0)]
    rows += [row_of("halfcheetah", "forward", "SAC (RL Zoo)", episodes=20, answers={0: 1.0, 20: 2.0}, end=7.0)]
    (one,) = few_tables.collect_answers(grid, rows, {("halfcheetah", "forward"): 0.0})
    assert one.runs["latent PGPE"][0].answers == {0: 1.0, 50: 2.0, 100: 7.0}
    assert one.runs["SAC (RL Zoo)"][0].answers == {0: 1.0, 20: 2.0}


def test_leads_have_digits_that_can_be_read():
    assert [few_tables.lead_text(lead) for lead in (1070.4, -0.1234, 12.345, 0.0)] == [
        "+1,070",
        "-0.123",
        "+12.3",
        "+0",
    ]


@pytest.mark.parametrize("settings", ["RL Zoo", "defaults"])
@pytest.mark.parametrize(("lone", "leads"), [(9.0, False), (1.0, True)])
def test_a_single_run_of_a_rival_can_take_a_lead_and_leaves_none_significant(lone, leads, settings):
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    rows = answers_of("latent PGPE", np.linspace(5, 6, 10)) + answers_of("SAC (RL Zoo)", [0.1, 0.2, 0.3])
    still = {("reacher", "speed"): 0.0}
    before, after = (
        few_tables.verdict_at(grid, few_tables.collect_answers(grid, some, still)[0], 5)
        for some in (rows, rows + answers_of(f"PPO ({settings})", [lone]))
    )
    assert before.leads and before.is_significant and len(before.rivals) == 1
    assert after.leads == leads and not after.is_significant and len(after.rivals) == 2
