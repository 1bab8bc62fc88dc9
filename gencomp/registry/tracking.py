"""Live logging of a training run that never holds training up, and training curves without gaps or repeats."""

import os
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from gencomp.registry.manifests import TrainingData, log_data
from gencomp.registry.store import (
    CONTENT_TAG,
    PACKAGE_TAG,
    client_class,
    connect,
    experiment_id,
    find_run,
    now,
    reason,
    shown,
    store_uri,
)
from gencomp.registry.system import SystemSampler, sampling_interval

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CAPACITY = 100_000
"""Records kept while the server is away; later ones are not kept, and `register` restores the curve."""
PICTURE_CAPACITY = 64
"""Pictures kept while the server is away; later ones are not kept."""
BATCH = 500
"""Records per request, at most."""
SHORTEST_PAUSE = 0.25
"""Seconds between two attempts to reach a lost server, at first."""
LONGEST_PAUSE = 8.0
"""Seconds between two attempts to reach a lost server, at most."""
FAREWELL = 10.0
"""Seconds that the end of training waits for unsent records, at most."""
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""What is lost is sent again here, so MLflow's own retries would only be in the way."""
REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")


class MetricRow(NamedTuple):
    """Named values of one training step; `time` in milliseconds since 1970."""

    step: int
    values: Mapping[str, float]
    time: int


class Picture(NamedTuple):
    """A picture's bytes and the path that it gets among the run's artifacts."""

    path: str
    data: bytes


class Tag(NamedTuple):
    """A tag of the run."""

    name: str
    value: str


Record = MetricRow | Picture | Tag


class Curve:
    """The metric history of one run, in which no step stands twice under one name."""

    def __init__(self, client: "MlflowClient", run: str) -> None:
        self._client, self._run = client, run
        self._steps: dict[str, set[int]] = {}

    def extend(self, rows: Iterable[MetricRow]) -> None:
        """Send those values whose step the run lacks."""
        from mlflow.entities import Metric

        fresh = [
            Metric(name, value, row.time, row.step)
            for row in rows
            for name, value in row.values.items()
            if row.step not in self._known(name)
        ]
        for start in range(0, len(fresh), 1000):
            self._client.log_batch(self._run, metrics=fresh[start : start + 1000])
        for metric in fresh:
            self._steps[metric.key].add(metric.step)

    def _known(self, name: str) -> set[int]:
        if name not in self._steps:
            self._steps[name] = {int(metric.step) for metric in self._client.get_metric_history(self._run, name)}
        return self._steps[name]


class LiveRun:
    """The run of one training in the store, opened again wherever it was left."""

    def __init__(
        self, uri: str, name: str, content: str, params: Mapping[str, str], data: TrainingData | None = None
    ) -> None:
        """Find the run that carries `content`, or create it. Raises what MLflow raises when the store is away."""
        self._client = connect(uri)
        experiment = experiment_id(self._client, uri)
        found = find_run(self._client, experiment, CONTENT_TAG, content)
        self.id = found or self._client.create_run(experiment, run_name=name, tags={CONTENT_TAG: content}).info.run_id
        self._client.update_run(self.id, status="RUNNING")
        add_params(self._client, self.id, params)
        if data is not None:
            log_data(self._client, self.id, data)
        self._curve = Curve(self._client, self.id)

    def send(self, records: list[Record]) -> None:
        """Write all records; writing them again after a failure changes nothing."""
        self._curve.extend(record for record in records if isinstance(record, MetricRow))
        for record in records:
            if isinstance(record, Tag):
                self._client.set_tag(self.id, record.name, record.value)
            elif isinstance(record, Picture):
                self._upload(record)

    def end(self, status: str) -> None:
        self._client.set_terminated(self.id, status)

    def _upload(self, picture: Picture) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(picture.path).name
            file.write_bytes(picture.data)
            self._client.log_artifact(self.id, str(file), str(Path(picture.path).parent))


def add_params(client: "MlflowClient", run: str, params: Mapping[str, str]) -> None:
    """Set those params that the run lacks; MLflow refuses to change one."""
    from mlflow.entities import Param

    missing = params.keys() - client.get_run(run).data.params.keys()
    for start in range(0, len(missing), 100):
        client.log_batch(run, params=[Param(name, params[name]) for name in sorted(missing)[start : start + 100]])


class RunLogger:
    """Live logging of one training run from a thread of its own, so that no call waits for the server.

    The run is the one that carries `content` as its tag: a resumed training continues it, and no step is logged twice.
    When the server cannot be reached, one line on stderr says so, records are kept, and they are sent when it is back
    or at the end. What even then stays unsent, `register` adds from the training curve. The load of the machine is
    logged too, unless the environment switches it off (gencomp/registry/system.py).
    """

    def __init__(
        self,
        name: str,
        content: str,
        params: Mapping[str, str],
        uri: str | None = None,
        data: TrainingData | None = None,
    ) -> None:
        """`name` is shown for a new run, `content` is the key of what is trained, `params` as from `flatten`."""
        os.environ.update(IMPATIENT)
        client_class()  # imports MLflow now: data workers must not be forked while a thread holds import locks
        self._uri = uri or store_uri()
        self._open = lambda: LiveRun(self._uri, name, content, params, data)
        self._run: LiveRun | None = None
        self._queue: deque[Record] = deque()
        self._changed = threading.Condition()
        self._status: str | None = None
        self._deadline = float("inf")
        self._warned = False
        interval = sampling_interval()
        self._sampler = None if interval is None else SystemSampler(self._sample, interval)
        self._thread = threading.Thread(target=self._work, name="run-logger", daemon=True)
        self._thread.start()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log named values of a training step."""
        self._put(MetricRow(step, dict(values), now()))

    def picture(self, step: int, name: str, path: Path) -> None:
        """Log a picture file as `pictures/<name>/<step><suffix>`; it is read now, so it may be overwritten after."""
        self._put(Picture(f"pictures/{name}/{step:08d}{path.suffix}", path.read_bytes()), PICTURE_CAPACITY)

    def package(self, content_hash: str) -> None:
        """Tag the run with the package that it made, by which `register` finds it."""
        self._put(Tag(PACKAGE_TAG, content_hash))

    def close(self, status: str = "FINISHED") -> None:
        """Send what is unsent, for at most FAREWELL seconds, and end the run as FINISHED, FAILED or KILLED."""
        if self._sampler is not None:
            self._sampler.close()
        with self._changed:
            self._deadline, self._status = time.monotonic() + FAREWELL, status
            self._changed.notify()
        self._thread.join(FAREWELL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close("FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED")

    def _sample(self, values: Mapping[str, float]) -> None:
        """The step of what belongs to no training step is the time, so that a resumed training repeats none."""
        time = now()
        self._put(MetricRow(time, values, time))

    def _put(self, record: Record, capacity: int = CAPACITY) -> None:
        """Queue a record unless `capacity` of its kind are waiting."""
        with self._changed:
            if sum(isinstance(waiting, type(record)) for waiting in self._queue) < capacity:
                self._queue.append(record)
                self._changed.notify()

    def _work(self) -> None:
        pause, ended = SHORTEST_PAUSE, False
        while not ended and time.monotonic() < self._deadline:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._status or self._run is None)
                batch = list(islice(self._queue, BATCH))
                status = self._status if len(batch) == len(self._queue) else None
            if self._deliver(batch, status):
                pause, ended = SHORTEST_PAUSE, status is not None
                self._forget(len(batch))
            else:
                self._rest(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _forget(self, count: int) -> None:
        with self._changed:
            for _ in range(count):
                self._queue.popleft()

    def _deliver(self, batch: list[Record], status: str | None) -> bool:
        """Whether the batch is dealt with: stored, or refused for good. Logging never ends a training."""
        try:
            self._run = self._run or self._open()
            self._run.send(batch)
            if status is not None:
                self._run.end(status)
        except Exception as error:
            refused = self._run is not None and getattr(error, "error_code", None) in REFUSALS
            self._run = None  # found again next time, with what it really holds
            self._warn("refuses a record" if refused else "cannot be reached", error)
            return refused
        return True

    def _rest(self, pause: float) -> None:
        """Wait before the next attempt; the end of training is no reason to wait long."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._status, pause):
                return
        time.sleep(min(pause, SHORTEST_PAUSE))

    def _warn(self, what: str, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            why = f"{shown(self._uri)} {what} ({reason(error)})"
            sys.stderr.write(f"tracking: {why}; training goes on, what is missing is added later\n")
