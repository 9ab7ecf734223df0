"""Pieces on Dask: a cluster started here, or a scheduler that runs elsewhere. Needs the extra `dask`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster
from distributed.core import connect

from lightning_pz.common.errors import UserError
from lightning_pz.common.executors.opening import PATIENCE
from lightning_pz.common.executors.relayed import RelayedExecutor
from lightning_pz.common.executors.settings import Engine
from lightning_pz.common.processes import available_cores, ignore_interrupts

_ENDS = "--on dask:ADDRESS needs workers of one thread each, for random generators belong to a process"


@contextlib.contextmanager
def open_dask(engine: Engine, folder: Path) -> Iterator[Executor]:
    """Give an executor on a scheduler; the cluster of one that is started here ends with the block."""
    # What Dask would say of a lost worker or scheduler, the outcome of a piece says in a sentence.
    quiet = {"distributed.worker.daemon": False, "distributed.logging.distributed": "critical"}
    with dask.config.set(quiet), contextlib.ExitStack() as stack:
        for name in (
            "distributed",
            "distributed.client",
            "distributed.nanny",
            "distributed.scheduler",
            "tornado.application",
        ):
            stack.callback(logging.getLogger(name).setLevel, logging.getLogger(name).level)
            logging.getLogger(name).setLevel(logging.CRITICAL)
        address: Any = engine.address
        if not address:
            address = stack.enter_context(_own_cluster(engine.workers or available_cores()))
        client = stack.enter_context(_connected(engine, address))
        executor = RelayedExecutor(
            lambda call, end: _start(client, call, end), lambda left: client.cancel(left, force=True)
        )
        try:
            yield executor
        except BaseException:
            with contextlib.suppress(Exception):  # the scheduler may be gone
                executor.shutdown(wait=False, cancel_futures=True)
            raise
        executor.shutdown(wait=True)


@contextlib.contextmanager
def _own_cluster(workers: int) -> Iterator[LocalCluster]:
    with ignore_interrupts():  # workers look for the stop of a command themselves
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )
    try:
        yield cluster
    finally:
        # Dask cannot join the process that takes a dead worker's place while it begins; it ends with this one.
        with contextlib.suppress(AssertionError):
            cluster.close()


@contextlib.contextmanager
def _connected(engine: Engine, address: Any) -> Iterator[Client]:
    try:
        if isinstance(address, str) and not address.startswith("tls"):
            asyncio.run(_shake_hands(address))
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:  # what answers there is no scheduler
        raise UserError(
            f"--on {engine.on}: no Dask scheduler answers there ({error or 'silence'}): start one, or check the address"
        ) from error
    with client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if any(worker["nthreads"] > 1 for worker in workers.values()):
            raise UserError(f"{_ENDS}: start them by dask worker --nthreads 1 --nworkers N {engine.address}")
        if not workers:
            print(
                f"note: the scheduler at {engine.address} has no workers yet; the work begins when some join",
                flush=True,
            )
        yield client


async def _shake_hands(address: str) -> None:
    """Raise `OSError` or `TimeoutError` unless Dask answers; its client would wait as long as something else is silent."""
    comm = await asyncio.wait_for(connect(address), PATIENCE)
    await comm.close()


def _start(client: Client, call: Callable[[], Any], end: Callable[[Any, BaseException | None], None]) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph")  # states of a growth are large
        future = client.submit(call, pure=False)

    def pass_on(done: Any) -> None:
        try:
            error = done.exception()
            end(None if error is not None else done.result(), error)
        except BaseException as error:  # canceled, or the scheduler is gone
            end(None, error)

    future.add_done_callback(pass_on)
    return future
