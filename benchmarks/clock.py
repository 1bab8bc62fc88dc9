"""Wall time, of a CPU's work or of what is queued on a GPU, and the memory and the speed to hold it against."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch


def now(device: torch.device) -> float:
    """Seconds, after all that was queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def medians(calls: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, float]:
    """Median milliseconds of each call, over rounds in which all of them run in turn, so that they share what else the
    machine does."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = now(device)
            call()
            times[name].append((now(device) - start) * 1e3)
    return {name: statistics.median(found) for name, found in times.items()}


@contextmanager
def one_thread() -> Iterator[None]:
    """What is computed within takes one thread of torch's and of numpy's BLAS, which `torch.set_num_threads` does not
    bind."""
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def hardware(device: torch.device) -> str:
    """What was measured on, in words."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return f"{name}, {torch.get_num_threads()} CPU threads, torch {torch.__version__}"


def matrix_product_ceiling(device: torch.device, dtype: torch.dtype, side: int, rounds: int) -> float:
    """FLOP per second of the fastest of so many products of two matrices of `side` x `side`."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    torch.mm(a, b)
    return (
        2e3 * side**3 / min(medians({"product": lambda: torch.mm(a, b)}, 1, device)["product"] for _ in range(rounds))
    )


def forget_peak(device: torch.device) -> None:
    """Let `peak_bytes` begin anew, where the system can."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # not Linux, or not allowed: the peak is then that of the process


def peak_bytes(device: torch.device) -> int | None:
    """The most memory that was taken since `forget_peak`: the device's, or the process's on a CPU; None: unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)
