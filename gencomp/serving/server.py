"""A server from its first to its last breath: socket, model, event loop, signals."""

import ipaddress
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import torch
import uvicorn

from gencomp.serving.app import Application
from gencomp.serving.limits import Limits
from gencomp.serving.models import Models
from gencomp.serving.pool import Pool
from gencomp.serving.protocol import BoundedConfig, BoundedProtocol
from gencomp.serving.service import Service


class ListenError(ValueError):
    """An address that cannot be listened at; the message is one line."""


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
    with closing(_bound(host, port)) as listener:
        service = Service(load(), limits)
        pool = Pool(limits, _share_of_threads(limits.workers))
        config = BoundedConfig(
            Application(service, limits, pool).asgi(),
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=round(limits.receive_seconds * 2 + limits.seconds) + 1,
        )
        config.limits = limits
        warnings.filterwarnings("ignore", module="PIL")  # clients' damaged metadata is no matter
        server = _Server(config, lambda: ready(_ready(listener, service.models)))
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
        try:  # uvicorn raises the signal again that ended it, and we end in order
            server.run(sockets=[listener])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        end(pool)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


def _bound(host: str, port: int) -> socket.socket:
    """A socket that holds the address, and does not listen yet."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ListenError(f"cannot listen at {host}, port {port}: {reason}") from None
    return listener


def _ready(listener: socket.socket, models: Models) -> Ready:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    loopback = ipaddress.ip_address(host).is_loopback
    return Ready(f"http://{shown}:{port}/", models.name, models.fingerprint.hex(), loopback)


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
