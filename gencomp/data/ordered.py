"""Work that threads do, taken back in the order in which it was given out."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

X = TypeVar("X")
Y = TypeVar("Y")


def in_order(
    function: Callable[[X], Y], arguments: Iterable[X], threads: int, prepare: Callable[[], None] = lambda: None
) -> Iterator[Y]:
    """The results of a function in the order of its arguments, computed by threads at most twice their number ahead.
    Each thread calls `prepare` first. Where no more results are taken, those under way are not waited for."""
    executor = ThreadPoolExecutor(threads, initializer=prepare)
    pending: deque[Future[Y]] = deque()
    try:
        for argument in arguments:
            pending.append(executor.submit(function, argument))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
