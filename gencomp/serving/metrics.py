"""What a server tells Prometheus: answers by status, latencies, and how full its pool is."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from gencomp.serving.limits import Limits
from gencomp.serving.pool import Pool

LATENCIES = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Upper bounds of the histogram's buckets, in seconds."""


class Metrics:
    """Of one server; made and changed in its event loop."""

    def __init__(self, pool: Pool, limits: Limits) -> None:
        disable_created_metrics()
        self._registry = CollectorRegistry()
        labels = ("operation", "status")
        self._requests = Counter(
            "gencomp_requests", "Requests by what became of them.", labels, registry=self._registry
        )
        self._seconds = Histogram(
            "gencomp_request_seconds",
            "From the head of a request to its answer, those answered with 200.",
            ("operation",),
            buckets=LATENCIES,
            registry=self._registry,
        )
        for name, text, value in (
            ("gencomp_queue_depth", "Requests that wait for a worker.", lambda: pool.waiting),
            ("gencomp_running", "Requests in workers, overdue ones included.", lambda: pool.running),
            ("gencomp_overdue", "Requests in workers that were answered with 504 or left.", lambda: pool.overdue),
            ("gencomp_capacity", "Requests that may be in workers or wait.", lambda: limits.capacity),
        ):
            Gauge(name, text, registry=self._registry).set_function(value)

    def count(self, operation: str, status: int, seconds: float) -> None:
        """One request is over."""
        self._requests.labels(operation, str(status)).inc()
        if status == 200:
            self._seconds.labels(operation).observe(seconds)

    def text(self) -> bytes:
        """All of it in Prometheus' text format, 0.0.4."""
        return generate_latest(self._registry)
