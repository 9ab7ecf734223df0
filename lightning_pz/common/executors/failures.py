"""Turns what engines raise when a worker, a job or a scheduler is gone into a sentence. Imports no engine."""

from __future__ import annotations

import pickle
import traceback
from concurrent.futures import CancelledError

from lightning_pz.common.errors import UserError

_DEAD = {
    "BrokenProcessPool", "KilledWorker", "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "LocalRayletDiedError",
    "ObjectLostError", "OwnerDiedError",
}  # fmt: skip
_GONE = {"CommClosedError", "FutureCancelledError", "ClosedClientError", "RaySystemError", "CancelledError"}
_ABSENT = ("lightning_pz", "sweeps")


def as_user_error(error: BaseException) -> BaseException:
    """Return the `UserError` for an error of an engine, or the error itself if it is none of those."""
    if isinstance(error, UserError):
        return error
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _DEAD:
        return _because(
            error,
            "a worker died (killed, or out of memory?): the same command resumes; with fewer --workers each has more",
        )
    if names & _GONE or isinstance(error, CancelledError):
        return _because(
            error, "the cluster is gone, or it dropped the work: start it again if it is down; the same command resumes"
        )
    cause: BaseException | None = error
    while cause is not None:  # Dask's scheduler says so in the cause
        if isinstance(cause, ModuleNotFoundError) and (cause.name or "").partition(".")[0] in _ABSENT:
            return _because(
                error,
                f"{cause.name} cannot be imported by a worker, or by the scheduler: install the same version of lightning_pz there",
            )
        cause = cause.__cause__
    return error


def portable(error: BaseException) -> BaseException:
    """Return an error that can be sent to another process, with its traceback as a note unless it is for the user."""
    if isinstance(error, UserError | KeyboardInterrupt):
        return type(error)(*error.args)
    text = "".join(traceback.format_exception(error))
    try:
        error.add_note(f"on the worker:\n{text}")
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(text)
    return error


def _because(error: BaseException, sentence: str) -> UserError:
    made = UserError(sentence)
    made.__cause__ = error
    return made
