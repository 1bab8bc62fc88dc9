"""What is timed by one thread takes one."""

import os
import subprocess
import sys

PROGRAM = """
import numpy, torch
from threadpoolctl import threadpool_info
from benchmarks.clock import one_thread

def threads():
    return {one["num_threads"] for one in threadpool_info()} | {torch.get_num_threads()}

before = threads()
with one_thread():
    print(before, threads())
print(threads())
"""


def test_neither_torch_nor_the_products_of_numpy_take_more_than_one_thread() -> None:
    """In a process that may use two."""
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "{2} {1}\n{2}\n"), done.stderr
