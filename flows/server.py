"""A Prefect server on loopback that lives exactly as long as its starter.

Prefect starts a temporary server of its own where none is named, which SIGTERM orphans; this one runs under a guard.
"""

import os
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.guard import Guarded

HOST = "127.0.0.1"
START_SECONDS = 120.0
"""How long a server may take until it answers, in seconds; the first start creates its database."""
_POLL_SECONDS = 0.1


class ServerError(RuntimeError):
    """The server did not come up; one line that names its log."""


@contextmanager
def prefect_server(home: Path, *, port: int = 0, dashboard: bool = False) -> Iterator[str]:
    """Run a server over `home`'s database on 127.0.0.1 (port 0: any free one) and yield its API address.

    Raises ServerError when the port is taken or the server does not answer in time.
    """
    port = _free_port(port)
    api = f"http://{HOST}:{port}/api"
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        HOST,
        "--port",
        str(port),
    ]
    environment = {
        **os.environ,
        "PREFECT_API_URL": api,
        "PREFECT_UI_ENABLED": str(dashboard).lower(),
    }
    home.mkdir(parents=True, exist_ok=True)
    log = home / f"server-{port}.log"
    with log.open("wb") as output:
        server = Guarded(command, cwd=home, environment=environment, output=output)
    try:
        _wait(server, api, log)
        yield api
    finally:
        server.end()
        log.unlink(missing_ok=True)


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ServerError(f"{HOST}:{port} cannot be used ({error.strerror}): choose another port") from None
        return int(probe.getsockname()[1])


def _wait(server: Guarded, api: str, log: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up and server.running():
        try:
            with urllib.request.urlopen(f"{api}/health", timeout=5):
                return
        except OSError:
            time.sleep(_POLL_SECONDS)
    said = " ".join(log.read_text(errors="replace").split())[-300:]
    raise ServerError(f"the Prefect server on {api} did not start: {said or 'it said nothing'}")
