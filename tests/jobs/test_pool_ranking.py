"""`evaluate --pool --task` ranks a pool on any task and leaves a table, a figure, a policy and a film."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lightning_pz import evaluate
from lightning_pz.common.errors import UserError
from lightning_pz.envs.rollout import rollout
from lightning_pz.envs.specs import env_spec
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.growth import loop as loop_module
from lightning_pz.jobs import pool_ranking
from lightning_pz.policy import Layout
from lightning_pz.policy.saved import load_policy
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.states import StateCounts
from lightning_pz.replay.replay_episodes import growth_seeds

RECIPE = GrownRecipe(
    steps=6000, first=40, size=60, horizon=40, directions=4, population=4, generations=3, own_states=3, neighbors=5,
    threads=1, states=StateCounts(probe=16, train=24, val=12, test=12, source="uniform"),
)  # fmt: skip


@pytest.fixture(scope="module")
def grown_car(tmp_path_factory):
    folder, spec = tmp_path_factory.mktemp("ranked") / "pool", env_spec("MountainCarContinuous-v0", 60)
    return loop_module.grow(folder, spec, Layout(2, (8,), 1), RECIPE, progress=False)


@pytest.fixture
def fast(tmp_path, monkeypatch):
    """Return the name of a task of the user's own."""
    (tmp_path / "be_fast.py").write_text(
        "def fast(transition):\n    return abs(transition.after.velocities[:, 0])\n\n"
        "def nothing(transition):\n    return transition.rewards * float('nan')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "be_fast:fast"


@pytest.mark.slow
@pytest.mark.draws
def test_ranks_a_known_and_an_unknown_task(grown_car, fast, tmp_path, capsys, monkeypatch):
    filmed = []
    monkeypatch.setattr(pool_ranking, "film", lambda *a: filmed.append(a) or (a[4].with_suffix(".mp4"), ""))
    words = ["--pool", str(grown_car.folder), "--task", fast, "left", "--logs", str(tmp_path), "--threads", "1"]
    evaluate.main([*words, "--env", "mountaincar", "--video", "true"])
    output = capsys.readouterr().out
    parent = Path(output.strip().splitlines()[-1])
    assert parent == tmp_path / "evaluate" / "mountaincar" and f"--start pool_best --task {fast},left" in output
    assert f"{len(grown_car)} for be_fast:fast, none for left" in output and "video of left" in output
    for task, start in ((fast, "ranking-be_fast-fast-"), ("left", "ranking-left-")):
        (folder,) = parent.glob(f"{start}*")
        summary = json.loads((folder / "summary.json").read_text())
        with (folder / "ranking.csv").open() as file:
            table = list(csv.DictReader(file))
        assert [int(row["rank"]) for row in table] == list(range(1, len(grown_car) + 1))
        assert (int(table[0]["policy"]), float(table[0]["return"])) == (summary["best_policy"], summary["best_return"])
        assert (folder / "figures" / "ranking.png").stat().st_size > 5000
        # The saved policy earns in its growth episode what the table says.
        (file,) = folder.glob("*.npz")
        policy, seeds = load_policy(file), growth_seeds(grown_car, np.array([summary["best_policy"]]))
        spec, tasks = env_spec("MountainCarContinuous-v0", 60), find_tasks("MountainCarContinuous-v0", [task])
        played = rollout(policy.network(), policy.params[None], spec, seeds, tasks, horizon=40)
        assert played.returns[task][0, 0] == summary["best_return"] == max(float(row["return"]) for row in table)
    assert [(one[2].horizon, one[3]) for one in filmed] == [
        (40, growth_seeds(grown_car, np.array([json.loads(path.read_text())["best_policy"]]))[0])
        for path in (next(parent.glob("ranking-be*/summary.json")), next(parent.glob("ranking-left*/summary.json")))
    ]


@pytest.mark.slow
def test_the_next_command_names_a_fit_of_the_pool(grown_car, tmp_path, capsys):
    run = tmp_path / "fit" / "mountaincar" / "mine"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "best.ckpt").touch()
    summary = {"pool": str(grown_car.folder), "checkpoint": str(run / "checkpoints" / "best.ckpt")}
    for words in ({}, summary):
        (run / "summary.json").write_text(json.dumps(words))
        evaluate.main(["--pool", str(grown_car.folder), "--task", "left,height", "--logs", str(tmp_path)])
        output = capsys.readouterr().out
        assert ("--checkpoint CHECKPOINT_OF" in output) == (not words)
    assert f"--checkpoint {summary['checkpoint']} --start pool_best --task left,height" in output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--task", "left"], "but which\\? Give --pool"),
        (["--pool", "POOL"], "but on which task\\?"),
        (["--pool", "nowhere", "--task", "left"], "there is no pool.json in nowhere"),
        (["--pool", "POOL", "--task", "lefft"], "Did you mean 'left'"),
        (["--pool", "POOL", "--task", "left", "--env", "hopper"], "--env asks for Hopper-v5"),
        (["--pool", "POOL", "--task", "left", "--tasks", "left"], "--tasks has no effect here, since --task ranks"),
        (["--pool", "POOL", "--task", "left", "--elsewhere", "POOL"], "--task and --elsewhere each measure something"),
        (["--pool", "POOL", "--task", "left", "--translate", "medium,nosuch"], "--task and --translate each measure"),
        (["--pool", "POOL", "--task", "be_fast:gone"], "has no such function"),
        (["--pool", "POOL", "--task", "be_fast:nothing"], "not finite, nan, in step 1"),
        (["--pool", "RANDOM", "--task", "left"], "is a random pool, whose policies were never played"),
        (["--checkpoint", "CHECKPOINT", "--task", "left"], "--task ranks the policies of --pool and needs no checkpoint"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(words, sentence, grown_car, pool, fast, tmp_path):
    checkpoint = tmp_path / "best.ckpt"
    checkpoint.touch()
    places = {"POOL": str(grown_car.folder), "RANDOM": str(pool.folder), "CHECKPOINT": str(checkpoint)}
    with pytest.raises(UserError, match=sentence):
        evaluate.main([*(places.get(word, word) for word in words), "--logs", str(tmp_path / "logs")])
    assert not list((tmp_path / "logs").rglob("*.npz"))


def test_it_is_refused_before_torch_is_imported(pool, tmp_path):
    words = ["-X", "importtime", "-m", "lightning_pz.evaluate", "--pool", str(pool.folder), "--task", "left"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and "error: " in done.stderr and " torch" not in done.stderr
