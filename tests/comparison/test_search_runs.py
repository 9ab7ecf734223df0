"""Run folders: what is read, what is left out, and what cannot be compared."""

import json
import shutil

import numpy as np
import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.comparison.analysis import analyze
from lightning_pz.comparison.pool_best import find_pools, logs_root
from lightning_pz.comparison.search_runs import find_runs, group_runs


def test_reads_what_finetune_wrote(tmp_path, write_run):
    folder = write_run(tmp_path, "cmaes", 3, [10, 20], [1.5, np.nan], task="left", budget=500, final=7.0)
    (run,) = find_runs([tmp_path]).runs
    assert (run.env, run.task, run.algorithm, run.seed, run.budget) == ("mountaincar", "left", "cmaes", 3, 500)
    assert (run.final, run.seconds, run.tag, run.folder) == (7.0, 2.0, "medium-k2-seed0", folder)
    np.testing.assert_array_equal(run.steps, [10, 20])
    np.testing.assert_array_equal(run.returns, [1.5, np.nan])
    assert run.settings["cmaes.sigma"] == 0.15
    assert "seed" not in run.settings
    assert logs_root(run) == tmp_path


def test_each_run_once_though_folders_overlap(tmp_path, write_run):
    folder = write_run(tmp_path)
    assert len(find_runs([tmp_path, tmp_path / "finetune" / ".." / "finetune", folder, folder]).runs) == 1


def test_unfinished_and_broken_runs_are_named_and_left_out(tmp_path, write_run):
    good = write_run(tmp_path, seed=0)
    unfinished = write_run(tmp_path, seed=1, finished=False)
    torn, empty, backward, other = (write_run(tmp_path, seed=seed) for seed in (2, 3, 4, 5))
    (torn / "summary.json").write_text('{"env": ')
    (empty / "curve.csv").write_text("env_steps,eval_return\n")
    (backward / "curve.csv").write_text("env_steps,eval_return\n20,1\n10,1\n")
    (other / "summary.json").write_text(json.dumps({"env": "MountainCarContinuous-v0", "val_fvu": 0.1}))
    found = find_runs([tmp_path])
    assert [run.folder for run in found.runs] == [good]
    reasons = dict(found.left_out)
    assert reasons.keys() == {unfinished, torn, empty, backward, other}
    assert reasons[unfinished] == "unfinished"
    assert "no row" in reasons[empty]
    assert "go back" in reasons[backward]
    assert "'algorithm' is missing" in reasons[other]


def test_a_task_without_a_finite_return_is_named_and_left_out(tmp_path, write_run):
    nan = float("nan")
    for seed in (0, 1):
        write_run(tmp_path, seed=seed)
    beside = write_run(tmp_path, seed=2, returns=(nan, nan), final=nan)
    alone = write_run(tmp_path, "cmaes", returns=(nan, nan), final=nan, task="left")
    found = find_runs([tmp_path])
    assert {run.folder for run in found.runs} == {beside.with_name(beside.name[:-1] + str(seed)) for seed in range(3)}
    assert found.left_out == ((alone, "no run on mountaincar left has a finite return"),)
    # The run beside others still counts, as the worst that was seen.
    (task,) = analyze(group_runs(found.runs), {})
    (entry,) = task.entries
    assert entry.invalid == 1 and entry.final.value == pytest.approx((2 + 2 + 1) / 3)
    with pytest.raises(UserError, match=r"none can be used .*no run on mountaincar left has a finite return"):
        find_runs([alone])


def test_nothing_to_compare(tmp_path, write_run):
    with pytest.raises(UserError, match="there is none at"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="no run at all"):
        find_runs([tmp_path])
    write_run(tmp_path, finished=False)
    with pytest.raises(UserError, match=r"none can be used .*unfinished"):
        find_runs([tmp_path])


def test_runs_of_one_cell_must_have_equal_settings(tmp_path, write_run):
    write_run(tmp_path, seed=0)
    write_run(tmp_path, seed=1, budget=2000)
    with pytest.raises(UserError, match=r"latent PGPE on mountaincar standard .*same budget.*1000.*2000"):
        group_runs(find_runs([tmp_path]).runs)


def test_settings_of_another_algorithm_do_not_count(tmp_path, write_run):
    from lightning_pz.search.settings import PgpeSettings

    write_run(tmp_path, "cmaes", 0)
    write_run(tmp_path, "cmaes", 1, pgpe=PgpeSettings(sigma=9.0))
    assert len(group_runs(find_runs([tmp_path]).runs)["mountaincar", "standard"]["latent CMA-ES"]) == 2
    write_run(tmp_path, "pgpe", 0)
    write_run(tmp_path, "pgpe", 1, pgpe=PgpeSettings(sigma=9.0))
    with pytest.raises(UserError, match=r"same pgpe\.sigma"):
        group_runs(find_runs([tmp_path]).runs)


def test_algorithms_must_be_evaluated_alike_but_may_differ_in_budget(tmp_path, write_run):
    write_run(tmp_path, "pgpe")
    write_run(tmp_path, "sac", budget=500)
    assert set(group_runs(find_runs([tmp_path]).runs)["mountaincar", "standard"]) == {"latent PGPE", "SAC (defaults)"}
    write_run(tmp_path, "ppo", evaluation_episodes=5)
    with pytest.raises(UserError, match=r"same evaluation_episodes"):
        group_runs(find_runs([tmp_path]).runs)


def test_runs_of_other_rules_are_no_seeds_of_one_contender(tmp_path, write_run):
    """By what each run followed, not by what the code says today; rules of answers decide no curve."""

    def write(seed, rules, **more):
        write_run(
            tmp_path, "td3", seed, space="weights", start="pool_best", content={"settings": {"rules": rules}}, **more
        )

    write(0, {"version": 1})
    write(1, {"version": 1})
    assert set(group_runs(find_runs([tmp_path]).runs)["mountaincar", "standard"])
    write(2, {"version": 2})
    with pytest.raises(UserError, match=r"same rules.version, but it is 1 in .* and 2 in"):
        group_runs(find_runs([tmp_path]).runs)
    write(0, {"answers": 2}, task="left")
    write_run(tmp_path, "td3", 1, space="weights", start="pool_best", task="left")
    left = [run for run in find_runs([tmp_path]).runs if run.task == "left"]
    assert len(group_runs(left)["mountaincar", "left"]) == 1


def test_a_seed_counts_once(tmp_path, write_run):
    folder = write_run(tmp_path)
    shutil.copytree(folder, tmp_path / "copy" / folder.name)
    with pytest.raises(UserError, match=r"seed 0 is in .* and in .*: give only one"):
        group_runs(find_runs([tmp_path]).runs)


def test_checkpoints_of_one_algorithm_are_told_apart(tmp_path, write_run):
    for tag in ("medium-k2-seed0", "medium-k3-seed0"):
        write_run(tmp_path, tag=tag)
    write_run(tmp_path, "ppo")
    write_run(tmp_path, "ppo", env="reacher", tag="medium-k5-seed0")
    found = group_runs(find_runs([tmp_path]).runs)
    names = ["latent PGPE (medium, k = 2, seed 0)", "latent PGPE (medium, k = 3, seed 0)", "PPO (defaults)"]
    assert list(found["mountaincar", "standard"]) == names
    assert list(found["reacher", "standard"]) == ["PPO (defaults)"]


def test_a_search_that_does_something_else_than_usual_says_so_even_alone(tmp_path, write_run):
    write_run(tmp_path, tag="medium-k2-3ef5d33f-pool_best", start="pool_best", anchor=False)
    write_run(tmp_path, "cmaes", tag="medium-k2-3ef5d33f")
    write_run(tmp_path, "parameter_pgpe", tag="medium-k2-seed0-pool_top", start="pool_top")
    from_file = {"start": "found/standard.npz", "widen": 0.1, "release_decoder_at": 200_000}
    write_run(tmp_path, tag="medium-k2-3ef5d33f-from-standard-12345678-widen0.1-release200000", **from_file)
    found = group_runs(find_runs([tmp_path]).runs)["mountaincar", "standard"]
    assert list(found) == [
        "latent PGPE from standard 12345678, widened by 0.1, decoder released at 200k",
        "latent PGPE from the pool's record holder, decoder not moved",
        "latent CMA-ES",
        "weight PGPE from the pool's best",
    ]


def test_checkpoints_trained_with_the_seed_of_the_search_are_one_contender(tmp_path, write_run):
    for seed in (0, 1):
        write_run(tmp_path, tag=f"medium-k2-seed{seed}-pool_top", seed=seed, start="pool_top")
        write_run(tmp_path, tag=f"medium-k2-seed{seed}", seed=seed)
        write_run(tmp_path, "cmaes", tag=f"medium-k2-seed{seed}", seed=seed)
    found = group_runs(find_runs([tmp_path]).runs)["mountaincar", "standard"]
    assert {name: len(runs) for name, runs in found.items()} == {
        "latent PGPE": 2, "latent PGPE from the pool's best": 2, "latent CMA-ES": 2,
    }  # fmt: skip
    # Another size, or a search that has not its own fit, and they are told apart again.
    write_run(tmp_path, tag="medium-k3-seed0", seed=0)
    write_run(tmp_path, "cmaes", tag="medium-k2-seed0", seed=7)
    found = group_runs(find_runs([tmp_path]).runs)["mountaincar", "standard"]
    assert set(found) == {
        "latent PGPE (medium, k = 2)", "latent PGPE from the pool's best (medium, k = 2)", "latent PGPE (medium, k = 3, seed 0)",
        "latent CMA-ES (medium, k = 2, seed 0)", "latent CMA-ES (medium, k = 2, seed 1)",
    }  # fmt: skip


def test_the_best_of_a_pool_is_a_reference_for_searches_of_that_pool_alone(tmp_path, write_run, write_evaluation):
    for name, pool in (("random", "pool-a"), ("grown-seed0", "pool-b"), ("grown-seed1", "pool-c")):
        fit = tmp_path / "fit" / "mountaincar" / name
        fit.mkdir(parents=True)
        (fit / "summary.json").write_text(json.dumps({"pool": f"logs/pools/{pool}"}))
    for pool, steps in (("pool-b", 1000), ("pool-c", 3000)):
        (tmp_path / "pools" / pool).mkdir(parents=True)
        history = [{"steps": 10}, {"steps": steps}]
        (tmp_path / "pools" / pool / "pool.json").write_text(json.dumps({"growth": {"history": history}}))
    checkpoint = "logs/fit/mountaincar/{}/checkpoints/best.ckpt"
    write_run(tmp_path, checkpoint=checkpoint.format("random"))
    write_evaluation(tmp_path, "a", 100, best=1.0, checkpoint=checkpoint.format("random"))
    write_evaluation(tmp_path, "b", 500, best=9.0, checkpoint=checkpoint.format("grown-seed0"))
    write_evaluation(tmp_path, "c", 400, best=7.0, checkpoint=checkpoint.format("grown-seed1"))
    write_evaluation(tmp_path, "few", 50, best=-9.0, checkpoint=checkpoint.format("random"))
    runs = find_runs([tmp_path / "finetune"]).runs
    random = find_pools(runs, [])["mountaincar"]
    assert random.best["standard"].value == 1 and random.growth_steps is None
    for seed in (0, 1):
        write_run(
            tmp_path / "more", seed=seed, tag=f"medium-k2-seed{seed}", checkpoint=checkpoint.format(f"grown-seed{seed}")
        )
    (tmp_path / "more" / "finetune" / "mountaincar").rename(tmp_path / "finetune" / "grown")
    grown = find_runs([tmp_path / "finetune" / "grown"]).runs
    both = find_pools(grown, [])["mountaincar"]
    assert both.best["standard"].value == 8 and both.growth_steps == 2000


def test_pools_are_known_by_content_whatever_folders_are_called(tmp_path, write_run, write_evaluation):
    fit = tmp_path / "fit" / "mountaincar" / "one"
    fit.mkdir(parents=True)
    (fit / "summary.json").write_text(json.dumps({"pool": "logs/pools/pool-a"}))
    path = "logs/fit/mountaincar/one/checkpoints/best.ckpt"  # of both fits, one made after the other
    write_run(tmp_path, checkpoint=path, content={"checkpoint": "A", "pool": None})
    write_evaluation(tmp_path, "a", 100, best=1.0, checkpoint=path, content={"checkpoint": "A", "pool": "P"})
    write_evaluation(tmp_path, "b", 500, best=9.0, checkpoint=path, content={"checkpoint": "B", "pool": "Q"})
    runs = find_runs([tmp_path / "finetune"]).runs
    assert find_pools(runs, [])["mountaincar"].best["standard"].value == 1
    write_evaluation(tmp_path, "c", 200, best=2.0, checkpoint="moved", content={"checkpoint": "C", "pool": "P"})
    assert find_pools(runs, [])["mountaincar"].best["standard"].value == 2
    write_run(tmp_path, "cmaes", checkpoint="moved", content={"checkpoint": "D", "pool": "Q"})
    both = find_pools(find_runs([tmp_path / "finetune"]).runs, [])["mountaincar"]
    assert both.best["standard"].value == (2 + 9) / 2 and both.policies == 700


def test_takes_the_evaluation_of_most_policies_that_fits(tmp_path, write_run, write_evaluation):
    write_run(tmp_path)
    runs = find_runs([tmp_path / "finetune"]).runs
    assert find_pools(runs, []) == {}
    write_evaluation(tmp_path, "few", 100)
    most = write_evaluation(tmp_path, "most", 200)
    write_evaluation(tmp_path, "large", 300, policy="large")
    broken = write_evaluation(tmp_path, "broken", 400)
    broken.write_text("{")
    assert find_pools(runs, [])["mountaincar"].path == most
    assert find_pools(runs, [tmp_path / "evaluate/mountaincar/few"])["mountaincar"].policies == 100
    with pytest.raises(UserError, match=r"broken.* is none"):
        find_pools(runs, [broken])
    with pytest.raises(UserError, match=r"expects an evaluation of medium policies .* of large policies"):
        find_pools(runs, [tmp_path / "evaluate/mountaincar/large/summary.json"])
    with pytest.raises(UserError, match=r"cannot be read"):
        find_pools(runs, [tmp_path / "evaluate/mountaincar/none/summary.json"])
