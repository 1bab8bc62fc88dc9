"""A receiver of webhooks on loopback."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Receiver(NamedTuple):
    """`busy` counts the requests that are still to be refused with 503."""

    url: str
    received: list[tuple[str, dict[str, object]]]
    busy: list[None]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Receive JSON on a free port, as (path, body)."""
    received: list[tuple[str, dict[str, object]]] = []
    busy: list[None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if busy:
                busy.pop()
                self.send_response(503)
            else:
                received.append((self.path, body))
                self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Receiver(f"http://127.0.0.1:{server.server_port}", received, busy)
        finally:
            server.shutdown()
            thread.join()
