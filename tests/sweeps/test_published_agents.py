"""Agents that others published are found by their content, and brought by the line that is told."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3 import PPO

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import file_digest
from sweeps.__main__ import main
from sweeps.compression.published_agent import PublishedAgent
from tests.sweeps.test_compression_study import GRID, write


def test_a_published_agent_is_found_by_its_content(tmp_path, capsys, monkeypatch):
    """And its curve is that which lies beside it; without the file, or with another one, a line says how to get it."""
    clone = tmp_path / "logs" / "published" / "somewhere-agents"
    (clone / "ppo").mkdir(parents=True)
    model = PPO("MlpPolicy", "CartPole-v1", device="cpu", seed=0, policy_kwargs={"net_arch": [8]})
    model.save(file := clone / "ppo" / "pole.zip")
    results = np.array([[9.0, 11.0], [20.0, 40.0]])
    np.savez(clone / "ppo" / "evaluations.npz", timesteps=[100, 200], results=results)
    published = {
        "repository": "https://somewhere/agents",
        "commit": "abc",
        "file": "ppo/pole.zip",
        "learned_in": "Pole-v0",
    }
    record = clone / "ppo" / "evaluations.npz"
    published |= {"digest": file_digest(file), "record": file_digest(record)}
    agent = {"env": "cartpole", "published": published}
    small = {"agents": {"pole of others": agent}, "methods": ["prune"], "seeds": 1, "learners": {}}
    words = ["compression", "--grid", write(tmp_path / "grid.yaml", GRID | small), "--logs", str(tmp_path / "logs")]
    drawn = []
    monkeypatch.setattr(
        "sweeps.compression.compression_figures._draw_training", lambda axes, curve, dense: drawn.append(curve)
    )
    main(words)
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    assert (folder / "compression_pole_of_others.png").is_file()
    assert drawn[0].steps == [100, 200] and drawn[0].returns == [10.0, 30.0] and "mean of 2, Pole-v0" in drawn[0].label
    (summary,) = (tmp_path / "logs" / "compress" / "cartpole").glob("distill-prune-*/summary.json")
    assert json.loads(summary.read_text())["policy"] == str(file)

    kept = record.read_bytes()
    np.savez(record, timesteps=[100, 200], results=2 * results)  # of another training
    with pytest.raises(UserError, match=r"evaluations.npz is another file .* checkout abc -- ppo"):
        main(words)
    record.unlink()
    with pytest.raises(UserError, match=r"expected the published file .*evaluations.npz: .* checkout abc -- ppo"):
        main(words)
    record.write_bytes(kept)
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(
        UserError, match=r"is another file \(SHA-256 .*, but the study names .*: git -C .* checkout abc -- ppo"
    ):
        main(words)
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(UserError, match="is a pointer of Git LFS, which wants git-lfs installed"):
        main(words)
    file.unlink()
    with pytest.raises(UserError, match=r"pole.zip: git -C .* fetch origin abc && git -C .* checkout abc -- ppo"):
        main(words)
    shutil.rmtree(clone)
    with pytest.raises(
        UserError, match=r"pole.zip: git clone .* https://somewhere/agents .*agents && git -C .* checkout"
    ):
        main(words)


@pytest.mark.parametrize("content", [b"no archive", {"timesteps": [1]}])
def test_a_record_of_training_that_is_none_is_told_before_any_work(content, tmp_path):
    clone = tmp_path / "logs" / "published" / "somewhere-agents"
    clone.mkdir(parents=True)
    PPO("MlpPolicy", "CartPole-v1", device="cpu").save(file := clone / "pole.zip")
    record = clone / "evaluations.npz"
    if isinstance(content, bytes):
        record.write_bytes(content)
    else:
        np.savez(record, **content)
    published = {"repository": "https://somewhere/agents", "commit": "abc", "file": "pole.zip", "learned_in": "Pole-v0"}
    published |= {"digest": file_digest(file), "record": file_digest(record)}
    grid = GRID | {"agents": {"pole": {"env": "cartpole", "published": published}}, "learners": {}}
    with pytest.raises(UserError, match=r"evaluations.npz is no record of EvalCallback"):
        main(["compression", "--grid", write(tmp_path / "grid.yaml", grid), "--logs", str(tmp_path / "logs")])
    assert not (tmp_path / "logs" / "compress").exists()


@pytest.mark.parametrize("name", ["ppo/pole/model.zip", "model.zip"])
def test_the_line_that_is_told_brings_a_published_file(name, tmp_path):
    """And nothing else of the repository, from the commit that the study names, also where the clone is older than it."""
    source, git = tmp_path / "its" / "agents", ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for path in (source / name, source / "sac" / "ant" / "other.zip"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("older")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "older"]):
        subprocess.run([*git, *words], cwd=source, check=True)

    def brought(published: PublishedAgent) -> Path:
        with pytest.raises(UserError) as told:
            published.find(str(tmp_path / "logs"))
        subprocess.run(str(told.value).partition("model.zip: ")[2], shell=True, check=True, capture_output=True)
        return published.find(str(tmp_path / "logs"))

    for content in ("first", "second"):
        (source / name).write_text(content)
        subprocess.run([*git, "commit", "-qam", content], cwd=source, check=True)
        commit = subprocess.run([*git, "rev-parse", "HEAD"], cwd=source, check=True, capture_output=True, text=True)
        digest = hashlib.sha256(content.encode()).hexdigest()
        found = brought(PublishedAgent(str(source), commit.stdout.strip(), name, digest, "Pole-v0"))
        assert found.read_text() == content
        assert [path.name for path in (tmp_path / "logs").rglob("*.zip")] == ["model.zip"]
        found.unlink()  # the clone is there, and the file is not
    with pytest.raises(UserError, match=r"published/others-agents/.*git clone"):  # and not the other agents' clone
        PublishedAgent("https://host/others/agents", "abc", name, "", "Pole-v0").find(str(tmp_path / "logs"))
