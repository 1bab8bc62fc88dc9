"""Spans of time that hold whatever trickles in: a socket's own timeout begins again with every byte."""

import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType

from gencomp.data.failure import Transient

TICK = 0.25
"""Seconds between two looks at what is watched, and so how late a span may be found to be over."""


class Watch:
    """A span of `seconds` for what is done in a context; when it is over, `cut` is called, by another thread, and the
    context ends with Transient (`too-slow`) whatever became of it.

    Entering and leaving take a microsecond or two: a thread that all share looks at what is watched now and then.
    """

    def __init__(self, cut: Callable[[], object], seconds: float) -> None:
        self._cut = cut
        self._late = False
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    def again(self) -> None:
        """The span begins anew."""
        self._until = time.monotonic() + self._seconds

    def __enter__(self) -> "Watch":
        _WATCHDOG.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        _WATCHDOG.remove(self)
        if self._late and (kind is None or issubclass(kind, Exception)):
            raise Transient("too-slow", f"not done in {self._seconds:.0f} s") from None

    def look(self, now: float) -> None:
        """Cut it where its span is over. What was closed meanwhile, or has no socket yet, cannot be."""
        if now > self._until:
            self._late = True
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                self._cut()


class _Watchdog:
    """The thread that looks; it sleeps while there is nothing to look at, and ends with the process."""

    def __init__(self) -> None:
        self._watched: set[Watch] = set()
        self._any = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, watch: Watch) -> None:
        self._watched.add(watch)
        if not self._any.is_set():
            self._wake()

    def remove(self, watch: Watch) -> None:
        self._watched.discard(watch)

    def _wake(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()
        self._any.set()

    def _run(self) -> None:
        while self._any.wait():
            time.sleep(TICK)
            now = time.monotonic()
            for watch in list(self._watched):
                watch.look(now)
            self._any.clear()
            if self._watched:  # one that comes later sees that nobody is awake
                self._any.set()


_WATCHDOG = _Watchdog()
