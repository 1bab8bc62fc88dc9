"""uvicorn's HTTP/1.1 connection, bounded in how long its client may keep it waiting, and in how many there are."""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from gencomp.serving.limits import Limits

if sys.platform == "linux":
    import fcntl
    import termios

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope


class BoundedConfig(uvicorn.Config):
    """uvicorn's, with our limits."""

    limits: Limits


class BoundedProtocol(H11Protocol):
    """Ends a connection whose client, for `receive_seconds`, leaves the head of a request unfinished, sends on a body
    that was answered already, or takes nothing of what is being sent. (uvicorn waits for ever.)

    The time for a body that is being read is the application's.
    """

    _head: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        assert isinstance(self.config, BoundedConfig)
        limits = self.config.limits
        self._seconds = limits.receive_seconds
        if len(self.connections) > 2 * limits.connections:
            transport.abort()
        elif len(self.connections) > limits.connections:
            self.app = _too_many
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._idle:
            self._cancel_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._idle:
            self._await_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._arm_sending(self._untaken())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._sending is not None:
            self._sending.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_head()
        if self._sending is not None:
            self._sending.cancel()
        super().connection_lost(exc)

    @property
    def _idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        self._cancel_head()
        self._arm_head(self._untaken())

    def _arm_head(self, before: int) -> None:
        """Of a client that still takes the last answer, no request is expected."""
        self._head = self.loop.call_later(self._seconds, self._check, self._arm_head, before)

    def _arm_sending(self, before: int) -> None:
        self._sending = self.loop.call_later(self._seconds, self._check, self._arm_sending, before)

    def _check(self, arm: Callable[[int], None], before: int) -> None:
        """End the connection unless its client has taken something of what it had `before`; then wait again."""
        left = self._untaken()
        if left < before:
            arm(left)
        else:
            self.transport.abort()

    def _untaken(self) -> int:
        """Bytes of an answer that the client has not acknowledged: those that wait here and, on Linux, in the system,
        which is not ready for more until a good part of its own, some megabytes, is gone."""
        waiting = self.transport.get_write_buffer_size()
        if sys.platform != "linux":
            return waiting
        queued = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        return waiting + int.from_bytes(queued, sys.byteorder)

    def _cancel_head(self) -> None:
        if self._head is not None:
            self._head.cancel()


async def _too_many(scope: "Scope", receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
    """503 to a connection beyond the limit."""
    body = json.dumps({"error": "the server is busy: too many connections"}).encode()
    headers = [(b"content-type", b"application/json"), (b"retry-after", b"1"), (b"connection", b"close")]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": 503, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": body, "more_body": False})
