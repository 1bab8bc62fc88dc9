"""A download over HTTP through faults: the bytes of one without, or a manifest that says what is missing and why."""

import contextlib
import gzip
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gencomp.data import manifest
from gencomp.data.dataset import DatasetConfig, OpenImagesSource, PlainSelection, Subset
from gencomp.data.download import download
from gencomp.data.fetch import Fetcher
from gencomp.data.manifest import RawManifest
from gencomp.data.openimages import OpenImages, mirror
from tests.data.answers import DRIPPED, Answer, answer, drip, dripped, overlong, reset, truncated

Make = Callable[..., bytes]
IMAGES = 24


def run(source: OpenImagesSource, scratch: Path, **how: Any) -> Path:
    settings = DatasetConfig(
        source=source,
        selection=PlainSelection(minimum_side=1),
        **{"shard_samples": 4, "maximum_missing": 1.0, "watch": "x", "subset": Subset(), "connections": 4},
        **{"maximum_megabytes": 1, "maximum_megapixels": 1},
    )
    with Fetcher(**how) as fetcher:
        return download("photos", settings, OpenImages(source, fetcher, scratch), scratch)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(params=[1, 2])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many fetch."""
    monkeypatch.setenv("GENCOMP_WORKERS", str(request.param))
    monkeypatch.setattr("gencomp.data.partitions.FEW", 0)
    return int(request.param)


def moved(to: str, status: int) -> Answer:
    return answer(status, b"moved", Location=to)


def transient(data: bytes, elsewhere: str) -> list[Answer]:
    """One of each fault that another attempt removes; the last is none where redirects are followed."""
    return [
        answer(500, b"<html>sorry</html>"),
        answer(429, b"busy", Retry_After="1"),
        reset(data),
        truncated(data),
        drip(data),
        dripped(DRIPPED["headers"]),
        moved(elsewhere, 302),
    ]


@pytest.mark.usefixtures("workers")
def test_a_fault_before_every_image_changes_no_byte(
    bucket: Any, tmp_path: Path, server: Any, make_photo: Make, make_mask: Make
) -> None:
    """Every eighth answer is good and followed by a whole other picture on the same connection, which no checksum
    would tell."""
    for index in range(IMAGES):
        bucket.add(f"{index % 16:x}{index:04x}", subset="validation" if index % 5 == 0 else "train")
    bucket.add_mask("10001", "/m/cat", "b", make_mask((10, 5, 30, 50)))
    bucket.write()
    unchecked = msgspec.structs.replace(mirror(bucket.root.as_uri()), checksums=False)
    expected = contents(run(unchecked, tmp_path / "expected"))
    other = server.url.replace("127.0.0.1", "localhost")
    server.keep_connections()
    images: list[str] = []
    for path in sorted(bucket.root.rglob("*")):
        if not path.is_file():
            continue
        name, data = f"/{path.relative_to(bucket.root)}", path.read_bytes()
        good = answer(200, data)
        if path.suffix != ".jpg":
            server.answers[name] = [answer(503, b""), good]
            continue
        faults = [*transient(data, f"{other}/elsewhere{name}"), overlong(data, make_photo(99, 300, 300))]
        server.answers[name] = [faults[len(images) % len(faults)], good]
        server.answers[f"/elsewhere{name}"] = [good]
        images.append(name)
    assert len(images) == IMAGES
    source = msgspec.structs.replace(mirror(server.url), checksums=False)
    found = contents(run(source, tmp_path / "faults", attempts=8, wait=0.01, timeout=0.5))
    assert found == expected
    asked = Counter(server.asked)
    faulty = [name for index, name in enumerate(images) if index % 8 < 6]
    assert all(asked[name] >= 2 for name in faulty)
    assert all(asked[f"/elsewhere{name}"] for index, name in enumerate(images) if index % 8 == 6)
    assert manifest.read(tmp_path / "faults/out/manifest.json", RawManifest).counts == {"asked": IMAGES, "ok": IMAGES}


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """No answer at all."""
    handler.close_connection = True


def endless(handler: BaseHTTPRequestHandler) -> None:
    """A body without a stated length, and more of it than anybody wants."""
    handler.close_connection = True
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(100):
            handler.wfile.write(bytes(100_000))


def permanent(data: bytes, other: bytes, path: str) -> dict[str, tuple[str, Answer]]:
    """By id, the reason that the manifest is to give, and what the server answers whenever it is asked."""
    page = b"<html>sorry</html>"
    return {
        "a404": ("missing", answer(404, page)),
        "a403": ("missing", answer(403, page)),
        "a410": ("missing", answer(410, page)),
        "a401": ("refused", answer(401, page)),
        "aacc": ("refused", answer(204, b"")),
        "a500": ("unreachable", answer(500, page)),
        "adead": ("unreachable", hang_up),
        "acafe": ("unreachable", reset(data)),
        "acut": ("wrong-length", truncated(data)),
        "along": ("wrong-length", answer(200, data + b"tail")),
        "apage": ("wrong-length", answer(200, page)),
        "abad": ("checksum", answer(200, data[:-2] + b"\0\0")),
        "around": ("refused", moved(path.format("around"), 302)),
        "afile": ("refused", moved("file:///etc/passwd", 301)),
        "apacked": ("refused", answer(200, gzip.compress(other), Content_Encoding="gzip")),
        "abig": ("too-large", answer(200, bytes(1_000_001))),
        "aendless": ("too-large", endless),
        "adrip": ("too-slow", drip(data)),
        "adrop": ("too-slow", dripped(DRIPPED["headers"])),
    }


@pytest.mark.usefixtures("workers")
def test_what_no_attempt_can_get_is_in_the_manifest_with_its_reason(
    bucket: Any, tmp_path: Path, server: Any, make_photo: Make
) -> None:
    """The list has the bytes and MD5 of a good picture for each of them, but for those that are wrong in the bucket."""
    data = make_photo(1)
    faults = permanent(data, make_photo(2), "/train/{}.jpg")
    for id in ("0good", *faults):
        bucket.add(id, data)
    wrong = {
        "bpage": ("not-an-image", b"<html>as listed</html>"),
        "bcut": ("corrupt", data[:-700]),
        "bwide": ("too-large", make_photo(3, 1001, 1000)),
    }
    for id, (_, content) in wrong.items():
        bucket.add(id, content)
    bucket.write()
    for path in bucket.root.rglob("*"):
        if path.is_file():
            server.answers[f"/{path.relative_to(bucket.root)}"] = [answer(200, path.read_bytes())]
    for id, (_, fault) in faults.items():
        server.answers[f"/train/{id}.jpg"] = [fault]
    out = run(mirror(server.url), tmp_path / "scratch", attempts=2, wait=0.01, timeout=1.0)
    raw = manifest.read(out / "manifest.json", RawManifest)
    reasons = {id: reason for id, (reason, _) in (faults | wrong).items()}
    assert {item.id: item.reason for item in raw.items} == {"0good": None, **reasons}
    assert raw.counts == {"asked": len(reasons) + 1, "ok": 1, **Counter(reasons.values())}
    assert [part.count for part in raw.parts] == [1]
    asked = Counter(server.asked)
    again = {id for id, reason in reasons.items() if reason in ("unreachable", "wrong-length", "too-slow")}
    assert {id for id in faults if asked[f"/train/{id}.jpg"] == 2} == again
