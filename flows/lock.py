"""One flow at a time in a checkout."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flows.environment import clear_temporary, temporary_folder


class CheckoutBusyError(RuntimeError):
    """Another flow is running in this checkout."""


@contextmanager
def hold_checkout(root: Path) -> Iterator[None]:
    """Hold `root` for one flow; raises CheckoutBusyError at once when another process holds it.

    The temporary files of flows that were killed are removed at the start, those of this one at the end.
    """
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
        clear_temporary(root)
        temporary_folder(root).mkdir(mode=0o700, exist_ok=True)
        yield
    finally:
        clear_temporary(root)
        lock.release()
