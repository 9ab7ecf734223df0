"""A study that several processes work on: who takes which trial, and which trials are tried again.

Processes of one machine, or of machines that share the study's folder, take trials one at a time under a lock; where a file
system keeps no locks between machines, the database itself gives a waiting trial to one of them. A trial whose process ended
before it did is marked failed and queued again by Optuna's retry callback. In a database, or behind a proxy, it is found by
its missing heartbeat. A journal has no heartbeat: there the worker holds a file lock for each trial, which the operating
system drops when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone
from lightning_pz.common.identity import first_difference
from sweeps.fits import OtherRun
from sweeps.optuna_study.plan import UNSAID
from sweeps.optuna_study.storages import RETRY, accept_experimental, open_storage

optuna.logging.set_verbosity(optuna.logging.ERROR)


class _TrialFailed(Exception):
    """The objective has raised a `UserError`, which fails the trial and not the study."""


class SharedStudy:
    """A study shared between processes.

    Args:
        name: Of the study in its storage.
        folder: For journal and locks.
        url: Of a database or a proxy; a journal in the folder if None.
    """

    def __init__(self, name: str, folder: Path, url: str | None, direction: Literal["minimize", "maximize"]) -> None:
        self.folder, self.is_file = folder, url is None
        with self.gate():
            self.study = optuna.create_study(
                study_name=name, storage=open_storage(folder, url), direction=direction, load_if_exists=True
            )

    @contextlib.contextmanager
    def gate(self) -> Iterator[None]:
        """Let one process at a time take trials or write tables."""
        with alone(self.folder / "locks" / "gate"):
            yield

    def agree(self, identity: dict[str, Any], source: Path) -> None:
        """Record what all trials share, or raise `UserError` if it differs from the record of the study.

        Keys that an earlier version did not record are taken as they are now; settings in `UNSAID` do not count. Of the
        contents of named files, those named before and now are compared, for a grid may grow.
        """
        with self.gate():
            known, plain = map(_said, (self.study.user_attrs.get("plan", {}), json.loads(json.dumps(identity))))
            wanted = {key: plain.get(key, known[key]) for key in known}
            if "contents" in known:
                old, new = known["contents"], plain.get("contents", {})
                wanted["contents"], plain["contents"] = old | {key: new[key] for key in new if key in old}, old | new
            if (difference := first_difference(known, wanted)) is not None:
                raise UserError(
                    f"study {self.study.study_name} was begun with other settings than {source} asks for ({difference}): "
                    f"move {self.folder} away, or give another --logs"
                )
            if known != plain:
                self.study.set_user_attr("plan", known | plain)

    def enqueue(self, points: list[dict[str, Any]], attrs: list[dict[str, Any]] | None = None) -> int:
        """Queue every point that is not queued, running or done, and return how many; failed ones are queued again."""
        with self.gate():
            live = [t.system_attrs.get("fixed_params") for t in self.trials() if t.state is not TrialState.FAIL]
            # Compared here: Optuna's skip_if_exists counts failed trials, and takes seeds 100000 and 100001 for equal.
            new = [place for place, point in enumerate(points) if point not in live]
            for place in new:
                self.study.enqueue_trial(points[place], user_attrs=attrs[place] if attrs else None)
            return len(new)

    def work(
        self,
        objective: Callable[[Trial], float],
        after: Callable[[], None] = lambda: None,
        sampler: tuple[int, int] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take one trial after another until none is left or `stop` says so, and call `after` when one has ended.

        A trial fails if the objective raises `UserError` or returns a value that is not finite; after `OtherRun`, which is
        raised again, it waits. The sampler is given by trials in all and seed of TPE; None where all trials were queued.
        """
        while not stop() and self.take(objective, sampler):
            after()

    def take(self, objective: Callable[[Trial], float], sampler: tuple[int, int] | None = None) -> bool:
        """Take a waiting trial, or a new one of the sampler, and do it; see `work`. Return whether there was one."""
        taken: list[int] = []
        with contextlib.ExitStack() as held, contextlib.ExitStack() as gate:
            gate.enter_context(self.gate())
            self._retry_dead()
            if not self._is_left(sampler):
                return False

            def begin(trial: Trial) -> float:
                if self.is_file:  # held until Optuna has recorded how the trial ended
                    held.enter_context(self._lock(trial.number))
                taken.append(trial.number)
                gate.close()
                if sampler is None and not self._find(trial.number).system_attrs.get("fixed_params"):
                    raise UserError("a worker on another machine took the last waiting trial")
                return objective(trial)

            try:
                self.study.optimize(
                    lambda t: _recorded(begin, t), n_trials=1, catch=(_TrialFailed,), callbacks=[_print]
                )
            except (KeyboardInterrupt, OtherRun):
                for number in taken:
                    self._retry(number)
                raise
        return True

    def wait_for_others(self, every: float = 5.0) -> bool:
        """Wait while other processes have trials of a database; return whether one of those waits again, for its process died."""
        told = False
        while not self.is_file and (running := self.trials(TrialState.RUNNING)):
            if not told:
                numbers = ", ".join(str(trial.number) for trial in running)
                print(f"waiting for trials of other workers, which may have died: {numbers}", flush=True)
            told = True
            time.sleep(every)
            with self.gate():
                self._retry_dead()
            if self.trials(TrialState.WAITING):
                return True
        return False

    def _is_left(self, sampler: tuple[int, int] | None) -> bool:
        """Return whether there is a trial to take, and set the sampler for a new one."""
        if sampler is None:
            return bool(self.trials(TrialState.WAITING))
        (total, seed), trials = sampler, self.trials()
        # A function of the seed and the number of trials alone, so that a resumed study equals a straight one.
        with accept_experimental():
            self.study.sampler = optuna.samplers.TPESampler(seed=seed + len(trials), constant_liar=True)
        live = sum(trial.state is not TrialState.FAIL for trial in trials)
        return bool(self.trials(TrialState.WAITING)) or (live < total and len(trials) < 2 * total)

    def _retry_dead(self) -> None:
        """Queue the trials of processes that have ended again."""
        with accept_experimental():
            fail_stale_trials(self.study)  # of a database; it calls RETRY
        for trial in self.trials(TrialState.RUNNING) if self.is_file else ():
            with contextlib.suppress(UserError), self._lock(trial.number):
                if self._find(trial.number).state is TrialState.RUNNING:  # it has not just ended
                    self._retry(trial.number)

    def _retry(self, number: int) -> None:
        if self._find(number).state is TrialState.RUNNING:
            self.study.tell(number, state=TrialState.FAIL)
        if self._find(number).state is TrialState.FAIL:
            RETRY(self.study, self.study.get_trials()[number])

    def _find(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]

    @contextlib.contextmanager
    def _lock(self, number: int) -> Iterator[None]:
        path = self.folder / "locks" / f"{self.study.study_name}-{number}"
        with alone(path, wait=False):
            try:
                yield
            finally:
                path.with_name(f".{path.name}.lock").unlink(missing_ok=True)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials, of some states if any are given, without those that were queued again.

        They come in the order of their numbers, a repeated trial at the place of the first attempt.
        """
        with accept_experimental():
            found = [([*RETRY.retry_history(t), t.number], t) for t in self.study.get_trials(deepcopy=False)]
        replaced = {number for numbers, _ in found for number in numbers[:-1]}
        ordered = [trial for _, trial in sorted(found, key=lambda one: one[0])]
        return [t for t in ordered if t.number not in replaced and (not states or t.state in states)]


def _recorded(objective: Callable[[Trial], float], trial: Trial) -> float:
    """Return the value of a trial, and record CPU seconds, of the process that ends it, and why it failed or was stopped."""
    start = time.process_time()
    try:
        value = objective(trial)
        if not math.isfinite(value):
            raise UserError(f"its value became {value}")
        return value
    except OtherRun:  # says nothing of the trial
        raise
    except Exception as error:
        known = isinstance(error, UserError | optuna.TrialPruned)
        trial.set_user_attr("reason", str(error) if known else f"{type(error).__name__}: {error}")
        if isinstance(error, UserError):
            raise _TrialFailed from error
        raise
    finally:
        trial.set_user_attr("cpu_seconds", round(time.process_time() - start, 1))


def _said(plan: dict[str, Any]) -> dict[str, Any]:
    """Return a study's identity without settings of its fits that say no more than saying nothing."""
    fit = {key: value for key, value in plan.get("fit", {}).items() if key not in UNSAID or value != UNSAID[key]}
    return plan | ({"fit": fit} if "fit" in plan else {})


def _print(study: optuna.Study, trial: FrozenTrial) -> None:
    """Print how a trial ended."""
    reason = trial.user_attrs.get("reason")
    outcomes = {TrialState.PRUNED: f"stopped, {reason}", TrialState.FAIL: f"failed, {reason}"}
    outcome = outcomes.get(trial.state) or f"{trial.value:.4f}"
    numbers = {key: f"{value:.4g}" for key, value in trial.params.items() if isinstance(value, float)}
    settings = ", ".join(f"{key.removeprefix('model.')} {text}" for key, text in (trial.params | numbers).items())
    print(f"trial {trial.number}: {outcome}  {settings}", flush=True)
