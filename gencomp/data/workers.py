"""Where work is done: in this process, by a Dask cluster of processes on this machine, or by one elsewhere."""

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed

from gencomp.data.failure import DataError

R = TypeVar("R")
DEATHS = 20
"""Times that a piece of work may see its worker die before it is given up: it may be what kills them."""
AHEAD = 2
"""Pieces of work that the scheduler holds per thread of its workers, so that none waits and few are held."""


_AT_ONCE = ContextVar("_AT_ONCE", default=1)


def at_once() -> int:
    """How many pieces of work are done at once where this is called, that one among them: what shares a limit."""
    return _AT_ONCE.get()


def worker_count() -> int:
    """GENCOMP_WORKERS, or as many as this process may use CPU cores."""
    if chosen := os.environ.get("GENCOMP_WORKERS"):
        if not chosen.isdecimal() or chosen == "0":
            raise DataError(f"GENCOMP_WORKERS={chosen} is no number of processes")
        return int(chosen)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A cluster, or with `client` None this process alone."""

    def __init__(self, client: Client | None, count: int) -> None:
        self._client = client
        self.count = count
        """How many pieces of work are done at once."""

    @property
    def dashboard(self) -> str | None:
        """URL of the page on which Dask shows what its workers do."""
        return None if self._client is None else str(self._client.dashboard_link)

    def results(self, work: Mapping[str, Callable[[], R]]) -> Iterator[tuple[str, R]]:
        """Name and result of each piece of work, in no certain order; what one raises is raised.

        Raises DataError for one whose worker dies again and again.
        """
        if self._client is None:
            yield from ((name, _shared(1, function)) for name, function in work.items())
        else:
            yield from self._submitted(self._client, work)

    def _submitted(self, client: Client, work: Mapping[str, Callable[[], R]]) -> Iterator[tuple[str, R]]:
        names: dict[Future, str] = {}
        waiting = iter(work.items())
        done = as_completed()

        def submit(count: int) -> None:
            for name, function in itertools.islice(waiting, count):
                future = client.submit(_shared, self.count, function, pure=False)
                names[future] = name
                done.add(future)

        submit(AHEAD * self.count)
        try:
            for future in done:
                name = names.pop(future)
                try:
                    yield name, future.result()
                except KilledWorker:
                    raise DataError(f"{name}: {DEATHS} workers died of it; is memory too small?") from None
                submit(1)
        finally:
            client.cancel(list(names))


def _shared(count: int, function: Callable[[], R]) -> R:
    token = _AT_ONCE.set(count)
    try:
        return function()
    finally:
        _AT_ONCE.reset(token)


@contextmanager
def workers(pieces: int, folder: Path) -> Iterator[Workers]:
    """Workers for so many pieces of work; their own files lie in `folder`.

    Where DASK_SCHEDULER_ADDRESS (or Dask's configuration) names a scheduler, its workers, who must see the same files
    under the same paths; else so many processes here as `worker_count` says, and none beside this one if that is one.
    Raises DataError when the scheduler cannot be reached.
    """
    address, count = dask.config.get("scheduler-address", None), min(worker_count(), pieces)
    if not pieces or (address is None and count == 1):
        yield Workers(None, 1)
    elif address is not None:
        try:
            client = Client(address)
        except (OSError, ValueError) as error:
            raise DataError(f"Dask scheduler {address}: {error}") from None
        with client:
            yield Workers(client, max(1, sum(client.nthreads().values())))
    else:
        with dask.config.set({"distributed.scheduler.allowed-failures": DEATHS}), _local(count, folder) as client:
            yield Workers(client, count)


@contextmanager
def _local(count: int, folder: Path) -> Iterator[Client]:
    cluster = functools.partial(LocalCluster, dashboard_address="127.0.0.1:0", local_directory=str(folder))
    with cluster(n_workers=count, threads_per_worker=1, host="127.0.0.1") as local, Client(local) as client:
        yield client
