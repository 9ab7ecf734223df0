"""The end of a fit: what it says of the pool's best policies is what they earn, and the command that it names runs."""

import dataclasses
import json
import shlex
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

import lightning_pz.jobs.fit_end
from lightning_pz import finetune, fit, load_autoencoder, read_pool
from lightning_pz.common.errors import UserError
from lightning_pz.envs.tasks import TaskWrapper, find_task
from lightning_pz.evaluation.fresh import FRESH_SEED
from lightning_pz.jobs.fit_end import fit_notes, lucky_tasks, search_command
from lightning_pz.policy.saved import SavedPolicy
from tests.conftest import TINY_FIT

HORIZON = 25
GROWN = {
    "steps": "2500", "first": "40", "size": "60", "horizon": "10", "directions": "4", "population": "4", "generations": "3",
    "neighbors": "5", "threads": "1", "states": "{probe: 16, train: 24, val: 12, test: 12, episodes: 4}",
}  # fmt: skip
FIT = [
    "--env", "mountaincar", "--env.horizon", str(HORIZON), "--policy", "small", "--model.latent_dim", "2",
    "--model.encoder_widths", "[16]", "--model.decoder_widths", "[16]", "--data.batch_size", "16", "--data.states_per_step", "8",
    "--data.steps_per_epoch", "5", "--trainer.max_steps", "10", "--trainer.log_every_n_steps", "5", "--probes.enabled", "false",
    "--data.recipe", "grown", *(word for name, value in GROWN.items() for word in (f"--data.grown.{name}", value)),
]  # fmt: skip
TASKS = ("standard", "left", "speed", "height")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("lo gs")


@pytest.fixture
def done(place, capsys, monkeypatch):
    """Return a fit on a grown pool and what it printed; made once."""
    monkeypatch.chdir(place)
    if not (place / "said.txt").exists():
        summary = fit.main([*FIT, "--run_name", "mine"]).summary
        (place / "said.txt").write_text(capsys.readouterr().out)
        return summary, (place / "said.txt").read_text()
    summary = json.loads((place / "logs/fit/mountaincar/mine/summary.json").read_text())
    return summary, (place / "said.txt").read_text()


def last_folder(capsys) -> Path:
    return Path(capsys.readouterr().out.strip().splitlines()[-1])


def earned(policy: SavedPolicy, task: str, seed: int) -> float:
    """Play one episode with Gymnasium itself."""
    env = TaskWrapper(
        gymnasium.make("MountainCarContinuous-v0", max_episode_steps=HORIZON),
        find_task("MountainCarContinuous-v0", task),
    )
    observation, _ = env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        action = policy.act(torch.tensor(observation[None]))[0].numpy()
        observation, reward, terminated, truncated, _ = env.step(action)
        total, over = total + reward, terminated or truncated
    return total


@pytest.mark.slow
def test_the_best_of_the_pool_and_what_decoding_keeps_are_what_gymnasium_pays(done):
    summary, _ = done
    pool, model = read_pool(Path(summary["pool"])), load_autoencoder(summary["checkpoint"])
    assert pool.meta["growth"]["tasks"] == list(TASKS)
    seeds = range(FRESH_SEED, FRESH_SEED + summary["pool_best_episodes"])
    for number, task in enumerate(TASKS):
        found = pool.arrays["returns"][:, number]
        assert summary[f"{task}/pool_best_found"] == found.max()
        params = pool.params(np.array([found.argmax()]))
        for key, own in (("pool_best", params), ("pool_best_decoded", model.decoder(model.encode(params)))):
            policy = SavedPolicy.of(model.policy, own[0])
            wanted = np.mean([earned(policy, task, seed) for seed in seeds])
            assert summary[f"{task}/{key}"] == pytest.approx(wanted, abs=1e-4)


def test_all_that_is_shown_is_in_the_summary(done):
    summary, said = done
    for task in TASKS:
        (line,) = (line for line in said.splitlines() if line.startswith(f"  {task} "))
        shown = [float(word.replace(",", "")) for word in line.split()[1:]]
        keys = ("pool_best_found", "pool_best", "pool_best_decoded")
        assert shown == pytest.approx([summary[f"{task}/{key}"] for key in keys], abs=0.006)
    assert f"grown in {summary['growth_steps']:,} steps" in said and summary["recipe"] == "grown"
    assert f"  next: {summary['next_command']}\n  curves: tensorboard --logdir logs/fit/mountaincar\n" in said
    assert "found, 10 steps" in said and f"10 x {HORIZON} steps" in said


@pytest.mark.slow
def test_a_simulation_that_fails_at_the_end_takes_nothing_else(place, done, capsys, monkeypatch):
    def broken(*_, **__):
        raise UserError("the simulator is gone")

    monkeypatch.setattr(lightning_pz.jobs.fit_end, "pool_starts", broken)
    summary = fit.main([*FIT, "--run_name", "broken"]).summary
    said = capsys.readouterr().out
    assert "not played again: the simulator is gone" in said and "best in the pool" not in said
    assert summary["val_fvu"] == done[0]["val_fvu"] and summary["growth_steps"] == done[0]["growth_steps"]
    assert not [key for key in summary if "pool_best" in key]


def test_the_next_command_runs_and_begins_at_the_best(done, capsys):
    summary, _ = done
    words = shlex.split(summary["next_command"])
    assert words[:3] == ["python", "-m", "lightning_pz.finetune"]
    assert words[3:] == [
        "--checkpoint", summary["checkpoint"], "--task", "left", "--start", "pool_best", "--budget", "100000"
    ]  # fmt: skip
    finetune.main([*words[3:], "--budget", str(100 * HORIZON)])
    result = json.loads((last_folder(capsys) / "summary.json").read_text())
    assert result["task"] == "left" and 0 < result["env_steps"] <= 100 * HORIZON


def test_a_random_pool_ends_with_a_search_from_draws(tmp_path, capsys):
    logs = str(tmp_path / "my logs")
    words = ["--env", "mountaincar", "--env.horizon", "20", *TINY_FIT, "--probes.enabled", "false", "--logs", logs]
    summary = fit.main(words).summary
    said = capsys.readouterr().out
    assert summary["recipe"] == "random" and f"next: {summary['next_command']}" in said
    assert not [key for key in summary if "pool_best" in key or "growth" in key]
    words = shlex.split(summary["next_command"])[3:]
    assert words[2:] == ["--task", "left", "--budget", "200000", "--logs", logs]
    finetune.main([*words, "--budget", "4000"])
    folder = last_folder(capsys)
    assert folder.is_relative_to(logs) and json.loads((folder / "summary.json").read_text())["env_steps"] <= 4000


def test_an_environment_without_named_tasks_has_its_own(pool):
    """A pool of an id that has the task `standard` alone."""
    meta = pool.meta | {"env": pool.meta["env"] | {"id": "Pendulum-v1", "horizon": 2000}}
    command = search_command("a b.ckpt", dataclasses.replace(pool, meta=meta), "logs")
    assert command == "python -m lightning_pz.finetune --checkpoint 'a b.ckpt' --task standard --budget 400000"


@pytest.mark.parametrize(
    "history, train, recipe, wanted, unwanted",
    [
        ([0.9, 0.8, 0.7, 0.6, 0.5], 0.5, "random", "more --trainer.max_steps", "recipe grown"),
        ([0.5, 0.5, 0.5, 0.5, 0.5], 0.3, "random", "--data.random.candidates", "max_steps"),
        ([0.5, 0.5, 0.5, 0.5, 0.5], 0.3, "grown", "--data.grown.steps", "max_steps"),
        (
            [0.5, 0.5, 0.5, 0.5, 0.5],
            0.3,
            "archive",
            "a larger archive) or states (--states.train of collect)",
            "--data.",
        ),
        ([0.51, 0.5, 0.5, 0.5, 0.5], 0.5, "random", "longer training will not change that", "max_steps"),
        ([0.51, 0.5, 0.5, 0.5, 0.5], 0.5, "grown", "16 numbers are few", "recipe grown"),
        ([0.5], 0.5, "random", "more --trainer.max_steps", "few"),
    ],
)
def test_more_training_is_advised_where_it_was_still_gaining(history, train, recipe, wanted, unwanted):
    summary = {"val_fvu": history[-1], "train_fvu": train, "pca_fvu": 0.2, "recipe": recipe, "latent_dim": 16}
    rows = [(100 * step, value, train) for step, value in enumerate(history, 1)]
    note = fit_notes(summary, rows)[0]
    assert wanted in note and unwanted not in note
    assert "descend" in "".join(fit_notes(summary, rows)[1:]) or recipe != "grown"
    assert not [note for note in fit_notes(summary | {"pca_fvu": 0.9}, rows) if "PCA" in note]


def test_held_out_climbs_are_counted_and_said_to_be_few():
    summary = {"val_fvu": 0.1, "pca_fvu": 0.2, "recipe": "grown", "val_climbs": 3, "test_climbs": 2}
    (note,) = fit_notes(summary, [(100, 0.1, 0.1)])
    assert note.startswith("note: 3 whole climbs of the growth chose the checkpoint and 2 are the test")
    assert "other climbs" in note and "fit with --data.held_out" not in note


def test_a_best_policy_that_was_lucky_is_told_and_not_begun_at(done):
    summary, said = done
    pool = read_pool(Path(summary["pool"]))
    middles = dict(zip(TASKS, np.median(pool.arrays["returns"], axis=0), strict=True))
    for task in TASKS:
        lead = summary[f"{task}/pool_best_found"] - middles[task]
        for share, is_told in ((0.4, True), (0.6, False)):
            changed = summary | {f"{task}/pool_best": middles[task] + share * lead}
            assert (task in lucky_tasks(changed, pool)) is is_told
    assert lucky_tasks(summary | {f"{TASKS[1]}/pool_best": None}, pool).count(TASKS[1]) == 1
    told = lucky_tasks(summary, pool)
    assert bool(told) == ("was lucky in its one episode" in " ".join(said.split()))
    assert "--start pool_top --starts 20" in search_command("best.ckpt", pool, "logs", ["left"])
    assert "--start pool_best" in search_command("best.ckpt", pool, "logs", ["speed"])
