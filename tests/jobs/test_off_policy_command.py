"""The real command on a tiny grown pool: old data in the buffer, resumption, what it leaves, and what it refuses."""

import json

import pytest

from lightning_pz import finetune, fit
from lightning_pz.common.errors import UserError
from lightning_pz.policy.saved import load_policy

SMALL = [
    "--off_policy.best", "6", "--off_policy.random", "4", "--off_policy.critic_updates", "4", "--off_policy.joint_updates", "3",
    "--off_policy.hidden", "[8, 8]", "--off_policy.batch", "16", "--evaluation_episodes", "2", "--test_episodes", "2",
    "--evaluate_every", "100", "--task", "left",
]  # fmt: skip


@pytest.fixture(scope="module")
def grown_checkpoint(tmp_path_factory):
    """Return the checkpoint of a tiny fit on a grown pool of Mountain Car, with episodes of 30 steps."""
    grown = {
        "steps": 2500, "first": 40, "size": 60, "horizon": 15, "directions": 4, "population": 4, "generations": 4,
        "latent_rounds": 1, "latent_dim": 2, "latent_steps": 3, "own_states": 3, "neighbors": 4, "threads": 1,
        "states": {"probe": 16, "train": 24, "val": 12, "test": 12, "episodes": 4},
    }  # fmt: skip
    result = fit.main([
        "--env", "mountaincar", "--env.horizon", "30", "--policy", "small", "--model.latent_dim", "2",
        "--logs", str(tmp_path_factory.mktemp("grown")), "--data.recipe", "grown",
        *(f"--data.grown.{key}={json.dumps(value)}" for key, value in grown.items()),
        "--data.steps_per_epoch", "4", "--trainer.max_steps", "8", "--trainer.log_every_n_steps", "2",
        "--data.batch_size", "16", "--data.states_per_step", "6", "--model.encoder_widths", "[8]",
        "--model.decoder_widths", "[8]",
    ])  # fmt: skip
    return result.summary["checkpoint"]


def run(checkpoint, tmp_path, *arguments):
    """Return the summaries of a command's runs by folder."""
    finetune.main(["--checkpoint", checkpoint, "--logs", str(tmp_path), *SMALL, *arguments])
    found = (tmp_path / "finetune").rglob("summary.json")
    return {path.parent: json.loads(path.read_text()) for path in found}


@pytest.mark.slow  # a grown pool takes a while
def test_a_search_from_the_pools_best_with_its_old_data(grown_checkpoint, tmp_path):
    arguments = ("--algorithm", "td3", "--space", "widened", "--start", "pool_best", "--budget", "150")
    ((folder, summary),) = run(grown_checkpoint, tmp_path, *arguments).items()
    assert "-widened-replay0.5-pool_best-" in folder.name and folder.name.startswith("td3-small-k2")
    assert 0 < summary["env_steps"] <= 150
    (again,) = run(grown_checkpoint, tmp_path / "again", *arguments).values()
    assert again["left/return"] == summary["left/return"]
    content = json.loads((folder / "identity.json").read_text())
    assert '"pool"' in json.dumps(content) and "stable_baselines3" in json.dumps(content)
    assert load_policy(folder / "policy.npz").is_plain


@pytest.mark.slow  # a grown pool takes a while
def test_old_data_alone_take_no_step(grown_checkpoint, tmp_path):
    arguments = ("--algorithm", "sac", "--space", "latent", "--start", "pool_best", "--replay", "1", "--budget", "150")
    (summary,) = run(grown_checkpoint, tmp_path, *arguments).values()
    assert summary["env_steps"] == 0 and summary["episodes"] == 0


@pytest.mark.slow  # a grown pool takes a while
def test_the_librarys_own_learner_with_old_data(grown_checkpoint, tmp_path):
    arguments = ("--algorithm", "sac", "--space", "own", "--hyperparameters", "zoo", "--budget", "150")
    ((folder, summary),) = run(grown_checkpoint, tmp_path, *arguments).items()
    assert folder.name.startswith("sac-zoo-own-replay0.5") and 0 < summary["env_steps"] <= 150
    (plain,) = run(
        grown_checkpoint, tmp_path / "plain", "--algorithm", "sac", "--hyperparameters", "zoo", "--budget", "150"
    ).values()
    assert plain["left/return"] != summary["left/return"]
    content = json.loads((folder / "identity.json").read_text())
    assert '"off_policy"' in json.dumps(content) and '"pool"' in json.dumps(content)


@pytest.mark.parametrize("words", [("--replay", "1"), ("--replay", "0"), ("--start", "pool_best")])
def test_the_own_learner_begins_from_scratch_with_old_data_and_new(words, checkpoint, tmp_path):
    with pytest.raises(UserError, match=r"--space own is the library's own learner from scratch"):
        run(checkpoint, tmp_path, "--algorithm", "sac", "--space", "own", *words)


def test_a_random_pool_has_no_old_data(checkpoint, tmp_path):
    with pytest.raises(UserError, match=r"--replay 0\.5 learns from the episodes of a grown pool"):
        run(checkpoint, tmp_path, "--algorithm", "td3", "--space", "weights", "--budget", "600")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--off_policy.critic_updates", "0", "--off_policy.joint_updates", "0"), "nothing would be learned"),
        (("--off_policy.best", "0", "--off_policy.random", "0"), "which leaves none: raise one of them"),
    ],
)
def test_old_data_that_teach_nothing_are_refused_before_a_folder_is_claimed(words, told, checkpoint, tmp_path):
    command = ("--algorithm", "td3", "--space", "latent", "--start", "pool_best", "--replay", "1", *words)
    with pytest.raises(UserError, match=told):
        run(checkpoint, tmp_path, *command)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_old_data_alone_after_starts_that_hardly_fit(grown_checkpoint, tmp_path):
    command = ("--algorithm", "td3", "--space", "latent", "--replay", "1")
    with pytest.raises(UserError, match=r"--budget 29 is smaller than one generation, which .* 30 environment steps"):
        run(grown_checkpoint, tmp_path, *command, "--budget", "29")
    assert not list(tmp_path.rglob("state.pt"))
    (summary,) = run(
        grown_checkpoint, tmp_path, *command, "--budget", "30", "--off_policy.critic_updates", "0"
    ).values()
    assert summary["episodes"] == 1 and 0 < summary["env_steps"] <= 30


@pytest.mark.slow
def test_a_task_thought_of_afterwards_has_old_data_too(grown_checkpoint, tmp_path, monkeypatch):
    (tmp_path / "mytasks.py").write_text("def still(transition):\n    return -abs(transition.actions[:, 0])\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    arguments = ("--task", "mytasks:still", "--algorithm", "td3", "--space", "weights", "--start", "pool_best")
    (summary,) = run(grown_checkpoint, tmp_path, *arguments, "--replay", "1", "--budget", "150").values()
    assert summary["env_steps"] == 0 and summary["mytasks:still/return"] <= 0
