"""What a training does to its machine: MLflow's own measurements of processor, memory, disk, network and GPUs.

They are taken here and sent by the run's logger, not by MLflow's monitor, which gives up at the first lost server.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor

SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
"""MLflow's switch: `false` turns it off, where MLflow's own default is off."""
INTERVAL = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"
"""MLflow's setting of the seconds between two samples."""
DEFAULT_INTERVAL = 10.0


class SystemSampler:
    """Takes samples in a thread of its own until it is closed, and once more then."""

    def __init__(self, take: Callable[[Mapping[str, float]], None], interval: float) -> None:
        """`take` gets values by name, every `interval` seconds."""
        self._monitors = _monitors()  # imports here, before there is a thread
        self._take, self._interval = take, interval
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="system-sampler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take the last sample."""
        self._closed.set()
        self._thread.join()

    def _work(self) -> None:
        while True:
            ended = self._closed.wait(self._interval)
            values: dict[str, float] = {}
            for monitor in self._monitors:
                with contextlib.suppress(Exception):  # a driver that hiccups ends no training
                    monitor.collect_metrics()
                    values |= {f"system/{name}": float(value) for name, value in monitor.aggregate_metrics().items()}
                    monitor.clear_metrics()
            self._take(values)
            if ended:
                return


def sampling_interval() -> float | None:
    """Seconds between two samples, as the environment has it; None where it is switched off."""
    if os.environ.get(SWITCH, "true").strip().lower() not in ("1", "true"):
        return None
    with contextlib.suppress(ValueError):
        return max(0.1, float(os.environ.get(INTERVAL, DEFAULT_INTERVAL)))
    return DEFAULT_INTERVAL


def _monitors() -> "list[BaseMetricsMonitor]":
    """Those that work here: psutil is an extra, and GPUs need their vendor's library."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    found: list[BaseMetricsMonitor] = []
    for kind in (CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor):
        with contextlib.suppress(Exception):
            found.append(kind())
    return found
