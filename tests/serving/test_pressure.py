"""What a server does that is asked for more than it can, for longer than it may, or to end."""

import contextlib
import http.client
import io
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gencomp.codec.codec import Codec
from gencomp.codec.container import describe
from tests.serving.pictures import file, scene
from tests.serving.served import COMMAND, GOLDEN, NESTED, PATIENCE, ROOT, Answer, Served

LARGE = file(scene(1400, 900), "JPEG")
SLOW = file(Image.new("L", (2000, 1600), 90))
"""Long in a worker, of few bytes."""


def test_beyond_its_capacity_it_refuses_and_loses_nothing(serve: Callable[..., Served], codec: Codec) -> None:
    server = serve("--queue", 2, "--timeout", PATIENCE)
    expected = server.ask("/compress?channels=2", LARGE).body
    answers: list[Answer] = []
    for _ in range(10):
        answers += server.ask_at_once(12, "/compress?channels=2", LARGE)
        if any(answer.status == 503 for answer in answers):
            break
    by_status = Counter(answer.status for answer in answers)
    assert set(by_status) == {200, 503} and by_status[200] >= 3
    for answer in answers:
        if answer.status == 200:
            assert answer.body == expected
        else:
            assert answer.error == "the server is busy: its queue is full"
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
    counted = server.ask("/metrics").body.decode()
    for status, count in by_status.items():
        total = count + (status == 200)  # the first one
        assert f'gencomp_requests_total{{operation="compress",status="{status}"}} {total}.0' in counted
    assert describe(expected).channels == 2
    assert server.health() == {"status": "ok", "waiting": 0, "running": 0, "overdue": 0}


def test_at_its_capacity_it_answers_every_request(serve: Callable[..., Served]) -> None:
    server = serve("--queue", 3, "--workers", 2, "--timeout", PATIENCE)
    small = file(scene(150, 97))
    expected = server.ask("/compress", small).body
    answers: list[Answer] = []

    def client() -> None:
        connection = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
        for _ in range(8):
            connection.request("POST", "/compress", small)
            answer = connection.getresponse()
            answers.append(Answer(answer.status, answer.headers, answer.read()))
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(5)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    assert [(answer.status, answer.body) for answer in answers] == [(200, expected)] * 40


def test_requests_that_take_too_long_are_answered_and_their_workers_come_back(serve: Callable[..., Served]) -> None:
    server = serve("--timeout", 0.05, "--queue", 4)
    answers = server.ask_at_once(2, "/compress", SLOW)
    told = {answer.status: answer for answer in answers}
    assert told[504].error.startswith("not done within 0.05 seconds")
    if 503 in told:  # the second one waited
        assert told[503].error == "no worker was free within 0.05 seconds"
        assert int(told[503].headers["Retry-After"]) >= 1
    server.wait_until(status="ok", running=0, overdue=0)


def test_who_goes_before_the_turn_leaves_nothing_to_do(serve: Callable[..., Served]) -> None:
    server = serve("--timeout", PATIENCE)
    head = b"POST /compress HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(SLOW)
    with socket.create_connection(server.address) as first, socket.create_connection(server.address) as second:
        first.sendall(head + SLOW)
        server.wait_until(running=1)
        second.sendall(head + SLOW)
        server.wait_until(waiting=1)
    server.wait_until(waiting=0)
    server.wait_until(running=0, overdue=0)
    counted = server.ask("/metrics").body.decode()
    assert 'gencomp_requests_total{operation="compress",status="499"} 2.0' in counted
    assert server.ask("/compress", file(scene(40, 33))).status == 200


def test_it_ends_in_order_when_asked_to(serve: Callable[..., Served], codec: Codec) -> None:
    server = serve("--timeout", PATIENCE)
    idle = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    idle.request("GET", "/healthz")
    idle.getresponse().read()
    answers: list[Answer] = []
    clients = [threading.Thread(target=lambda: answers.append(server.ask("/compress", SLOW))) for _ in range(2)]
    for one in clients:
        one.start()
    server.wait_until(running=1, waiting=1)
    server.terminate()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            socket.create_connection(server.address).close()
        except ConnectionRefusedError:
            break
        time.sleep(0.01)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        idle.request("GET", "/healthz")
        idle.getresponse()
    assert server.process.poll() is None
    for one in clients:
        one.join()
    expected = codec.compress(Image.new("L", (2000, 1600), 90))
    assert [(answer.status, answer.body) for answer in answers] == [(200, expected)] * 2
    assert server.process.wait(PATIENCE) == 0
    assert server.errors() == ""


def test_a_pass_that_nobody_waits_for_does_not_hold_up_the_end() -> None:
    program = """
import asyncio, threading
from gencomp.serving.limits import Limits
from gencomp.serving.pool import Pool
from gencomp.serving.refusal import Refusal
from gencomp.serving.server import end

async def overdue():
    pool = Pool(Limits(seconds=0.05))
    try:
        await pool.run(threading.Event().wait)
    except Refusal:
        return pool

end(asyncio.run(overdue()))
"""
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE, check=False)
    assert (result.returncode, result.stderr) == (1, "gencomp: left 1 unfinished\n")


def test_bodies_in_memory_are_bounded_over_all_requests(serve: Callable[..., Served]) -> None:
    server = serve("--max-body", 1000)
    head = b"POST /compress HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    deadline = time.monotonic() + PATIENCE
    with contextlib.ExitStack() as held:
        for _ in range(8):
            held.enter_context(socket.create_connection(server.address)).sendall(head + bytes(999))
        while (answer := server.ask("/info", bytes(999))).status == 415 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (answer.status, answer.error) == (503, "the server is busy: too many large bodies are being sent")
        assert answer.headers["Retry-After"] == "1"
    while (answer := server.ask("/info", bytes(999))).status == 503 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert answer.status == 415


def test_it_ends_at_once_where_nothing_is_to_do(serve: Callable[..., Served]) -> None:
    server = serve()
    assert server.stop() == 0


def failed(folder: Path, *options: str) -> str:
    """What a server says that does not start."""
    command = [COMMAND, "serve", "--port", "0", *options]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=PATIENCE, check=False)
    assert result.returncode in (1, 2) and result.stdout == ""
    assert result.stderr.startswith("gencomp: ") and result.stderr.count("\n") == 1
    return result.stderr


def test_what_cannot_be_served_is_one_line(tmp_path: Path, serve: Callable[..., Served]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"cannot listen at 127.0.0.1, port {port}" in failed(tmp_path, "--port", port, "--model", str(NESTED))
    assert "neither a folder nor a shipped model" in failed(tmp_path, "--model", "nothing")


def test_a_model_without_nested_channels_is_served_too(serve: Callable[..., Served]) -> None:
    server = serve(model=GOLDEN / "package")
    codec = Codec.from_reference(GOLDEN / "package")
    picture = scene(97, 41)
    stream = server.ask("/compress", file(picture)).body
    assert stream == codec.compress(picture)
    assert server.ask("/compress?channels=1", file(picture)).status == 422
    assert b'"nested":false' in server.ask("/model").body
    found = server.ask("/decompress?format=webp", stream).body
    with Image.open(io.BytesIO(found)) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), np.asarray(codec.decompress(stream)))
