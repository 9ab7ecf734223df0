"""The bookkeeping of a study that several processes work on: who has which trial, and what becomes of it.

A process holds a file lock on each trial it works on; the system drops it when the process ends, however it ends. A running
trial whose lock is free was left by a process that died: it waits again. All claims are made under one gate, so
between processes of one machine (or of machines that share the folder) no trial is ever done twice. Workers on machines
that share only a database judge their own trials alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone, explained
from lightning_pz.common.identity import first_difference
from sweeps.optuna_study.journal import Journal

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Shared:
    """A study shared between processes.

    Args:
        name: Of the study.
        folder: For journal, locks and tables.
        url: Of a database; a journal in the folder if None.
        direction: `minimize` or `maximize`.

    Raises:
        UserError: A database that cannot be reached, or a folder that cannot be written to.
    """

    def __init__(self, name: str, folder: Path, url: str | None, direction: Literal["minimize", "maximize"]) -> None:
        self.folder, self.is_file = folder, url is None
        self._held: dict[int, contextlib.ExitStack] = {}
        self._owner = f"{socket.gethostname()}:{folder.resolve()}"
        with self.gate():
            self.storage = open_storage(folder, url)
            self.study = optuna.create_study(
                study_name=name, storage=self.storage, direction=direction, load_if_exists=True
            )

    @contextlib.contextmanager
    def gate(self) -> Iterator[None]:
        """Let one process at a time change who does what."""
        with alone(self.folder / "locks" / "gate"):
            yield

    def agree(self, identity: dict[str, Any], source: Path) -> None:
        """Write down what all trials share, or compare it with what a study of this name was begun with.

        Raises:
            UserError: They differ.
        """
        with self.gate():
            told = self.study.user_attrs.get("plan", {})
            plain = json.loads(json.dumps(identity))
            # What an earlier version did not write down is taken as it is now. Of named contents, those in both count: a
            # grid may grow.
            shared = {key: plain[key] for key in plain if key in told}
            known = {key: told[key] for key in shared}
            if "contents" in shared:
                both = shared["contents"].keys() & known["contents"].keys()
                shared["contents"], known["contents"] = ({k: c["contents"][k] for k in both} for c in (shared, known))
                plain["contents"] = told["contents"] | plain["contents"]
            if (difference := first_difference(known, shared)) is not None:
                raise UserError(
                    f"study {self.study.study_name} was begun with other settings than {source} asks for ({difference}): "
                    f"move {self.folder} away, or give another --logs"
                )
            if told != plain:
                self.study.set_user_attr("plan", told | plain)

    def enqueue(self, points: list[dict[str, Any]], attrs: list[dict[str, Any]] | None = None) -> int:
        """Queue every point that is not yet queued, running or done, and return how many; failed ones come again."""
        with self.gate():
            known = [
                trial.system_attrs.get("fixed_params")
                for trial in self.study.get_trials(deepcopy=False)
                if trial.state is not TrialState.FAIL
            ]
            number = 0
            for place, point in enumerate(points):
                if point not in known:
                    self.study.enqueue_trial(point, user_attrs=attrs[place] if attrs else None)
                    number += 1
            return number

    def claim(self, sampler: tuple[int, int] | None = None) -> Trial | None:
        """Take a waiting trial, or begin a new one, and hold it; None when there is nothing left to take.

        Args:
            sampler: Trials in all and seed of TPE; None where all trials were queued.
        """
        with self.gate():
            self._put_back_the_dead()
            for waiting in self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                # False if a worker on another machine was faster.
                key = self._key(waiting)
                if self.storage.set_trial_state_values(key, TrialState.RUNNING):
                    return self._hold(Trial(self.study, key))
            if sampler is None:
                return None
            total, seed = sampler
            trials = self.study.get_trials(deepcopy=False)
            if sum(trial.state is not TrialState.FAIL for trial in trials) >= total or len(trials) >= 2 * total:
                return None
            # A function of seed and number of the trial alone, so that a resumed study goes on as a straight one.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                self.study.sampler = optuna.samplers.TPESampler(seed=seed + len(trials), constant_liar=True)
            return self._hold(self.study.ask())

    def _hold(self, trial: Trial) -> Trial:
        stack = contextlib.ExitStack()
        stack.enter_context(alone(self._lock(trial.number), wait=False))
        self._held[trial.number] = stack
        trial.set_user_attr("owner", self._owner)
        trial.set_user_attr("pid", os.getpid())
        return trial

    def _put_back_the_dead(self) -> None:
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            owner = trial.user_attrs.get("owner", self._owner if self.is_file else None)
            if owner != self._owner or trial.number in self._held:
                continue
            with contextlib.suppress(UserError), alone(self._lock(trial.number), wait=False):
                self.storage.set_trial_state_values(self._key(trial), TrialState.WAITING)

    def _key(self, trial: Trial | FrozenTrial) -> int:
        """Return the number by which the storage knows a trial."""
        study = self.storage.get_study_id_from_name(self.study.study_name)
        return self.storage.get_trial_id_from_study_id_trial_number(study, trial.number)

    def _lock(self, number: int) -> Path:
        """Return what a process that works on a trial holds."""
        return self.folder / "locks" / f"{self.study.study_name}-{number}"

    def tell(self, trial: Trial, value: float | None, state: TrialState, reason: str | None = None) -> None:
        """End a trial, and let go of it.

        Args:
            trial: Held by this process.
            value: Of a complete trial.
            state: COMPLETE, PRUNED or FAIL.
            reason: Why it failed or was stopped.
        """
        with self.gate():
            if reason is not None:
                trial.set_user_attr("reason", reason)
            self.study.tell(trial, value, state)
            self._let_go(trial)

    def put_back(self, trial: Trial) -> None:
        """Let a trial wait again, as if it had not begun, for whoever comes next."""
        with self.gate():
            self.storage.set_trial_state_values(self._key(trial), TrialState.WAITING)
            self._let_go(trial)

    def _let_go(self, trial: Trial) -> None:
        self._held.pop(trial.number).close()
        # Under the gate, so that no other process has opened it meanwhile.
        lock = self._lock(trial.number)
        lock.with_name(f".{lock.name}.lock").unlink(missing_ok=True)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials, of some states if any are given, by number."""
        return self.study.get_trials(deepcopy=False, states=states or None)


def open_storage(folder: Path, url: str | None) -> BaseStorage:
    """Return the journal file in a folder, or the database of a URL.

    Raises:
        UserError: It cannot be opened.
    """
    if url is None:
        with explained(folder / "journal.log"):
            return JournalStorage(Journal(folder / "journal.log"))
    try:
        return optuna.storages.get_storage(url)
    except ImportError as error:
        raise UserError(
            f"--storage {url} needs a driver ({error}): pip install 'lightning_pz[postgres]' for postgresql:// URLs"
        ) from error
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"--storage expects the URL of a database that can be reached, such as postgresql://user@host/name or "
            f"sqlite:///studies.db, but got {url}: {reason}"
        ) from error
