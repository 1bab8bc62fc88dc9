"""Programs end where nobody waits for them any more, and lose nothing where somebody does."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from gencomp.evaluation.classical import _run
from gencomp.evaluation.interruption import ends_with, go_on


def test_a_program_ends_with_the_work_that_it_was_run_for() -> None:
    left = threading.Event()
    with ThreadPoolExecutor(1, initializer=ends_with, initargs=(left,)) as pool:
        work = pool.submit(_run, "sleep", ["sleep", "600"])
        while not (children := [child for child in psutil.Process().children() if child.name() == "sleep"]):
            time.sleep(0.05)
        left.set()
        with pytest.raises(InterruptedError):
            work.result(timeout=60)
        assert not any(child.is_running() for child in children)
        with pytest.raises(InterruptedError):
            pool.submit(go_on).result()
    go_on()  # other threads do


def test_a_slow_program_takes_and_gives_all() -> None:
    data = os.urandom(1 << 20)
    assert _run("sh", ["sh", "-c", "sleep 0.5; cat; sleep 0.5; echo end"], data) == data + b"end\n"
