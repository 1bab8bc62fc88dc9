"""A server of the codec: its model, its workers, its end."""

import os
import sys
import warnings
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import torch

from gencomp.serving.app import Application
from gencomp.serving.limits import Limits
from gencomp.serving.listening import bound, place, run
from gencomp.serving.models import Models
from gencomp.serving.pool import Pool
from gencomp.serving.service import Service


class Ready(NamedTuple):
    """What a server says when it can be reached."""

    url: str
    model: str
    fingerprint: str
    loopback: bool
    """Whether only this machine reaches it."""


def serve(load: Callable[[], Models], limits: Limits, host: str, port: int, ready: Callable[[Ready], None]) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was accepted, and return.

    The address is taken before `load` is called, and listened at after. Raises ListenError and what `load` raises.
    Where a worker is in a pass that nobody waits for any more, the process is ended, since nothing else ends the pass.
    """
    with closing(bound(host, port)) as listener:
        service = Service(load(), limits)
        pool = Pool(limits, _share_of_threads(limits.workers))
        warnings.filterwarnings("ignore", module="PIL")  # clients' damaged metadata is no matter
        models, (url, loopback) = service.models, place(listener)
        run(
            listener,
            Application(service, limits, pool).asgi(),
            limits,
            grace=round(limits.receive_seconds * 2 + limits.seconds) + 1,
            ready=lambda: ready(Ready(url, models.name, models.fingerprint.hex(), loopback)),
        )
        end(pool)


def _share_of_threads(workers: int) -> Callable[[], None]:
    """What gives a worker its part of the threads that PyTorch would take for one."""
    share = max(1, torch.get_num_threads() // workers)
    torch.set_num_threads(share)
    return lambda: torch.set_num_threads(share)


def end(pool: Pool) -> None:
    """Close the pool, and end the process with 1 where a pass is still running in it."""
    pool.close()
    if pool.running:
        print(f"gencomp: left {pool.running} unfinished", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(1)
