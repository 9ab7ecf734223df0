"""Pieces as jobs of Slurm: what is submitted within a moment becomes one array job. Needs the extra `slurm` (submitit)."""

from __future__ import annotations

import contextlib
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, wait
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import DelayedSubmission

from lightning_pz.common.errors import UserError
from lightning_pz.common.executors.settings import Engine
from lightning_pz.common.processes import available_cores

_LARGEST_ARRAY = 1000
"""Jobs of an array; a cluster's default limit is 1001."""
_ASKS_SLURM = 60.0
"""Seconds between questions to Slurm whether a job without a result has ended."""
_REQUEUES = 1000
"""How often a job that ran into its time limit is queued again."""


@contextlib.contextmanager
def open_slurm(engine: Engine, folder: Path) -> Iterator[Executor]:
    """Give an executor whose jobs leave their output in `<folder>/slurm` until they succeed."""
    executor = SlurmArrays(engine, folder / "slurm")
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    else:
        executor.shutdown()


class SlurmArrays(Executor):
    """An executor over submitit; `slurm:local` runs the same jobs in processes of this machine, a few at a time."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._is_local, self._workers = engine.address == "local", engine.workers
        self._slots = (engine.workers or available_cores()) if self._is_local else sys.maxsize
        asked = engine.slurm
        python = f"env OMP_NUM_THREADS=1 {shlex.quote(sys.executable)}"
        kind = "local" if self._is_local else "slurm"
        self._submitit = submitit.AutoExecutor(
            folder, cluster=kind, **{f"{kind}_max_num_timeout": _REQUEUES, f"{kind}_python": python}
        )
        given = {
            "name": "lightning_pz", "timeout_min": asked.minutes, "cpus_per_task": 1, "tasks_per_node": 1,
            "mem_gb": asked.gigabytes, "slurm_partition": asked.partition, "slurm_account": asked.account,
            "slurm_qos": asked.qos, "slurm_constraint": asked.constraint,
        }  # fmt: skip
        self._submitit.update_parameters(**{key: value for key, value in given.items() if value is not None})
        self._lock, self._came = threading.Lock(), 0.0
        self._waiting: list[tuple[Future[Any], tuple[Any, ...]]] = []
        self._jobs: dict[Future[Any], submitit.Job[Any]] = {}
        self._ends = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Take a call; it is handed to Slurm with those that come within a moment."""
        future: Future[Any] = Future()
        with self._lock:
            self._waiting.append((future, (fn, args, kwargs)))
            self._came = time.monotonic()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for all jobs, or cancel those that have not begun; those that run go on."""
        with self._lock:
            left = [*(future for future, _ in self._waiting), *self._jobs]
        if cancel_futures:
            for future in left:
                future.cancel()
        if wait:
            _wait_for(left)
        self._ends = True
        self._thread.join(timeout=2 * _ASKS_SLURM)

    def _watch(self) -> None:
        asked = time.monotonic()
        while True:
            ends = self._ends
            with self._lock:
                for dropped in [future for future, _ in self._waiting if future.cancelled()]:
                    dropped.set_running_or_notify_cancel()  # who waits for it hears of it only so
                self._waiting = [one for one in self._waiting if not one[0].cancelled()]
                is_time = self._is_local or time.monotonic() - self._came > 0.5
                count = min(len(self._waiting), _LARGEST_ARRAY, self._slots - len(self._jobs)) if is_time else 0
                batch, self._waiting = self._waiting[:count], self._waiting[count:]
                jobs = dict(self._jobs)
            if batch:
                self._hand_over(batch)
            forced = time.monotonic() - asked > _ASKS_SLURM
            asked = time.monotonic() if forced else asked
            for number, (future, job) in enumerate(jobs.items()):
                self._look(future, job, forced=forced and number == 0)
            if ends:
                return
            time.sleep(0.1 if self._is_local else 1.0)

    def _hand_over(self, batch: list[tuple[Future[Any], tuple[Any, ...]]]) -> None:
        try:
            if not self._is_local:
                self._submitit.update_parameters(slurm_array_parallelism=self._workers or len(batch))
            with self._submitit.batch():
                jobs = [self._submitit.submit(_Resuming(), *call) for _, call in batch]
            with self._lock:
                self._jobs |= {future: job for (future, _), job in zip(batch, jobs, strict=True)}
        except Exception as error:
            said = getattr(error, "stderr", None) or str(error)
            for future, _ in batch:
                if future.set_running_or_notify_cancel():
                    future.set_exception(UserError(f"Slurm refuses the jobs: {said}"))

    def _look(self, future: Future[Any], job: submitit.Job[Any], *, forced: bool) -> None:
        try:
            if future.cancelled():
                if not self._is_local:
                    subprocess.run(["scancel", "--state=PENDING", job.job_id], capture_output=True, check=False)
                self._forget(future)
                future.set_running_or_notify_cancel()
                return
            if not future.running() and (job.paths.stdout.exists() or job.paths.result_pickle.exists()):
                future.set_running_or_notify_cancel()
            # To wait for a result that is slow to appear is right only where another machine wrote it.
            if not job.done(force_check=forced):
                return
            if self._is_local and not job.paths.result_pickle.exists():
                raise UserError(_died(job, "its process is gone"))
            error = job.exception()
            if error is not None:
                raise UserError(_died(job, str(error.args[0]).splitlines()[0] if error.args else ""))
            result = job.result()
        except Exception as error:
            self._forget(future)
            if future.running() or future.set_running_or_notify_cancel():
                future.set_exception(error)
            return
        self._forget(future)
        for path in job.paths.folder.glob(f"{job.job_id}_*"):
            path.unlink(missing_ok=True)
        if future.running() or future.set_running_or_notify_cancel():
            future.set_result(result)

    def _forget(self, future: Future[Any]) -> None:
        with self._lock:
            self._jobs.pop(future, None)


class _Resuming:
    """A call that ends when its job is preempted or out of time, is queued again, and goes on from the state it saved."""

    def __call__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        requeue: Any = signal.getsignal(signal.SIGUSR2)  # submitit's
        if not callable(requeue):
            return function(*args, **kwargs)
        came: list[int] = []

        def interrupt(number: int, frame: Any) -> None:
            came.append(number)
            if len(came) == 1:
                raise KeyboardInterrupt

        signal.signal(signal.SIGUSR2, interrupt)
        try:
            return function(*args, **kwargs)
        finally:
            signal.signal(signal.SIGUSR2, requeue)
            if came:
                requeue(came[0], None)

    def checkpoint(self, *call: Any) -> DelayedSubmission:
        """Return the same call, which submitit queues again."""
        return DelayedSubmission(self, *call)


def _died(job: Any, why: str) -> str:
    return (
        f"job {job.job_id} died (killed, or out of memory?): {why}; its output is in {job.paths.stderr}: the same command "
        "resumes, with more --slurm.memory if that was short"
    )


def _wait_for(futures: list[Future[Any]]) -> None:
    wait(futures)
