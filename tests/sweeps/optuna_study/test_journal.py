"""A journal whose end is cut or broken: opened again up to its last whole record, said, and the file kept."""

import itertools
import json
import shutil
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from lightning_pz.common.errors import UserError
from sweeps.optuna_study.journal import Journal, mend
from sweeps.optuna_study.study import SharedStudy

LAST = 3


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """Return the bytes of a real journal: three trials, of which two are done."""
    folder = tmp_path_factory.mktemp("study")
    shared = SharedStudy("s", folder, None, "minimize")
    shared.agree({"fit": {"x": 1}}, folder / "a.yaml")
    shared.enqueue([{"x": number} for number in range(3)])
    shared.take(objective)
    shared.take(objective)
    return (folder / "journal.log").read_bytes()


def objective(trial):
    trial.report(0.5, 1)
    return float(trial.suggest_int("x", 0, 9))


def states(content, folder):
    """Return what Optuna reads from whole records."""
    (folder / "whole.log").write_bytes(content)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "whole.log")))
    trials = optuna.load_study(study_name="s", storage=storage).get_trials()
    return [(trial.state, trial.value, trial.params, trial.user_attrs) for trial in trials]


def test_a_journal_cut_within_its_last_records_is_opened_up_to_the_last_whole_one(journal, tmp_path, capsys):
    lines = journal.splitlines(keepends=True)
    known = {}
    begin = len(journal) - sum(map(len, lines[-LAST:]))
    ends = list(itertools.accumulate(map(len, lines[-LAST:]), initial=begin))
    for cut in sorted({*range(begin, len(journal) + 1, 29), *ends, *(end - 1 for end in ends[1:])}):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "journal.log").write_bytes(journal[:cut])
        shared = SharedStudy("s", folder, None, "minimize")
        # A record is whole with its last brace; the end of its line may be missing.
        kept = max(end for end in ends if end - 1 <= cut)
        said, copies = capsys.readouterr().err, list(folder.glob("journal.log.broken-*"))
        assert (folder / "journal.log").read_bytes()[:kept] == journal[:kept]
        if cut in ends:
            assert not said and not copies
        else:
            assert "behind record" in said and [copy.read_bytes() for copy in copies] == [journal[:cut]]
        found = [(t.state, t.value, t.params, t.user_attrs) for t in shared.trials()]
        if kept not in known:
            known[kept] = states(journal[:kept], folder)
        assert found == known[kept]


@pytest.mark.parametrize(
    "tail", [b"\0" * 100, b'{"op_code": 5, "worker', b'{"op_code": 5, "wor{"op_code": 8}\n', b"[1]\n", b"\xff\xfe\n"]
)
def test_what_a_cut_journal_resumes_to_is_the_whole_study(journal, tmp_path, tail, capsys):
    (tmp_path / "journal.log").write_bytes(journal + tail)
    shared = SharedStudy("s", tmp_path, None, "minimize")
    assert "and the file as it was is kept as" in capsys.readouterr().err
    assert shared.take(objective)
    again = SharedStudy("s", tmp_path, None, "minimize")
    assert [t.value for t in again.trials(TrialState.COMPLETE)] == [0.0, 1.0, 2.0] and not again.take(objective)
    assert not capsys.readouterr().err


def test_whole_records_behind_a_broken_one_are_counted_and_left_out(journal, tmp_path, capsys):
    lines = journal.splitlines(keepends=True)
    (tmp_path / "journal.log").write_bytes(b"".join([*lines[:-3], lines[-3][:20] + b"\n", *lines[-2:]]))
    SharedStudy("s", tmp_path, None, "minimize")
    assert f"behind record {len(lines) - 3}" in (said := capsys.readouterr().err) and "2 later records" in said


def test_a_whole_journal_and_one_that_is_being_written_are_left_alone(journal, tmp_path):
    path = tmp_path / "journal.log"
    path.write_bytes(journal)
    assert mend(path) is None and path.read_bytes() == journal


def test_a_full_disk_is_a_sentence_and_leaves_a_whole_journal(journal, tmp_path, monkeypatch):
    path = tmp_path / "journal.log"
    path.write_bytes(journal)
    opened = Journal(path)

    def full(self, logs):
        with path.open("ab") as file:
            file.write(json.dumps(logs[0]).encode()[:7])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(optuna.storages.journal.JournalFileBackend, "append_logs", full)
    with pytest.raises(UserError, match="the disk is full"):
        opened.append_logs([{"op_code": 5}])
    assert path.read_bytes() == journal


def test_a_journal_of_version_0_1_0_is_opened_and_resumed(tmp_path):
    """One trial is done, one failed, one was put back and then left running by a killed process, one waits."""
    shutil.copy(Path(__file__).with_name("journal-0.1.0.log"), tmp_path / "journal.log")
    shared = SharedStudy("latent_dim-mountaincar", tmp_path, None, "minimize")
    assert [trial.state.name for trial in shared.trials()] == ["COMPLETE", "FAIL", "RUNNING", "WAITING"]
    shared.agree({"fit": {"trainer.max_steps": 10}, "sampler": "grid", "contents": {}}, tmp_path / "a.yaml")
    points = [{"policy": "small", "seed_everything": 0, "model.latent_dim": k} for k in (1, 2, 3, 4)]
    assert shared.enqueue(points) == 1  # the failed one
    shared.work(lambda trial: float(trial.suggest_int("model.latent_dim", 1, 4)))
    values = {trial.params["model.latent_dim"]: trial.value for trial in shared.trials(TrialState.COMPLETE)}
    assert values == {1: 0.25, 2: 2, 3: 3, 4: 4}
    (again,) = (trial for trial in shared.trials() if trial.params["model.latent_dim"] == 3)
    assert again.intermediate_values == {5: 0.4, 10: 0.3}
