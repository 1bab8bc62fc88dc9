"""What `gencomp serve` answers on loopback at its capacity and beyond it, in pictures compressed per second.

At capacity, as many clients as may be worked on or wait send one request after the other: each must be answered, with
the codec's own bytes. Beyond it there are four times as many, which pause for a moment when they are refused: each
request must be answered so, or refused cleanly (503 and Retry-After), and as many as before must be answered.
"""

import http.client
import io
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

import torch

from benchmarks.clock import hardware
from benchmarks.inference import picture
from benchmarks.rows import Bar, Row, arguments, compared, finish, measured, say
from gencomp import Codec
from gencomp.codec.pixels import read_picture

SIZE, QUICK_SIZE = (768, 512), (256, 192)
SECONDS, QUICK_SECONDS = 30.0, 6.0
QUEUE = 8
CROWD = 4
"""Times as many clients as the server has room for."""
PAUSE = 0.1
"""Seconds that a client waits that was refused; Retry-After asks for more."""
PATIENCE = 300.0
"""Seconds for an answer."""

NONE = Bar("<=", 0)
SOME = Bar(">=", 1)
NEAR = Bar(">=", 0.8)
"""Of the reference's rate."""


class Heard(NamedTuple):
    """What became of one request."""

    seconds: float
    kind: str
    """`answered` with the expected bytes, `refused` cleanly, or anything else in words."""


class Phase(NamedTuple):
    """What so many clients heard within so many seconds."""

    clients: int
    seconds: float
    heard: Sequence[Heard]

    def times(self, kind: str) -> list[float]:
        """Seconds of all requests of a kind, sorted."""
        return sorted(one.seconds for one in self.heard if one.kind == kind)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.times("answered")) / self.seconds

    @property
    def wrong(self) -> list[str]:
        """All else."""
        return [one.kind for one in self.heard if one.kind not in ("answered", "refused")]


def main() -> int:
    parser = arguments("Loads a server on loopback.")
    parser.add_argument("--model", metavar="REF", default="light", help="a model reference (light)")
    parser.add_argument("--workers", type=int, default=1, help="of the server (1)")
    args = parser.parse_args()
    size, seconds = (QUICK_SIZE, QUICK_SECONDS) if args.quick else (SIZE, SECONDS)
    say(f"{hardware(torch.device('cpu'))}; {size[0]} x {size[1]}, workers: {args.workers}, waiting: {QUEUE}")
    return finish(list(measure(args.model, size, seconds, args.workers, QUEUE)), args.json)


def measure(model: str, size: tuple[int, int], seconds: float, workers: int, queue: int) -> Iterator[Row]:
    """All rows."""
    buffer = io.BytesIO()
    picture(*size).save(buffer, "PNG")
    body = buffer.getvalue()
    codec = Codec.from_reference(model)

    def bare() -> bytes:
        return codec.compress(read_picture(body, max_pixels=1 << 24))

    expected = bare()
    with server(model, workers, queue) as address:
        load(address, body, expected, 1, 0)  # warms up
        capacity = workers + queue
        say("the codec alone")
        alone = repeated(bare, seconds / 2)
        say(f"{capacity} clients")
        full = load(address, body, expected, capacity, seconds)
        say(f"{CROWD * capacity} clients")
        crowded = load(address, body, expected, CROWD * capacity, seconds)
        say("the codec alone")
        alone = statistics.mean((alone, repeated(bare, seconds / 2)))
    return rows(alone, full, crowded)


def rows(alone: float, full: Phase, crowded: Phase) -> Iterator[Row]:
    """`alone`: pictures per second of the codec without a server."""
    reference = measured("the codec alone", alone, "1/s")
    yield reference
    at = measured(f"at capacity, {full.clients} clients", full.rate, "1/s")
    yield compared(at.name, full.rate, "1/s", reference, NEAR)
    yield measured("at capacity: refused", len(full.times("refused")), "", NONE)
    yield noted("at capacity: failed or wrong", full)
    for share in (50, 95):
        yield measured(f"at capacity: {share} % within", percentile(full.times("answered"), share), "s")
    yield compared(f"beyond it, {crowded.clients} clients", crowded.rate, "1/s", at, NEAR)
    yield measured("beyond it: refused", len(crowded.times("refused")), "", SOME)
    yield noted("beyond it: failed or wrong", crowded)
    for share in (50, 95):
        yield measured(f"beyond it: {share} % within", percentile(crowded.times("answered"), share), "s")
    yield measured("beyond it: 95 % refused within", percentile(crowded.times("refused"), 95), "s")


def noted(name: str, phase: Phase) -> Row:
    """How many requests were neither answered nor refused, and what the first of them heard."""
    return measured(name, len(phase.wrong), "", NONE)._replace(note=next(iter(phase.wrong), ""))


def percentile(times: Sequence[float], share: int) -> float:
    """Of sorted times, seconds; no number where there are none."""
    return times[min(len(times) - 1, len(times) * share // 100)] if times else float("nan")


@contextmanager
def server(model: str, workers: int, queue: int) -> Iterator[tuple[str, int]]:
    """Host and port of a server, which ends with the block."""
    command = [sys.executable, "-c", "from gencomp.cli import main; main()", "serve", "--model", model, "--port", "0"]
    options = ["--workers", str(workers), "--queue", str(queue), "--timeout", str(PATIENCE)]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        try:
            announced = process.stdout.readline()
            if not announced:
                log.seek(0)
                raise RuntimeError(f"the server did not start: {log.read().strip()}")
            found = urlsplit(announced.split()[0])
            yield str(found.hostname), int(found.port or 0)
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


def load(address: tuple[str, int], body: bytes, expected: bytes, clients: int, seconds: float) -> Phase:
    """So many clients, each with a connection of its own, ask again and again; each at least once."""
    heard: list[Heard] = []
    together = threading.Barrier(clients + 1)
    ends = 0.0

    def client() -> None:
        connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
        together.wait()
        while True:
            one = asked(connection, body, expected)
            heard.append(one)
            if time.perf_counter() >= ends:
                break
            if one.kind != "answered":
                time.sleep(PAUSE)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    begun = time.perf_counter()
    ends = begun + seconds
    together.wait()
    for thread in threads:
        thread.join()
    return Phase(clients, time.perf_counter() - begun, heard)


def asked(connection: http.client.HTTPConnection, body: bytes, expected: bytes) -> Heard:
    """One request."""
    begun = time.perf_counter()
    try:
        connection.request("POST", "/compress", body)
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return Heard(time.perf_counter() - begun, f"{type(error).__name__}: {error}")
    return Heard(time.perf_counter() - begun, _kind(answer, content, expected))


def repeated(call: Callable[[], object], seconds: float) -> float:
    """Calls per second, of at least one."""
    begun, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - begun < seconds:
        call()
        calls += 1
    return calls / (time.perf_counter() - begun)


def _kind(answer: http.client.HTTPResponse, content: bytes, expected: bytes) -> str:
    if answer.status == 200:
        return "answered" if content == expected else "other bytes than the codec's"
    clean = answer.status == 503 and (answer.headers["Retry-After"] or "").isdecimal()
    if clean and list(json.loads(content)) == ["error"]:
        return "refused"
    return f"status {answer.status}: {content[:100]!r}"


if __name__ == "__main__":
    sys.exit(main())
