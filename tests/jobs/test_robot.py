"""A robot of the user's own, `--env.kwargs.xml_file`, through the real commands."""

import json
import shutil
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from lightning_pz import collect, compress, evaluate, finetune, fit
from lightning_pz.common.errors import UserError
from lightning_pz.envs.episode_seeds import TEST_SEEDS
from lightning_pz.policy.saved import load_policy
from tests.jobs.test_finetune_heads import TINY, TINY_FIT

SHIPPED = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / "half_cheetah.xml"
ENV = ["--env", "halfcheetah", "--env.horizon", "40"]
ROBOT = [*ENV, "--env.kwargs.xml_file", "robot.xml", "--env.kwargs.frame_skip", "4"]


def longer(path, size=".19"):
    """Write a cheetah with a longer thigh."""
    text = SHIPPED.read_text()
    assert '"0.046 .15"' in text
    path.write_text(text.replace('"0.046 .15"', f'"0.046 {size}"'))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Fit in a folder with a robot; return the folder and the result."""
    folder = tmp_path_factory.mktemp("robot")
    longer(folder / "robot.xml")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, fit.main([*ROBOT, *TINY_FIT, "--logs", str(folder / "logs")])


def test_a_search_ends_at_what_gymnasium_itself_returns(made, tmp_path, monkeypatch, capsys):
    """From another folder than that of the fit, for a search in the latents and a learner from scratch."""
    folder, fitted = made
    monkeypatch.chdir(tmp_path)
    for algorithm in ("pgpe", "ppo"):
        capsys.readouterr()
        finetune.main(
            [
                "--checkpoint",
                fitted.summary["checkpoint"],
                "--task",
                "forward",
                "--algorithm",
                algorithm,
                "--logs",
                "logs",
                *TINY,
                "--budget",
                "2100",
            ]
        )
        told = capsys.readouterr().out
        assert "HalfCheetah-v5 (frame_skip 4, xml_file robot.xml)" in told
        run = Path(told.strip().splitlines()[-1])
        policy, returns = load_policy(run / "policy.npz"), []
        env = gymnasium.make("HalfCheetah-v5", max_episode_steps=40, xml_file=str(folder / "robot.xml"), frame_skip=4)
        for seed in range(TEST_SEEDS, TEST_SEEDS + 4):
            observation, total, ended = env.reset(seed=seed)[0], 0.0, False
            while not ended:
                numbers = torch.from_numpy(observation.astype(np.float32))[None]
                observation, reward, _, ended, _ = env.step(policy.act(numbers)[0].numpy())
                total += reward
            returns.append(total)
        env.close()
        summary = json.loads((run / "summary.json").read_text())
        assert summary["forward/return"] == pytest.approx(np.mean(returns), rel=1e-6)


def test_a_fit_is_found_again_by_what_the_robot_is(made, tmp_path, monkeypatch, capsys):
    folder, fitted = made
    monkeypatch.chdir(tmp_path)
    shutil.copy(folder / "robot.xml", tmp_path / "moved.xml")
    moved = [word.replace("robot.xml", "moved.xml") for word in ROBOT]
    again = fit.main([*moved, *TINY_FIT, "--logs", str(folder / "logs"), "--ckpt_path", "last"])
    assert again.folder == fitted.folder and again.summary["pool"] == fitted.summary["pool"]
    # Neither the shipped robot, nor one with the same name and other legs, is taken for it.
    longer(tmp_path / "robot.xml", ".2")
    others = [fit.main([*words, *TINY_FIT, "--logs", str(folder / "logs")]) for words in (ENV, ROBOT)]
    assert (
        len({one.folder for one in (fitted, *others)}) == len({one.summary["pool"] for one in (fitted, *others)}) == 3
    )
    with pytest.raises(UserError, match=r"policies for another HalfCheetah-v5: env\.kwargs is"):
        fit.main([*ENV, *TINY_FIT, "--data.pool", fitted.summary["pool"], "--logs", "logs"])


def test_a_robot_that_is_gone_or_was_edited_is_told(made, tmp_path, monkeypatch):
    folder, fitted = made
    monkeypatch.chdir(folder)
    words = [
        "--checkpoint",
        fitted.summary["checkpoint"],
        "--policies",
        "4",
        "--episodes",
        "2",
        "--logs",
        str(tmp_path),
    ]
    kept = (folder / "robot.xml").read_text()
    try:
        longer(folder / "robot.xml", ".2")
        with pytest.raises(UserError, match="was made for HalfCheetah-v5 as it was then, which has changed"):
            evaluate.main(words)
        (folder / "robot.xml").unlink()
        with pytest.raises(UserError, match=r"xml_file .*robot\.xml, which is not there any more: restore the file"):
            evaluate.main(words)
    finally:
        (folder / "robot.xml").write_text(kept)
    evaluate.main(words)


def test_growth_and_compression_take_it_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    longer(tmp_path / "robot.xml")
    growth = [
        "--first",
        "32",
        "--directions",
        "2",
        "--population",
        "2",
        "--generations",
        "2",
        "--steps",
        "3000",
        "--neighbors",
        "3",
    ]
    states = ["--states", "{probe: 16, train: 16, val: 8, test: 8, episodes: 2}"]
    collect.main([*ROBOT, "--recipe", "grown", *growth, *states, "--workers", "1"])
    meta = json.loads((Path(capsys.readouterr().out.strip().splitlines()[-1]) / "pool.json").read_text())
    assert "content" in meta["env"]["kwargs"] and "robot.xml" not in json.dumps(meta["identity"])
    small = ["--algorithm", "ppo", "--method", "none", "--steps", "64", "--episodes", "2", "--progress", "false"]
    compress.main([*ROBOT, *small, "--model", "{ppo: {n_steps: 32, batch_size: 32, n_epochs: 1}}"])
    run = Path(capsys.readouterr().out.strip().splitlines()[-1])
    assert "robot.xml" not in (run / "identity.json").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--env.kwargs.xml_fil", "robot.xml"], "takes xml_file, frame_skip, .*Did you mean 'xml_file'"),
        (["--env.kwargs.xml_file", "nowhere.xml"], "nowhere.xml does not exist.*check --env.kwargs.xml_file"),
        (["--env.kwargs.frame_skip", "many"], "check --env.kwargs.frame_skip"),
        (["--env.kwargs.max_episode_steps", "5"], "--env.horizon sets the steps"),
        (["--env.kwargs", "3"], "--env.kwargs expects a mapping"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("main", [fit.main, collect.main, compress.main])
def test_bad_arguments_are_told_before_anything_is_written(main, words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told):
        main([*ENV, *words])
    assert not list(tmp_path.iterdir())
