"""Runs that a report compares are of one environment and one task, by what each kept of them; versions are told."""

import csv
import importlib
import shutil
import sys
from pathlib import Path

import pytest

from lightning_pz import finetune, fit
from lightning_pz.common.errors import UserError
from lightning_pz.comparison.pool_best import find_pools
from lightning_pz.comparison.same_problem import evaluations_note, versions_note
from lightning_pz.comparison.search_runs import find_runs, group_runs
from lightning_pz.report import main

TINY = [
    "--budget", "900", "--starts", "2", "--pgpe.population", "4", "--evaluation_episodes", "2", "--test_episodes", "2",
]  # fmt: skip
PPO = ["--algorithm", "ppo", "--budget", "2048"]
TASK = "def far(t):\n    return {} * t.after.positions[:, 0]\n"
CAR = {"id": "MountainCarContinuous-v0", "horizon": 999, "kwargs": "", "source": ""}


@pytest.fixture(scope="module")
def fitted_to(tmp_path_factory):
    """Return a function that fits a tiny autoencoder on Mountain Car, once for each choice, and returns its checkpoint."""
    known: dict[tuple[str, ...], str] = {}

    def go(*arguments: str) -> str:
        if arguments not in known:
            known[arguments] = fit.main([
                "--env", "mountaincar", "--policy", "small", "--model.latent_dim", "2",
                "--model.encoder_widths", "[16]", "--model.decoder_widths", "[16]",
                "--data.random.candidates", "200", "--data.random.neighbors", "3", "--data.batch_size", "16",
                "--data.random.states", "{probe: 16, train: 16, val: 8, test: 8, episodes: 2}",
                "--data.states_per_step", "8", "--data.steps_per_epoch", "20", "--trainer.max_steps", "20",
                "--trainer.log_every_n_steps", "10", "--logs", str(tmp_path_factory.mktemp("fits")), *arguments,
            ]).summary["checkpoint"]  # fmt: skip
        return known[arguments]

    return go


@pytest.fixture
def search(tmp_path, capsys):
    """Return a function that does a real search below `logs` and returns its folder."""

    def go(checkpoint: str, *arguments: str) -> Path:
        finetune.main(["--checkpoint", checkpoint, *TINY, "--logs", str(tmp_path / "logs"), *arguments])
        return Path(capsys.readouterr().out.strip().splitlines()[-1])

    return go


@pytest.fixture
def own_task(tmp_path, monkeypatch):
    """Return a function that writes a task of one's own, as an edit does between two commands."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(factor: int) -> str:
        (tmp_path / "task_of_mine.py").write_text(TASK.format(factor))
        sys.modules.pop("task_of_mine", None)
        importlib.invalidate_caches()
        return "task_of_mine:far"

    yield write
    sys.modules.pop("task_of_mine", None)


def grouped(*folders: Path):
    return group_runs(find_runs(folders).runs)


@pytest.mark.slow
def test_searches_of_a_task_that_was_edited_between_them_are_refused(fitted_to, search, own_task, tmp_path):
    checkpoint = fitted_to("--env.horizon", "100")
    task = own_task(1)
    before = [search(checkpoint, "--task", task, "--seed", seed) for seed in "01"]
    own_task(100)
    after = search(checkpoint, "--task", task, "--seed", "2")
    with pytest.raises(
        UserError, match=r"one environment and one task.* the digest of the task's source is .*, not "
    ) as told:
        main([str(tmp_path / "logs"), "--out", str(tmp_path / "report")])
    assert str(before[0]) in str(told.value) and str(after) in str(told.value)
    assert "give these folders to a report each, or leave one out" in str(told.value)
    assert not (tmp_path / "report").exists()
    rival = search(checkpoint, "--task", task, *PPO)
    for apart, contenders in ((before, 1), ([after, rival], 2)):
        assert len(grouped(*apart)["mountaincar", task]) == contenders
    with pytest.raises(UserError, match="the task's source"):
        grouped(*before, rival)
    # A run of an earlier version kept nothing to compare.
    (after / "identity.json").unlink()
    assert len(grouped(*before, after)["mountaincar", task]["latent PGPE"]) == 3


@pytest.mark.slow
def test_searches_of_two_horizons_are_refused_and_of_two_sizes_are_not(fitted_to, search):
    short, long = (search(fitted_to("--env.horizon", horizon), "--task", "left") for horizon in ("60", "100"))
    with pytest.raises(UserError, match=rf"mountaincar left .*in {long} env.horizon is 100, not 60 as in {short}"):
        grouped(short, long)
    wide = fitted_to("--env.horizon", "100", "--model.latent_dim", "3", "--policy", "medium")
    others = [search(wide, "--task", "left"), search(wide, "--task", "left", *PPO)]
    assert len(grouped(long, *others)["mountaincar", "left"]) == 3
    with pytest.raises(UserError, match=r"env.horizon is 100, not 60"):
        grouped(others[1], short)


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"env": CAR | {"kwargs": '[{"push": 1}, []]'}}, {"env": CAR | {"kwargs": '[{"push": 2}, []]'}}, r"env.kwargs\[0\].push is 2, not 1"),
        ({"env": CAR}, {"env": CAR | {"kwargs": '[{"push": 2}, []]'}}, r"env.kwargs\[0\].push is 2, not \(absent\)"),
        ({"env": CAR | {"kwargs": '[{"push": 2}, []]'}}, {"env": CAR}, r"env.kwargs\[0\].push is \(absent\), not 2"),
        ({"env": CAR | {"source": "abc"}}, {"env": CAR | {"source": "def"}}, "the environment's source is \"def\", not \"abc\""),
        ({"env": CAR}, {"env": CAR | {"choices": [3]}}, "env.choices"),
        ({"env": CAR, "task_source": ""}, {"env": CAR, "task_source": "abc"}, "the task's source is \"abc\", not \"\""),
    ],
)  # fmt: skip
def test_the_first_difference_is_named(one, other, told, tmp_path, write_run):
    folders = write_run(tmp_path, content=one), write_run(tmp_path, "ppo", content=other)
    with pytest.raises(UserError, match=told) as error:
        grouped(*folders)
    assert all(str(folder) in str(error.value) for folder in folders)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"checkpoint": "A", "pool": "P"},
        {"env": CAR | {"given": '{"xml_file": "/elsewhere/car.xml"}'}},
        {"env": CAR | {"choices": [], "kwargs": "[{}, []]"}},
        {"env": {key: value for key, value in CAR.items() if key not in ("kwargs", "source")}, "task_source": ""},
    ],
)
def test_what_was_not_kept_and_where_files_lie_is_no_difference(other, tmp_path, write_run):
    folders = write_run(tmp_path, content={"env": CAR, "task_source": ""}), write_run(tmp_path, "ppo", content=other)
    assert len(grouped(*folders)["mountaincar", "standard"]) == 2


def test_a_difference_that_the_first_run_did_not_keep_is_found(tmp_path, write_run):
    write_run(tmp_path, seed=0, content={"env": {"id": CAR["id"]}})
    for seed, source in ((1, "abc"), (2, "def")):
        write_run(tmp_path, seed=seed, content={"env": CAR | {"source": source}})
    with pytest.raises(UserError, match="the environment's source"):
        grouped(tmp_path)
    # Of two tasks, and of two environments, each is compared with its own alone.
    write_run(tmp_path / "apart", content={"env": CAR})
    write_run(tmp_path / "apart", task="left", content={"env": CAR | {"horizon": 50}})
    write_run(tmp_path / "apart", env="reacher", content={"env": CAR | {"id": "Reacher-v5"}})
    assert len(grouped(tmp_path / "apart")) == 3


def test_versions_of_packages_get_one_note_and_no_error(tmp_path, write_run):
    pairs = [("pgpe", "1.3.0"), ("pgpe", "1.4.0"), ("pgpe", "1.4.0"), ("ppo", "1.4.0")]
    for seed, (algorithm, version) in enumerate(pairs):
        more = {"stable_baselines3": "2.7.0"} if algorithm == "ppo" else {}
        content = {"env": CAR, "versions": {"gymnasium": version, "mujoco": "4.0.0"} | more}
        write_run(tmp_path, algorithm, seed, content=content)
    write_run(tmp_path, "ppo", 9)
    main([str(tmp_path / "finetune"), "--draws", "100", "--out", str(tmp_path / "report")])
    page = (tmp_path / "report" / "report.md").read_text()
    assert page.count("different versions") == 1
    assert "made with different versions of gymnasium (1.3.0 in 1, 1.4.0 in 3): " in page
    # Where all of a task have one version there is nothing to tell, even if another task has another.
    shutil.rmtree(tmp_path / "finetune")
    for task, version in (("standard", "1.3.0"), ("left", "1.4.0")):
        write_run(tmp_path, task=task, content={"versions": {"gymnasium": version}})
    assert versions_note([own[0] for own in members.values()] for members in grouped(tmp_path).values()) is None


def test_unequal_numbers_of_evaluations_to_choose_from_get_one_note(tmp_path, write_run):
    for seed in (0, 1):
        write_run(tmp_path, "pgpe", seed, steps=(100, 500), returns=(1.0, 2.0))
        write_run(tmp_path, "cmaes", seed, steps=(100, 200, 300, 400), returns=(1.0, 3.0, 2.0, 2.0))
    runs = grouped(tmp_path)
    assert evaluations_note(runs.values()) is None  # twice as many
    write_run(tmp_path, "bo", 0, steps=range(1, 31), returns=[1.0] * 30)
    main([str(tmp_path / "finetune"), "--draws", "100", "--out", str(tmp_path / "report")])
    page = (tmp_path / "report" / "report.md").read_text()
    assert page.count("from 2 (latent PGPE) to 30 (latent Bayesian optimization) a run") == 1
    with (tmp_path / "report" / "runs.csv").open() as file:
        assert {(row["algorithm"], row["evaluations"]) for row in csv.DictReader(file)} == {
            ("pgpe", "2"), ("cmaes", "4"), ("bo", "30"),
        }  # fmt: skip


@pytest.mark.parametrize("more", [{"episodes": 5}, {"patience": 3}])
def test_searches_that_were_told_to_end_early_are_compared_with_their_like(more, tmp_path, write_run):
    write_run(tmp_path, "pgpe", **more)
    write_run(tmp_path, "cmaes")
    name, value = next(iter(more.items()))
    with pytest.raises(UserError, match=rf"the same {name}, but it is {value} in .*pgpe.* and None in .*cmaes"):
        grouped(tmp_path)
    write_run(tmp_path, "bo", **more)
    with pytest.raises(UserError, match=f"the same {name}"):
        grouped(tmp_path)


def test_an_evaluation_of_another_horizon_or_of_an_edited_task_is_no_reference(tmp_path, write_run, write_evaluation):
    """Beside the runs it is passed over, and the next one taken; one that is given is refused."""
    same = {"env": CAR, "checkpoint": "c", "pool": "p"}
    for seed in (0, 1):
        write_run(tmp_path, seed=seed, content=same | {"task_source": "now"})
    runs = find_runs([tmp_path]).runs
    good = same | {"tasks": {"standard": "now"}}
    write_evaluation(tmp_path, "good", 50, best=3.0, content=good)
    shorter = write_evaluation(tmp_path, "shorter", 300, best=9.0, content=good | {"env": CAR | {"horizon": 200}})
    edited = write_evaluation(tmp_path, "edited", 200, best=8.0, content=good | {"tasks": {"standard": "then"}})
    assert find_pools(runs, [])["mountaincar"].best["standard"].value == 3.0
    for given, words in ((shorter, "env.horizon is 200, not 999"), (edited, 'source is "then", not "now"')):
        with pytest.raises(UserError, match=f"--evaluation expects .*{words}"):
            find_pools(runs, [given])
    assert find_pools(runs, [tmp_path / "evaluate" / "mountaincar" / "good"])["mountaincar"].policies == 50
