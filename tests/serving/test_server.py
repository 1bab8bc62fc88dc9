"""A real server on loopback: round trips, refusals, metrics."""

import contextlib
import http.client
import io
import json
import socket
import struct
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from gencomp.codec.codec import Codec
from gencomp.codec.container import describe, pack, parse
from gencomp.serving.app import notice_header
from tests.serving.pictures import file, scene
from tests.serving.served import GOLDEN, PATIENCE, Answer, Served

SMALL = file(scene(150, 97))


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def png_head(width: int, height: int) -> bytes:
    """A PNG that says its size and holds no pixel."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), b"IDAT"
    packed = (struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.fixture
def stream(codec: Codec) -> bytes:
    return codec.compress(scene(150, 97), channels=3)


def test_it_says_where_it_is_and_listens_on_loopback_alone(server: Served, codec: Codec) -> None:
    assert server.address[0] == "127.0.0.1"
    assert f"model {codec.package.fingerprint.hex()[:8]}" in server.announced
    assert server.errors() == ""


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("", {}),
        ("?channels=3", {"channels": 3}),
        ("?max_bpp=0.05", {"max_bpp": 0.05}),
        ("?max_bytes=60&entropy=static", {"max_bytes": 60, "entropy": "static"}),
        ("?entropy=raw", {"entropy": "raw"}),
    ],
)
def test_streams_are_those_of_the_codec(server: Served, codec: Codec, query: str, asked: dict[str, object]) -> None:
    answer = server.ask(f"/compress{query}", SMALL)
    assert (answer.status, answer.body) == (200, codec.compress(scene(150, 97), **asked))  # type: ignore[arg-type]
    about = describe(answer.body)
    told = {name.lower(): value for name, value in answer.headers.items() if name.lower().startswith("gencomp-")}
    assert told == {
        "gencomp-bytes": str(len(answer.body)),
        "gencomp-bpp": f"{len(answer.body) * 8 / (150 * 97):.6f}",
        "gencomp-channels": str(about.channels),
        "gencomp-entropy": about.entropy,
        "gencomp-model": codec.package.fingerprint.hex()[:8],
        "gencomp-size": "150x97",
    }
    assert answer.headers["Content-Disposition"] == 'attachment; filename="picture.gnc"'
    assert answer.headers["Server-Timing"].startswith("wait;dur=")


@pytest.mark.parametrize(
    ("query", "accept", "kind", "exact"),
    [
        ("", "*/*", "PNG", True),
        ("", "image/webp", "WEBP", True),
        ("", "image/jpeg", "JPEG", False),
        ("?format=webp", "image/png", "WEBP", True),
        ("?format=jpg", "", "JPEG", False),
    ],
)
def test_pictures_are_those_of_the_codec(
    server: Served, codec: Codec, stream: bytes, query: str, accept: str, kind: str, exact: bool
) -> None:
    answer = server.ask(f"/decompress{query}", stream, {"Accept": accept})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == f"image/{kind.lower()}"
    assert answer.headers["Gencomp-Channels"] == "3"
    with Image.open(io.BytesIO(answer.body)) as image:
        assert image.format == kind
    expected = np.asarray(codec.decompress(stream))
    found = pixels(answer.body)
    assert np.array_equal(found, expected) if exact else found.shape == expected.shape


def test_a_stream_tells_what_it_holds(server: Served, stream: bytes) -> None:
    answer = server.ask("/info", stream)
    assert (answer.status, json.loads(answer.body)) == (200, describe(stream)._asdict())


def test_forms_are_taken_as_bare_bodies_are(server: Served, stream: bytes) -> None:
    def form(content: bytes) -> bytes:
        head = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        return head + content + b"\r\n--xyz--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=xyz"}
    for path, body in (("/compress?channels=2", SMALL), ("/decompress", stream), ("/info", stream)):
        assert server.ask(path, form(body), headers).body == server.ask(path, body).body
        assert "cut off" in server.ask(path, form(body)[:-7], headers).error


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "JPEG2000"])
def test_all_kinds_of_pictures_are_read(server: Served, kind: str) -> None:
    assert server.ask("/compress?channels=1", file(scene(40, 33), kind)).status == 200


def test_what_is_not_taken_over_from_a_picture_is_said(server: Served, codec: Codec) -> None:
    first = scene(40, 33)
    animated, profiled, both = io.BytesIO(), io.BytesIO(), io.BytesIO()
    first.save(animated, "GIF", save_all=True, append_images=[Image.new("RGB", (40, 33), "lime")])
    first.save(profiled, "PNG", icc_profile=b"no profile")
    first.save(both, "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", (40, 33))], icc_profile=b"?")
    frames, profile = (
        "it has more than one frame: only the first is taken",
        "its colour profile cannot be read and is ignored",
    )
    for body, notice in ((animated, frames), (profiled, profile), (both, f"{profile}; {frames}")):
        answer = server.ask("/compress?channels=1", body.getvalue())
        assert (answer.status, answer.headers["Gencomp-Notice"]) == (200, notice)
        assert describe(answer.body).width == 40
    answer = server.ask("/compress?channels=1", file(first, "GIF"))
    assert (answer.status, "Gencomp-Notice" in answer.headers) == (200, False)


def test_notices_are_one_line_of_ascii() -> None:
    assert notice_header(["its profile, of R\r\nB\u00e9, is ignored", "and more"]) == {
        "Gencomp-Notice": "its profile, of R??B?, is ignored; and more"
    }
    assert notice_header([]) == {}


def test_pictures_that_cannot_be_read_are_refused(server: Served) -> None:
    for body, status, reason in (
        (b"", 400, "no body"),
        (b"hello", 415, "not a picture of a kind that is read: PNG, JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", 415, "not a picture of a kind"),
        (SMALL[:2000], 400, "the picture cannot be decoded"),
        (file(scene(1025, 1024)), 413, "1025 x 1024 pixels is over this server's limit of 1048576 pixels"),
        (png_head(40_000, 40_000), 413, "over this server's limit of 1048576 pixels"),
        (png_head(1, 40_000), 413, "1 x 40000 pixels is over"),
    ):
        answer = server.ask("/compress", body)
        assert (answer.status, reason in answer.error) == (status, True), answer
    assert server.ask("/compress", file(Image.new("L", (1024, 1024)))).status == 200


def test_rates_that_cannot_be_had_are_refused(server: Served) -> None:
    for query, reason in (
        ("channels=17", "channels must be 1 to 16, not 17"),
        ("channels=3&max_bpp=1", "exclude each other"),
        ("rate=3", "unknown parameter 'rate'"),
        ("max_bytes=14", "this picture does not fit 14 bytes: it takes at least"),
    ):
        answer = server.ask(f"/compress?{query}", SMALL)
        assert (answer.status, reason in answer.error) == (422, True), answer
    assert server.ask("/info?format=png", SMALL).status == 422


def test_streams_that_cannot_be_decoded_are_refused(server: Served, codec: Codec, stream: bytes) -> None:
    header, payload = parse(stream)
    big = pack(header.__class__(1025, 1024, 3, "raw", header.fingerprint), payload)
    huge = pack(header.__class__(1 << 31, 1 << 31, 3, "raw", header.fingerprint), payload)
    foreign = (GOLDEN / "scene.gnc").read_bytes()
    damaged = stream[:-1] + bytes([stream[-1] ^ 1])
    for body, status, reason in (
        (b"", 400, "no body"),
        (SMALL, 415, "not a .gnc stream"),
        (stream[:9], 400, "truncated stream"),
        (damaged, 400, "checksum does not match"),
        (foreign, 409, f"made by model {describe(foreign).fingerprint}, which this server does not have"),
        (big, 413, "1025 x 1024 pixels is over this server's limit"),
        (huge, 413, "2147483648 x 2147483648 pixels is over"),
    ):
        answer = server.ask("/decompress", body)
        assert (answer.status, reason in answer.error) == (status, True), answer
    assert server.ask("/decompress?format=gif", stream).status == 422
    assert server.ask("/decompress", stream, {"Accept": "text/html"}).status == 406
    assert server.ask("/info", damaged).status == 400
    assert json.loads(server.ask("/info", huge).body)["width"] == 1 << 31
    assert json.loads(server.ask("/info", foreign).body)["fingerprint"] == describe(foreign).fingerprint


def test_streams_of_shipped_models_are_decompressed(server: Served) -> None:
    other = Codec.from_reference("light-1")
    stream = other.compress(scene(64, 48))
    answer = server.ask("/decompress", stream)
    assert answer.headers["Gencomp-Model"] == other.package.fingerprint.hex()[:8]
    assert np.array_equal(pixels(answer.body), np.asarray(other.decompress(stream)))


def test_bodies_over_the_limit_are_refused_by_their_head_or_as_they_come(server: Served) -> None:
    connection = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    connection.putrequest("POST", "/compress")
    connection.putheader("Content-Length", "300001")
    connection.endheaders()  # and nothing of the body
    answer = connection.getresponse()
    refused = Answer(answer.status, answer.headers, answer.read())
    assert (refused.status, refused.error) == (413, "the body is over this server's limit of 300000 bytes")
    connection.close()
    connection.request("POST", "/compress", iter([bytes(100_000)] * 4))
    assert connection.getresponse().status == 413
    connection.close()
    assert server.ask("/compress", SMALL, {"Content-Encoding": "gzip"}).status == 415


def test_other_paths_and_methods_are_refused_in_one_line(server: Served) -> None:
    assert server.ask("/nothing").error == "Not Found"
    answer = server.ask("/compress")
    assert (answer.status, answer.error, answer.headers["Allow"]) == (405, "Method Not Allowed", "POST")


def test_a_connection_serves_one_request_after_the_other(server: Served, stream: bytes) -> None:
    connection = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    statuses = []
    for body in (stream, b"damaged", stream):
        connection.request("POST", "/info", body)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    assert statuses == [200, 415, 200]


def metrics(server: Served) -> dict[tuple[str, str], float]:
    """Values by name and labels."""
    families = text_string_to_metric_families(server.ask("/metrics").body.decode())
    return {
        (
            sample.name,
            " ".join(sample.labels[name] for name in ("operation", "status", "le") if name in sample.labels),
        ): (sample.value)
        for family in families
        for sample in family.samples
    }


def test_metrics_count_every_request_by_its_outcome(server: Served, stream: bytes) -> None:
    server.ask("/compress", SMALL), server.ask("/compress", b"hello"), server.ask("/info", stream)
    before = metrics(server)
    for path, body in (("/compress", SMALL), ("/compress", SMALL), ("/compress", b"hello"), ("/info", stream)):
        server.ask(path, body)
    grown = {name: value - before[name] for name, value in metrics(server).items() if value != before[name]}
    counted = {labels: value for (name, labels), value in grown.items() if name == "gencomp_requests_total"}
    assert counted == {"compress 200": 2, "compress 415": 1, "info 200": 1}
    assert grown["gencomp_request_seconds_count", "compress"] == 2
    assert grown["gencomp_request_seconds_bucket", "compress +Inf"] == 2
    assert grown["gencomp_request_seconds_sum", "compress"] > 0
    assert (before["gencomp_queue_depth", ""], before["gencomp_running", ""], before["gencomp_overdue", ""]) == (
        0,
        0,
        0,
    )
    assert before["gencomp_capacity", ""] == 17


def test_its_state_and_its_model_can_be_asked_for(server: Served, codec: Codec) -> None:
    assert server.health() == {"status": "ok", "waiting": 0, "running": 0, "overdue": 0}
    about = json.loads(server.ask("/model").body)
    assert about["fingerprint"] == codec.package.fingerprint.hex()[:8]
    assert about["model"] == "package"
    assert (about["channels"], about["nested"]) == (16, True)
    assert (about["max_body_bytes"], about["max_pixels"]) == (300_000, 1 << 20)


def answer(client: socket.socket) -> bytes:
    """An answer of JSON, which may come in pieces."""
    said = client.recv(10_000)
    while not said.endswith(b"}"):
        piece = client.recv(10_000)
        assert piece, said
        said += piece
    return said


def test_slow_clients_are_let_go_and_do_not_stop_others(serve: Callable[..., Served]) -> None:
    server = serve("--receive-timeout", 2)
    started = time.monotonic()
    with socket.create_connection(server.address) as head, socket.create_connection(server.address) as body:
        head.sendall(b"POST /compress HTTP/1.1\r\nHost: x\r\n")
        body.sendall(b"POST /compress HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nP")
        assert server.ask("/compress", SMALL).status == 200
        head.settimeout(PATIENCE), body.settimeout(PATIENCE)
        said = answer(body)
        assert said.startswith(b"HTTP/1.1 408 ") and b"the body did not arrive within 2 seconds" in said
        with contextlib.suppress(ConnectionResetError):  # as good an end
            assert head.recv(10_000) == b""
    assert time.monotonic() - started >= 2
    with socket.create_connection(server.address) as later:  # also behind a first request
        later.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        later.settimeout(PATIENCE)
        assert answer(later).startswith(b"HTTP/1.1 200")
        later.sendall(b"GET /healthz HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert later.recv(10_000) == b""


def test_an_answer_may_be_taken_slowly_and_not_be_left_lying(serve: Callable[..., Served], codec: Codec) -> None:
    """One of more bytes than the system's own buffers take."""
    server = serve("--receive-timeout", 3, "--timeout", PATIENCE)
    stream = codec.compress(scene(2200, 2200))

    def missing(silent: float, slow: float) -> int:
        """Bytes that do not arrive at a client that takes nothing for some seconds, and then some seconds per MB."""
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(PATIENCE)
            client.connect(server.address)
            head = b"POST /decompress HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            client.sendall(head % len(stream) + stream)
            found = client.recv(1)
            time.sleep(silent)
            with contextlib.suppress(ConnectionResetError):
                while piece := client.recv(1 << 16):
                    found += piece
                    time.sleep(slow * len(piece) / 1e6)
        told, body = found.split(b"\r\n\r\n", 1)
        size = int(told.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert told.startswith(b"HTTP/1.1 200 ") and size > 5_000_000
        return size - len(body)

    with ThreadPoolExecutor(2) as clients:
        slow, silent = clients.submit(missing, 0, 1), clients.submit(missing, 10, 0)
    assert slow.result() == 0
    assert silent.result() > 0


def test_connections_over_the_limit_are_told_so(serve: Callable[..., Served]) -> None:
    server = serve("--max-connections", 2)
    held = [socket.create_connection(server.address) for _ in range(2)]
    for one in held:  # a full round trip each: the server knows them
        one.settimeout(PATIENCE)
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert one.recv(10_000).startswith(b"HTTP/1.1 200")
    refused = server.ask("/compress", SMALL)
    assert (refused.status, refused.error) == (503, "the server is busy: too many connections")
    assert refused.headers["Retry-After"] == "1"
    for one in held:
        one.close()
    deadline = time.monotonic() + PATIENCE
    while server.ask("/healthz").status != 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.ask("/compress", SMALL).status == 200
