"""One flow at a time in a checkout."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class CheckoutBusyError(RuntimeError):
    """Another flow is running in this checkout."""


@contextmanager
def hold_checkout(root: Path) -> Iterator[None]:
    """Hold `root` for one flow; raises CheckoutBusyError at once when another process holds it."""
    path = root / ".scratch" / "flow.lock"
    path.parent.mkdir(exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise CheckoutBusyError(
            f"another flow is running in {root}: wait for it or stop it, then start again"
        ) from None
    try:
        yield
    finally:
        lock.release()
