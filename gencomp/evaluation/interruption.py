"""Work in threads that soon ends where nobody waits for it any more.

A thread is told once what says so, and asks between the parts of its work.
"""

import threading
from contextvars import ContextVar

_INTERRUPTED = ContextVar[threading.Event | None]("_INTERRUPTED", default=None)


def ends_with(interrupted: threading.Event) -> None:
    """Let the work of this thread end where that is set."""
    _INTERRUPTED.set(interrupted)


def go_on() -> None:
    """Raises InterruptedError where nobody waits any more for the work of this thread."""
    interrupted = _INTERRUPTED.get()
    if interrupted is not None and interrupted.is_set():
        raise InterruptedError("nobody waits for this any more")
