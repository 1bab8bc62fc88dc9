"""A package index on the loopback interface."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Index:
    """Answers by path: (body, content type, bytes that are promised). `asked` keeps (path, Authorization)."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/simple"
        self.answers: dict[str, tuple[bytes, str, int]] = {}
        self.asked: list[tuple[str, str | None]] = []

    def answer(self, path: str, body: bytes, kind: str = "text/html", promised: int | None = None) -> None:
        self.answers[path] = (body, kind, len(body) if promised is None else promised)

    def offer(self, data: bytes, file: str = "tiny-1.0.tar.gz", *, as_json: bool = False, promised: int = 0) -> None:
        """A project page that links to the file, and the file."""
        if as_json:
            files = [{"filename": file, "url": f"../../files/{file}", "hashes": {}}]
            page, kind = json.dumps({"files": files}).encode(), "application/vnd.pypi.simple.v1+json"
        else:
            page, kind = f"<html><a href='../../files/{file}#sha256=0'>{file}</a></html>".encode(), "text/html"
        self.answer("/simple/tiny-weights/", page, kind)
        self.answer(f"/files/{file}", data, "application/octet-stream", promised or len(data))


@contextmanager
def serving() -> Iterator[Index]:
    """An index that has nothing yet."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.path, self.headers.get("Authorization")))
            if self.path not in found.answers:
                return self.send_error(404)
            body, kind, promised = found.answers[self.path]
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(promised))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Index(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
