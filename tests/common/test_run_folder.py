"""The folder of a run: its lock, its name beside runs of other settings, its state and summary when they are broken."""

import importlib.metadata

import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.common.known_folders import Identity, claim, find
from lightning_pz.common.run_folder import RunFolder


def test_a_run_is_locked_while_it_is_worked_on_and_a_broken_state_is_explained(tmp_path):
    one, two = Identity({"a": 1}), Identity({"a": 2})
    first = RunFolder(claim([tmp_path], "run", one), one)
    with first.lock():
        first.begin({"a": 1})
        with pytest.raises(UserError, match="another process is at work"), first.lock():
            pass
    other = RunFolder(find([tmp_path], "run", two), two)
    assert other.path == tmp_path / "run-002"
    assert other.note("run") == f"{first.path} is of another run (a is 1, not 2); this one goes to run-002"
    assert find([tmp_path], "run", one) == first.path and first.note("run") is None
    (first.path / "state.pt").write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot be read"):
        first.load_state(())
    (first.path / "summary.json").write_bytes(b'{"env": ')
    with pytest.raises(UserError, match="cut off"):
        _ = first.summary


def test_an_unfinished_run_goes_on_with_the_packages_that_began_it(tmp_path, monkeypatch):
    one = Identity({"a": 1})
    folder = RunFolder(claim([tmp_path], "run", one), one)
    assert folder.load_state(()) is None
    folder.save_state({"steps": 3, "best": torch.arange(2)})
    assert folder.load_state(())["steps"] == 3
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0.0+cpu")
    with pytest.raises(
        UserError, match=r'that other packages began: (numpy|torch) is .*, not "1\.0\.0".*delete .*run to begin'
    ):
        folder.load_state(())
    torch.save({"steps": 4}, folder.path / "state.pt")  # as an earlier version left it
    assert folder.load_state(()) == {"steps": 4}
