"""Evaluations and the episodes they share are known by content; no answer takes the place of another."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import file_digest, safe_name
from lightning_pz.common.identity import digest
from lightning_pz.envs.rollout import Rollouts
from lightning_pz.evaluate import main
from lightning_pz.evaluation import groups, run
from lightning_pz.fit import main as fit
from tests.children import child_environment
from tests.conftest import TINY_FIT
from tests.evaluation.conftest import SMALL
from tests.evaluation.conftest import evaluate as evaluate_all


def evaluate(checkpoint, logs, *arguments):
    """Run the command on one checkpoint; return what it found."""
    return evaluate_all(checkpoint, logs, *arguments)[0]


@pytest.fixture(scope="module")
def whole_pools(tmp_path_factory):
    """Two fits on pools that keep all of their candidates, whose numbers are then the same."""
    logs = tmp_path_factory.mktemp("logs")
    keep = ["--data.random.keep", "1.0", "--data.random.candidates", "150", "--trainer.max_steps", "10"]
    return [
        fit(["--env", "mountaincar", *TINY_FIT, *keep, "--logs", str(logs), "--data.random.seed", seed])
        for seed in "01"
    ]


@pytest.mark.slow
def test_pools_that_keep_the_same_numbers_do_not_share_episodes(whole_pools, tmp_path):
    together, checkpoints = tmp_path / "together", [done.summary["checkpoint"] for done in whole_pools]
    for number, checkpoint in enumerate(checkpoints):
        places = together, tmp_path / str(number)
        both, alone = (evaluate(checkpoint, logs, "--tasks", "[standard]").folder for logs in places)
        assert (both / "returns.csv").read_bytes() == (alone / "returns.csv").read_bytes()
    assert len(list((together / "evaluate" / "mountaincar" / "shared").glob("*.npz"))) == 4
    with pytest.raises(UserError, match="another pool"):
        evaluate(checkpoints[0], tmp_path, "--pool", whole_pools[1].summary["pool"])
    # Equal numbers, so an earlier version may have shown the other pool's episodes: that answer is not believed.
    assert not run._identity(*_opened(checkpoints[0])).earlier


def _opened(checkpoint):
    ((path, model),) = run.load_checkpoints([checkpoint], None)
    settings = {"checkpoint": checkpoint, "tasks": ["standard"], "episodes": 2, "threads": 2}
    return path, model, run.find_pool(model), settings


def test_an_evaluation_of_an_earlier_version_is_found_again(fitted, tmp_path):
    checkpoint = fitted.summary["checkpoint"]
    done = evaluate(checkpoint, tmp_path, "--tasks", "[standard]")
    settings = json.loads((done.folder / "identity.json").read_text())["settings"]
    before = {**settings, "checkpoint": file_digest(Path(checkpoint)), "tasks": ["standard"], "threads": None}
    for name in ("identity", "identity.json"):
        (done.folder / name).unlink()
    old = done.folder.rename(done.folder.with_name(f"small-k2-seed0-{digest(before)[:8]}"))
    again = evaluate(checkpoint, tmp_path, "--tasks", "[standard]")
    assert again.found and again.folder == old and again.summary == done.summary
    assert not run._identity(*_opened(checkpoint)[:3], {"tasks": ["os:getcwd"]}).earlier


@pytest.mark.slow
def test_a_task_that_was_edited_is_played_anew_and_tasks_keep_their_own_files(fitted, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = ["edited_task:f", "edited_task:F"]

    def go(sign):
        (tmp_path / "edited_task.py").write_text(f"def f(t):\n    return {sign}t.after.positions[:, 0]\nF = f\n")
        sys.modules.pop("edited_task", None)
        importlib.invalidate_caches()
        return evaluate(fitted.summary["checkpoint"], tmp_path, "--tasks", f"[{', '.join(names)}]")

    first, same, second = go(""), go(""), go("-")
    assert same.found and same.folder == first.folder and not second.found and second.folder != first.folder
    key = "edited_task:f/best_in_pool"
    assert first.summary[key] < 0 < second.summary[key]
    found = {path.name for path in (first.folder / "best_in_pool").iterdir()}
    assert found == {f"{safe_name(name)}.npz" for name in names} and len(found) == 2
    sys.modules.pop("edited_task")


def test_two_processes_may_keep_the_same_episodes_at_once(tmp_path, monkeypatch):
    """Both have written theirs before either gives the file its name."""
    barrier, original = threading.Barrier(2, timeout=30), np.savez

    def save(*arguments, **named):
        original(*arguments, **named)
        barrier.wait()

    monkeypatch.setattr(groups.np, "savez", save)
    made = Rollouts(np.ones((2, 1), dtype=np.int64), np.ones((2, 1), dtype=bool), {"a": np.ones((2, 1))})
    found, errors = [], []

    def work():
        try:
            found.append(groups.kept(tmp_path, "pool", {"x": 1}, ["a"], lambda: made))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(found) == 2
    monkeypatch.undo()
    (path,) = tmp_path.iterdir()
    again = groups.kept(tmp_path, "pool", {"x": 1}, ["a"], lambda: pytest.fail("played again"))
    np.testing.assert_array_equal(again.returns["a"], made.returns["a"])
    path.write_bytes(path.read_bytes()[:40])  # cut off
    assert groups.kept(tmp_path, "pool", {"x": 1}, ["a"], lambda: made) is made


@pytest.mark.slow
def test_equal_evaluations_begun_together_play_once(fitted, tmp_path):
    """Processes, as users begin them: Python 3.11 cannot parse the heads of arrays in two threads at once."""
    small = [*SMALL[:-1], "2", "--tasks", "[standard]", "--logs", str(tmp_path)]
    command = [sys.executable, "-m", "lightning_pz.evaluate", "--checkpoint", fitted.summary["checkpoint"], *small]
    both = [
        subprocess.Popen(command, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert sorted("was there already" in out + err for out, err in ends) == [False, True]
    assert len(list((tmp_path / "evaluate" / "mountaincar").glob("*/summary.json"))) == 1


@pytest.mark.slow
def test_elsewhere_keeps_its_earlier_answers(whole_pools, tmp_path, capsys):
    checkpoint = whole_pools[0].summary["checkpoint"]
    pools = [done.summary["pool"] for done in whole_pools]

    def go(*chosen):
        main(["--checkpoint", checkpoint, "--logs", str(tmp_path), "--elsewhere", *chosen])
        return Path(
            next(w for line in capsys.readouterr().out.splitlines() for w in line.split() if w.endswith(".csv"))
        )

    one = go(pools[1])
    content = one.read_bytes()
    two = go(*pools)
    assert one != two and one.read_bytes() == content and go(pools[1]) == one
    shutil.copytree(pools[1], tmp_path / "moved")
    assert go(str(tmp_path / "moved")) == one


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--episode_seed", "-1"], "--episode_seed expects a seed from 0 to 4294967294"),
        (["--episode_seed", str(2**32 - 1)], r"--episode_seed expects a seed from 0 to 4294967294 \(2 of them"),
        (["--latent_seed", str(2**32)], "--latent_seed expects a seed from 0 to 4294967295"),
        (["--config", "latin.yaml"], r"UTF-8, but latin\.yaml is in another encoding"),
        (["--config", "nowhere.yaml"], "there is none at nowhere.yaml"),
    ],
)
def test_bad_input(arguments, sentence, fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("latin.yaml").write_bytes(b"logs: caf\xe9\n")
    with pytest.raises(UserError, match=sentence):
        main(["--checkpoint", fitted.summary["checkpoint"], *SMALL, *arguments])
    assert [path.name for path in tmp_path.iterdir()] == ["latin.yaml"]


def test_logs_that_cannot_be_written_are_refused_before_playing(fitted, tmp_path, monkeypatch):
    (tmp_path / "logs").write_text("a file where a folder is wanted")
    monkeypatch.setattr(run, "play_groups", lambda *_, **__: pytest.fail("played"))
    with pytest.raises(UserError, match="something else lies at"):
        evaluate(fitted.summary["checkpoint"], tmp_path / "logs")
