"""Answers of servers that fail, each for a path of the loopback server."""

import contextlib
import socket
import struct
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

Answer = Callable[[BaseHTTPRequestHandler], None]
OK = b"HTTP/1.1 200 OK\r\n"
DRIPPED = {
    "status": b"HTTP/1.1 200 ",
    "headers": OK + b"Content-Length: 4\r\nServer: ",
    "chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "trailer": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nServer: ",
}
"""Beginnings of answers, up to something whose length nobody states."""


def answer(status: int, body: bytes, *, length: int | None = None, **headers: str) -> Answer:
    """A body and its stated length, its own unless told otherwise."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return send


def truncated(body: bytes) -> Answer:
    """Half a body, then the end of the connection."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        answer(200, body[: len(body) // 2], length=len(body))(handler)
        handler.close_connection = True

    return send


def reset(body: bytes) -> Answer:
    """Half a body, then a connection that is torn down instead of closed."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        truncated(body)(handler)
        handler.wfile.flush()
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()

    return send


def overlong(body: bytes, more: bytes) -> Answer:
    """A whole body, and behind it on the same connection what looks like the next answer."""
    return answer(200, body + OK + f"Content-Length: {len(more)}\r\n\r\n".encode() + more, length=len(body))


def drip(body: bytes) -> Answer:
    """A good beginning, then a byte now and then: never silent, never done."""
    start = len(body) // 2
    head = OK + f"Content-Length: {len(body)}\r\n\r\n".encode()
    return dripped(head + body[:start], body[start : start + 200])


def dripped(head: bytes, drops: bytes = bytes([48]) * 400) -> Answer:
    """A beginning, then a byte now and then, zeros unless told otherwise, until the other end hangs up."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.wfile.write(head)
        with contextlib.suppress(OSError):
            for drop in drops:
                handler.wfile.write(bytes([drop]))
                time.sleep(0.05)

    return send
