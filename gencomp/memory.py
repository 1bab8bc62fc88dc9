"""What long computations do about the C library's memory."""

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
"""Names of glibc's malloc.h."""
STEP = 64 * 2**20
"""Bytes that the heap grows by."""


def keep_freed_memory(shared: bool = False) -> bool:
    """Let the C library keep what this process frees, for its next step; False where it is not glibc.

    By default glibc gives large pieces back to the system at once and gets them again, zeroed page by page, in the next
    step (docs/log.md has what that costs on a CPU). `shared`: also what threads free that are started after this, which
    then take their memory from one heap; a heap of a thread's own holds no piece of 64 MiB.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    options = [(M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, STEP)]
    return all(mallopt(name, value) for name, value in options + [(M_ARENA_MAX, 1)] * shared)
