"""Where work is done: in this process, by a Dask cluster of processes on this machine, or by one elsewhere."""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import dask

from gencomp.data.failure import DataError
from gencomp.data.processors import processors

if TYPE_CHECKING:  # it takes most of a second, and little work needs no cluster
    from distributed import Client, Future

R = TypeVar("R")
Work = Callable[[], R]
AHEAD = 2
"""Pieces of work that the scheduler holds per thread of its workers, so that none waits and few are held."""
_SETTINGS = {
    # Times that work may see its worker die, by chance or of it, before it is given up.
    "distributed.scheduler.allowed-failures": 20,
    # Dask's own has glibc give back every freed image at once, and take as many pages again for the next.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 256 * 2**20,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 32 * 2**20,
    # What one thread has freed is in the caches when the next one takes it.
    "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 1,
    # What Dask remembers for its dashboard grows for an hour otherwise.
    "distributed.admin.system-monitor.log-length": 240,
    "distributed.admin.low-level-log-length": 100,
    "distributed.admin.log-length": 100,
    "distributed.worker.profile.enabled": False,
}
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
    return processors()


def results(
    work: Mapping[str, Work[R]], folder: Path, say: Callable[[str], None], here: bool = False, most: int | None = None
) -> Iterator[tuple[str, R]]:
    """Name and result of each piece of work, in no certain order; what one raises is raised.

    Where DASK_SCHEDULER_ADDRESS (or Dask's configuration) names a scheduler, by its workers, who must see the same
    files under the same paths; else by `worker_count` processes, whose own files lie in `folder`, or in this process
    where that is one, or `here`. `say` gets the URL of the page on which Dask shows its workers. `most`: how many are
    done at once at most, however many workers there are.

    Raises DataError when the scheduler cannot be reached, and for work whose worker dies again and again.
    """
    address = dask.config.get("scheduler-address", None)
    count = min(worker_count(), len(work), most or len(work))
    if not work or (address is None and (here or count == 1)):
        yield from ((name, function()) for name, function in work.items())
        return
    with _cluster(address, count, folder) as client:
        say(f"Dask: {client.dashboard_link}")
        yield from _submitted(client, iter(work.items()), most)


def _submitted(client: "Client", waiting: Iterator[tuple[str, Work[R]]], most: int | None) -> Iterator[tuple[str, R]]:
    from distributed import KilledWorker, as_completed

    threads = max(1, sum(client.nthreads().values()))
    held = min(AHEAD * threads, most or AHEAD * threads)
    names: dict[Future, str] = {}
    done = as_completed()

    def submit(count: int) -> None:
        for name, function in itertools.islice(waiting, count):
            future = client.submit(_shared, min(threads, held), function, pure=False)
            names[future] = name
            done.add(future)

    submit(held)
    try:
        for future in done:
            name = names.pop(future)
            try:
                yield name, future.result()
            except KilledWorker:
                raise DataError(f"{name}: its workers die again and again; is memory too small?") from None
            submit(1)
    finally:
        client.cancel(list(names))


def _shared(count: int, function: Work[R]) -> R:
    token = _AT_ONCE.set(count)
    try:
        return function()
    finally:
        _AT_ONCE.reset(token)


@contextmanager
def _cluster(address: str | None, count: int, folder: Path) -> "Iterator[Client]":
    from distributed import Client, LocalCluster

    if address is not None:
        try:
            client = Client(address)
        except (OSError, ValueError) as error:
            raise DataError(f"Dask scheduler {address}: {error}") from None
        with client:
            yield client
        return
    here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "local_directory": str(folder)}
    with dask.config.set(_SETTINGS):
        try:
            cluster = LocalCluster(n_workers=count, threads_per_worker=1, **here)
        except RuntimeError as error:  # a worker that ends before it has begun
            raise DataError(f"Dask: {error} Run the stage again, or set GENCOMP_WORKERS=1") from None
        with cluster, Client(cluster) as client:
            yield client
