"""Freed memory stays with the process that asked for it."""

import platform
import subprocess
import sys

import pytest

MEGABYTES = 400
CODE = f"""
import os, sys
from gencomp.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
import torch
kept = [torch.ones({MEGABYTES} * 2**20 // 8, dtype=torch.float64) for _ in range(1)]
del kept
pages = int(open("/proc/self/statm").read().split()[1])
print(pages * os.sysconf("SC_PAGE_SIZE") // 2**20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_kept() -> None:
    resident = {
        way: int(subprocess.run([sys.executable, "-c", CODE, way], check=True, capture_output=True, timeout=60).stdout)
        for way in ("keep", "leave")
    }
    assert resident["keep"] > resident["leave"] + 0.9 * MEGABYTES
