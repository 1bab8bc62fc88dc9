"""How a signal ends a command: nothing unfinished is left, and threads are not waited for much longer."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import click

ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
GRACE = 2.0
"""Seconds in which threads may end what they are at."""


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: nothing unfinished is left, no terminal without a cursor.

    Threads that are not done a GRACE later end with the process: Python would wait for the last of them.
    """
    came: list[int] = []

    def end(number: int, frame: FrameType | None) -> NoReturn:
        came.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    for number, handler in before.items():
        if handler in (signal.SIG_DFL, signal.default_int_handler):  # nohup ignores SIGHUP
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            _leave_threads_behind(came[0])


def _leave_threads_behind(number: int) -> None:
    """End the process with the signal's exit code, and click's word, where threads are still at work after a while."""
    deadline = time.monotonic() + GRACE
    others = [t for t in threading.enumerate() if t is not threading.current_thread() and not t.daemon]
    for thread in others:
        thread.join(max(0.0, deadline - time.monotonic()))
    if not any(thread.is_alive() for thread in others):
        return
    if number == signal.SIGINT:
        click.echo("Aborted!", err=True)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    os._exit(1 if number == signal.SIGINT else 128 + number)
