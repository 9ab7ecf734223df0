"""A study knows what its settings name by what is in it: environment, files, pools, tasks."""

import importlib
import sys

import gymnasium
import pytest

from sweeps.optuna_study.command import contents_of

TASK = "def reward(observation, action, next_observation, info):\n    return {}\n"


def test_the_environment_counts_by_content(monkeypatch):
    before = contents_of("Pendulum-v1", {})
    assert before == contents_of("Pendulum-v1", {}) and list(before) == ["environment Pendulum-v1"]
    monkeypatch.setattr(gymnasium.spec("Pendulum-v1"), "max_episode_steps", 77)
    assert contents_of("Pendulum-v1", {}) != before


@pytest.mark.parametrize("kind", ["file", "pool", "policies", "task"])
def test_what_settings_name_counts_by_content(kind, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_task_of_a_study.py").write_text(TASK.format("action[..., 0]"))
    (tmp_path / "pool").mkdir()
    place = {
        "file": tmp_path / "start.npz",
        "pool": tmp_path / "pool" / "pool.json",
        "policies": tmp_path / "left.npz",
        "task": tmp_path / "own_task_of_a_study.py",
    }[kind]
    if kind != "task":
        place.write_text("one")
    settings = {
        "file": {"finetune": {"start": str(place)}},
        "pool": {"fit": {"data.pool": str(place.parent)}},
        "policies": {"finetune": {"start": str(tmp_path)}},
        "task": {"finetune": {"task": "own_task_of_a_study:reward"}},
    }[kind]
    before = contents_of("mountaincar", settings)
    assert len(before) == 2 and contents_of("mountaincar", settings) == before
    place.write_text(TASK.format("-action[..., 0]"))
    sys.modules.pop("own_task_of_a_study", None)  # as in the next process: what is loaded counts
    importlib.invalidate_caches()
    after = contents_of("mountaincar", settings)
    assert after.keys() == before.keys() and sum(after[key] != before[key] for key in before) == 1


def test_words_that_name_nothing_do_not_count():
    settings = {"fit": {"data.recipe": "grown", "model.loss": ["a", ""]}, "search": {"model.latent_dim": [1]}}
    assert len(contents_of("mountaincar", settings)) == 1
