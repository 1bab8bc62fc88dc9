"""A real `gencomp serve` for tests, and clients for it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/codec/golden"
NESTED = GOLDEN / "nested" / "package"
COMMAND = str(Path(sys.executable).with_name("gencomp"))
PATIENCE = 120
"""Seconds for anything at all: the machine may be busy."""


class Answer(NamedTuple):
    """What the server said."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def error(self) -> str:
        """The line of a refusal."""
        said = json.loads(self.body)
        assert list(said) == ["error"] and "\n" not in said["error"], said
        assert self.headers["Content-Type"] == "application/json"
        return str(said["error"])


class Served:
    """A server of its own process, started through the command line."""

    def __init__(self, folder: Path, *options: object, model: Path | str = NESTED) -> None:
        self._log = folder / "serve.log"
        command = [COMMAND, "serve", "--model", str(model), "--port", "0", *map(str, options)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, cwd=folder, env=environment, text=True
            )
        assert self.process.stdout is not None
        try:
            self.announced = self.process.stdout.readline()
            assert self.announced.startswith("http://"), self.errors()
        except BaseException:
            self.kill()
            raise
        self.url = self.announced.split()[0]
        self.address = str(urlsplit(self.url).hostname), int(urlsplit(self.url).port or 0)

    def ask(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """GET, or POST where there is a body, over a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
        try:
            connection.request("GET" if body is None else "POST", path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def health(self) -> dict[str, object]:
        """What /healthz says, whatever its status."""
        return dict(json.loads(self.ask("/healthz").body))

    def wait_until(self, **state: object) -> None:
        """Until /healthz says so."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if state.items() <= self.health().items():
                return
            time.sleep(0.01)
        raise TimeoutError(f"not {state} but {self.health()}")

    def ask_at_once(self, count: int, path: str, body: bytes) -> list[Answer]:
        """The same request by so many clients at the same moment."""
        answers: list[Answer] = []
        together = threading.Barrier(count)

        def client() -> None:
            together.wait()
            answers.append(self.ask(path, body))

        clients = [threading.Thread(target=client) for _ in range(count)]
        for one in clients:
            one.start()
        for one in clients:
            one.join()
        return answers

    def terminate(self) -> None:
        """Ask it to end, and do not wait."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        self.terminate()
        return self.process.wait(PATIENCE)

    def errors(self) -> str:
        """What it said on stderr."""
        return self._log.read_text()

    def kill(self) -> None:
        """End it at once, if it still runs."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
