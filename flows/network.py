"""Which steps cross a network, when another attempt may help, and how long a server may be away."""

import re
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import TypedDict

from prefect.client.schemas.objects import State, TaskRun

RETRY_SECONDS = (5.0, 60.0)
"""Seconds before the second and the third attempt of a step that crosses a network."""
AWAY_SECONDS = 120.0
"""How long the Prefect server may be away at the end of a target until the flow goes on without it, in seconds."""
_PAUSE_SECONDS = 0.5
_CROSSING = ("download@", "register")
_PASSING = re.compile(
    r"(?i)unreachable|too-slow|wrong-length|timed?[ -]?out|connection|temporar|unavailable|name or service|"
    r"name resolution|network|broken pipe|unexpected eof|\bHTTP (408|425|429|5\d\d)\b"
)


def crosses(target: str) -> bool:
    """Whether a DVC target reads from or writes to other machines: the only ones that are retried."""
    return target.startswith(_CROSSING)


def may_pass(_task: object, _run: TaskRun, state: State) -> bool:
    """Prefect's `retry_condition_fn`: whether a failure's message tells of a network, not of a mistake."""
    return bool(_PASSING.search(state.message or ""))


class Retries(TypedDict):
    """Options of Prefect's tasks."""

    retries: int
    retry_delay_seconds: list[float]
    retry_condition_fn: Callable[[object, TaskRun, State], bool]


RETRIES: Retries = {
    "retries": len(RETRY_SECONDS),
    "retry_delay_seconds": list(RETRY_SECONDS),
    "retry_condition_fn": may_pass,
}
"""Those of a step that crosses a network."""


class Patience:
    """Waits for a Prefect server that is away, so that what a run tells it is not lost; once at most in vain."""

    def __init__(self, api: str | None, *, seconds: float = AWAY_SECONDS) -> None:
        """`api` is the server's API address; None: there is nothing to wait for."""
        self._health = f"{api}/health" if api else None
        self._seconds = seconds
        self._gone = threading.Event()

    def wait(self) -> None:
        """Return when the server answers, or when it was away for too long, now or before."""
        give_up = time.monotonic() + self._seconds
        while self._health and not self._gone.is_set():
            try:
                urllib.request.urlopen(self._health, timeout=5).close()
                return
            except OSError:
                if time.monotonic() > give_up:
                    self._gone.set()
                self._gone.wait(_PAUSE_SECONDS)
