"""Where the trials of a study are kept: a journal in its folder, a database, or Optuna's gRPC proxy before one."""

from __future__ import annotations

import contextlib
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages._rdb import models
from optuna.storages.journal import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import explained
from sweeps.options import URL_EXPECTED, proxy_address
from sweeps.optuna_study.journal import Journal

HEARTBEAT_SECONDS, GRACE_SECONDS = 30, 120
"""How often a worker writes to a database that it is alive, and the silence after which its trial is tried again."""
ANSWER_SECONDS = 8
"""Seconds in which a database or a proxy must answer."""
_BEAT = "lightning_pz:heartbeat"


@contextlib.contextmanager
def accept_experimental() -> Iterator[None]:
    """Silence the warnings of Optuna's experimental classes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


with accept_experimental():
    RETRY = RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)
    """Queues a failed trial again, with the values that it has reported."""


class ProxyStorage(GrpcStorageProxy, BaseHeartbeat):
    """Optuna's client of its gRPC proxy, with the heartbeat that it lacks: an attribute of the trial that changes.

    A trial is stale if the attribute does not change for the time of grace by the clock of the process that looks, so that
    clocks of machines need not agree. Of a trial that it sees for the first time, a process therefore knows no earlier.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host=host, port=port)
        self._seen: dict[int, tuple[Any, float]] = {}

    def record_heartbeat(self, trial_id: int) -> None:
        """Change the attribute; a server that is away for a moment is no reason to stop."""
        from grpc import RpcError

        with contextlib.suppress(UpdateFinishedTrialError, KeyError, RpcError):
            self.set_trial_system_attr(trial_id, _BEAT, uuid.uuid4().hex)

    def get_heartbeat_interval(self) -> int | None:
        """Return the seconds between two heartbeats."""
        return HEARTBEAT_SECONDS

    def get_heartbeat_stale_trial_callback(self) -> Callable[[optuna.Study, FrozenTrial], None] | None:
        """Return what is done with a stale trial."""
        return RETRY

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        running, now = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,)), time.monotonic()
        beats = {trial._trial_id: trial.system_attrs.get(_BEAT) for trial in running}
        before, self._seen = self._seen, {}
        for trial_id, beat in beats.items():
            known = before.get(trial_id)
            self._seen[trial_id] = known if known is not None and known[0] == beat else (beat, now)
        return [trial_id for trial_id, (_, since) in self._seen.items() if now - since > GRACE_SECONDS]


class DatabaseStorage(RDBStorage):
    """Optuna's database, in which a trial whose process died before its first heartbeat is stale as well.

    Optuna knows no other sign of life, so that such a trial would be waited for without end. It is stale once the process that
    looks has seen it run without any for the time of grace.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._silent: dict[int, float] = {}

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        numbers, now = [trial._trial_id for trial in running], time.monotonic()
        beat = models.TrialHeartbeatModel.trial_id
        with self.engine.connect() as connection:
            known = set(connection.execute(sqlalchemy.select(beat).where(beat.in_(numbers))).scalars())
        self._silent = {number: self._silent.get(number, now) for number in numbers if number not in known}
        silent = [number for number, since in self._silent.items() if now - since > GRACE_SECONDS]
        return [*super()._get_stale_trial_ids(study_id), *silent]


def open_storage(folder: Path, url: str | None) -> BaseStorage:
    """Return the journal file in a folder, or what a URL names; a `UserError` says why it cannot be opened."""
    if url is None:
        with explained(folder / "journal.log"):
            return JournalStorage(Journal(folder / "journal.log"))
    try:
        with accept_experimental():
            if url.startswith("grpc:"):
                proxy = ProxyStorage(*proxy_address(url))
                proxy.wait_server_ready(ANSWER_SECONDS)
                proxy.get_all_studies()  # what answers may be no proxy
                return proxy
            return DatabaseStorage(
                url,
                engine_kwargs=_postgres_settings() if url.startswith("postgresql") else None,
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=GRACE_SECONDS,
                heartbeat_stale_trial_callback=RETRY,
            )
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f"--storage {url} needs a driver ({error}): pip install 'lightning_pz[postgres]' for postgresql:// URLs, "
            "grpcio and 'protobuf>=5.28' for grpc://"
        ) from error
    except Exception as error:
        raise UserError(f"{URL_EXPECTED}{url}: {_first_line(error)}") from error


def _postgres_settings() -> dict[str, Any]:
    from sqlalchemy.pool import NullPool

    # No connection is held during a trial: a server has a hundred of them, and a cluster more workers.
    return {"poolclass": NullPool, "connect_args": {"connect_timeout": ANSWER_SECONDS}}


@contextlib.contextmanager
def storage_errors(url: str | None) -> Iterator[None]:
    """Turn the loss of a database or proxy in the block into a `UserError`."""
    try:
        yield
    except Exception as error:
        # gRPC's errors are known by name, for it may be absent.
        if not isinstance(error, StorageInternalError) and "RpcError" not in {
            one.__name__ for one in type(error).__mro__
        }:
            raise
        told = _first_line(error.__cause__ or error)
        raise UserError(
            f"--storage {url} does not answer any more: the same command resumes the study ({told})"
        ) from error


def _first_line(error: BaseException) -> str:
    """Return what an error says; those of gRPC keep it apart."""
    details = getattr(error, "details", None)
    return (str(details() if callable(details) else error).strip() or type(error).__name__).splitlines()[0]
