"""The folder of a run: its lock, its name beside runs of other settings, its state and summary when they are broken."""

import pytest

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
