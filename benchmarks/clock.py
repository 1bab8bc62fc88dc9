"""Wall time, on a CPU or of work queued on a GPU."""

import statistics
import time
from collections.abc import Callable, Mapping

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


def hardware(device: torch.device) -> str:
    """What was measured on, in words."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return f"{name}, {torch.get_num_threads()} CPU threads, torch {torch.__version__}"
