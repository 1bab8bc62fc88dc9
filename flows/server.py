"""A Prefect server on loopback that lives exactly as long as its starter.

Prefect starts a temporary server of its own where none is named, which SIGTERM orphans; this one runs under a guard.
"""

import contextlib
import os
import shutil
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.guard import Guarded

HOST = "127.0.0.1"
START_SECONDS = 600.0
"""How long a server may take until it answers, in seconds; the first start creates its database."""
LEASES_ON_DISK = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}
"""Else a server that is started again has forgotten who holds a slot, and never gives it back: later trainings would
wait for ever, and scheduled runs be cancelled."""
_POLL_SECONDS = 0.1
_PAUSE_SECONDS = 1.0
"""Before a server that has died is started again."""


class ServerError(RuntimeError):
    """The server did not come up; one line that names its log."""


def is_alone(home: Path, host: str = HOST) -> bool:
    """Whether no server runs over `home`'s database; the logs of those that were killed are removed."""
    for log in home.glob("server-*.log"):
        with contextlib.suppress(ServerError):
            _free_port(int(log.stem.removeprefix("server-")), host)
            log.unlink(missing_ok=True)
    return not any(home.glob("server-*.log"))


def forget_leases(home: Path) -> None:
    """Before a server starts alone: what was leased to flows that were killed with the server before."""
    shutil.rmtree(home / "concurrency_leases", ignore_errors=True)


@contextmanager
def prefect_server(home: Path, *, port: int = 0, dashboard: bool = False, host: str = HOST) -> Iterator[str]:
    """Run a server over `home`'s database on `host` (port 0: any free one) and yield its API address for this machine.

    One that dies is started again on its port. Raises ServerError when the port is taken or the server does not answer
    in time.
    """
    port = _free_port(port, host)
    api = f"http://{_reached(host)}:{port}/api"
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        host,
        "--port",
        str(port),
    ]
    environment = {
        **LEASES_ON_DISK,
        **os.environ,
        "PREFECT_API_URL": api,
        "PREFECT_UI_ENABLED": str(dashboard).lower(),
    }
    home.mkdir(parents=True, exist_ok=True)
    log = home / f"server-{port}.log"

    def start() -> Guarded:
        with log.open("wb") as output:
            return Guarded(command, cwd=home, environment=environment, output=output)

    kept = _Kept(start)
    try:
        _wait(kept.server, api, log)
        kept.keep()
        yield api
    finally:
        kept.end()
        log.unlink(missing_ok=True)


class _Kept:
    """A server that is started again when it dies, until it is ended."""

    def __init__(self, start: Callable[[], Guarded]) -> None:
        self._start = start
        self._ended = threading.Event()
        self._starting = threading.Lock()
        self.server = start()

    def keep(self) -> None:
        threading.Thread(target=self._keep, name="prefect-server", daemon=True).start()

    def end(self) -> None:
        with self._starting:
            self._ended.set()
        self.server.end()

    def _keep(self) -> None:
        while not self._ended.is_set():
            self.server.wait()
            self._ended.wait(_PAUSE_SECONDS)
            with self._starting:
                if not self._ended.is_set():
                    self.server = self._start()


def _reached(host: str) -> str:
    """The address by which this machine reaches a server that is bound to `host`."""
    return HOST if host == "0.0.0.0" else host


def _free_port(port: int, host: str) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServerError(f"{host}:{port} cannot be used ({error.strerror}): choose another port") from None
        return int(probe.getsockname()[1])


def _wait(server: Guarded, api: str, log: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up and server.running():
        try:
            with urllib.request.urlopen(f"{api}/health", timeout=5):
                return
        except OSError:
            time.sleep(_POLL_SECONDS)
    said = " ".join(log.read_text(errors="replace").split())[-300:] if log.exists() else ""
    raise ServerError(f"the Prefect server on {api} did not start: {said or 'it said nothing'}")
