"""A server from its first to its last breath, whatever it serves: socket, event loop, signals."""

import ipaddress
import os
import signal
import socket
from collections.abc import Callable
from typing import NamedTuple

import uvicorn
from starlette.applications import Starlette

from gencomp.serving.limits import Limits
from gencomp.serving.protocol import BoundedConfig, BoundedProtocol


class ListenError(ValueError):
    """An address that cannot be listened at; the message is one line."""


class Place(NamedTuple):
    """Where a server is reached."""

    url: str
    loopback: bool
    """Whether only this machine reaches it."""


def bound(host: str, port: int) -> socket.socket:
    """A socket that holds the address, and does not listen yet. Raises ListenError."""
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


def place(listener: socket.socket) -> Place:
    """The address of a bound socket."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return Place(f"http://{shown}:{port}/", ipaddress.ip_address(host).is_loopback)


def run(listener: socket.socket, app: Starlette, limits: Limits, grace: int, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was accepted, for `grace` seconds at most, and return."""
    config = BoundedConfig(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=grace,
    )
    config.limits = limits
    server = _Server(config, ready)
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:  # uvicorn raises the signal again that ended it, and we end in order
        server.run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()
