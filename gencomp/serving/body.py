"""The body of a request, bounded in size, time, and in what lies in memory together with others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from gencomp.serving.limits import Limits
from gencomp.serving.refusal import GoneError, Refusal


class Bodies:
    """Those that are in memory now; belongs to one event loop."""

    def __init__(self, limits: Limits, wanted: str = "a picture's or a stream's file") -> None:
        """`wanted`: what a client is told to send that sends nothing."""
        self._limits = limits
        self._wanted = wanted
        self._held = 0

    @asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, which counts as held until the end. Raises Refusal and GoneError."""
        self._check_head(request)
        body = bytearray()
        try:
            await self._receive(request, body)
            yield bytes(body)
        finally:
            self._held -= len(body)

    async def _receive(self, request: Request, body: bytearray) -> None:
        try:
            async with asyncio.timeout(self._limits.receive_seconds):
                async for piece in request.stream():
                    body += piece
                    self._held += len(piece)
                    self._check_bytes(len(body))
        except TimeoutError:
            seconds = self._limits.receive_seconds
            message = f"the body did not arrive within {seconds:g} seconds"
            raise Refusal(HTTPStatus.REQUEST_TIMEOUT, message) from None
        except ClientDisconnect:
            raise GoneError from None
        if not body:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"the request has no body: send {self._wanted}")

    def _check_head(self, request: Request) -> None:
        """Refuse by its head what need not be read."""
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "bodies are taken without Content-Encoding")
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal():  # the HTTP parser has refused all else
            self._check_bytes(int(declared))

    def _check_bytes(self, size: int) -> None:
        if size > self._limits.body_bytes:
            message = f"the body is over this server's limit of {self._limits.body_bytes} bytes"
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
        if self._held > self._limits.held_bytes:
            message = "the server is busy: too many large bodies are being sent"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, message, retry_after=1)
