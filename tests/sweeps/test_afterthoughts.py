"""Tasks that nobody thought of: the ten are what their words say, and the study tells the choice from the best."""

import csv
from pathlib import Path

import numpy as np
import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.envs.simulators.protocol import Physics, Transition
from lightning_pz.envs.specs import env_spec
from lightning_pz.envs.tasks import find_task
from lightning_pz.growth import loop as loop_module
from lightning_pz.policy import Layout
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.states import StateCounts
from lightning_pz.replay.replay_episodes import replayed_returns
from sweeps.__main__ import main
from sweeps.afterthoughts.cheetah_tasks import AFTERTHOUGHTS


def test_the_ten_are_what_their_words_say():
    before, after = np.zeros((2, 9)), np.zeros((2, 9))
    before[0, 1], after[0] = 0.1, [0.1, 0.2, np.pi / 2, 0.3, 0, 0, 0.1, 0, 0.5]
    after[1] = [-0.1, -0.3, np.pi, -0.2, 0, 0, 0.3, 0, 0]
    velocities, actions = np.zeros((2, 9)), np.full((2, 6), 0.5)
    velocities[:, 8] = -3, 2
    nothing = np.zeros((2, 17))
    transition = Transition(
        nothing, actions, nothing, np.zeros(2), np.zeros(2, dtype=bool), Physics(before, velocities),
        Physics(after, velocities), 0.05,
    )  # fmt: skip
    expected = {
        "crouch": (-0.2, 0.3), "stand_tall": (0.2, -0.3), "jog": (1.0, np.exp(-16)), "hop": (2.0, 0.0),
        "lie_on_back": (0.0, 1.0), "headstand": (1.0, 0.0), "rear_up": (0.0, 0.0), "shake_foot": (3.0, 2.0),
        "bound": (2 * np.exp(-0.16), -2 * np.exp(-1)), "run_thriftily": (0.5, -3.5),
    }  # fmt: skip
    assert [task.__name__ for task in AFTERTHOUGHTS] == list(expected)
    for task in AFTERTHOUGHTS:
        np.testing.assert_allclose(task(transition), expected[task.__name__], atol=1e-12, err_msg=task.__name__)
        named = find_task("HalfCheetah-v5", f"{task.__module__}:{task.__name__}")
        np.testing.assert_array_equal(named(transition), task(transition))


@pytest.fixture(scope="module")
def grown_car(tmp_path_factory):
    folder, spec = tmp_path_factory.mktemp("afterthoughts") / "pools" / "mine", env_spec("MountainCarContinuous-v0", 60)
    recipe = GrownRecipe(
        steps=6000, first=40, size=60, horizon=40, directions=4, population=4, generations=3, own_states=3, neighbors=5,
        threads=1, states=StateCounts(probe=16, train=24, val=12, test=12, source="uniform"),
    )  # fmt: skip
    return loop_module.grow(folder, spec, Layout(2, (8,), 1), recipe, progress=False)


@pytest.mark.slow
def test_the_command_leaves_its_tables(grown_car, tmp_path, capsys, monkeypatch):
    (tmp_path / "stay_low.py").write_text(
        "def low(transition):\n    return -abs(transition.after.positions[:, 0] + 0.5)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    tasks, logs = ["stay_low:low", "left"], str(tmp_path / "logs")
    words = ["afterthought", "--pool", str(grown_car.folder), "--task", *tasks, "--logs", logs]
    main(words)
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    functions = {task: find_task("MountainCarContinuous-v0", task) for task in tasks}
    every = replayed_returns(grown_car, np.arange(len(grown_car)), functions)
    for row, column, replayed in zip(rows, every.T, (len(grown_car), 0), strict=True):
        assert float(row["best"]) == float(row["chosen"]) == column.max() and float(row["below"]) == 0
        assert float(row["median"]) == np.median(column) and int(row["replayed"]) == replayed and row["place"] == "1"
        assert float(row["cpu_seconds"]) >= 0 and float(row["whole"]) < 0.7 * 60
    # Again: nothing is replayed, and the tables are the same.
    before = (folder / "table.md").read_text()
    monkeypatch.setattr("lightning_pz.replay.replay_episodes.replayed_returns", None)
    main(words)
    assert (folder / "table.md").read_text() == before and before.count("\n| mine |") == 2


def test_bad_input(grown_car, pool, tmp_path):
    for words, sentence in (
        ([], "which pools"),
        (["--pool", "nowhere"], "expected a pool folder"),
        (["--pool", str(grown_car.folder)], "the study's tasks are for HalfCheetah"),
        (["--pool", str(pool.folder), "--task", "left"], "is a random pool"),
    ):
        with pytest.raises(UserError, match=sentence):
            main(["afterthought", *words, "--logs", str(tmp_path)])
