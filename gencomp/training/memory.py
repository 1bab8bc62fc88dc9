"""What a long training does about the C library's memory."""

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Names of glibc's malloc.h."""
STEP = 64 * 2**20
"""Bytes that the heap grows by."""


def keep_freed_memory() -> bool:
    """Let the C library keep what this process frees, for the next step of a training; False where it is not glibc.

    By default glibc gives large pieces back to the system at once and gets them again, zeroed page by page, in the next
    step (docs/log.md has what that costs on a CPU).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(mallopt(name, value) for name, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, STEP)))
