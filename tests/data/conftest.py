"""Tiny buckets, archives and folders in the layouts of the real sets, and a server for them."""

import base64
import contextlib
import hashlib
import io
import socket
import ssl
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from gencomp.data import manifest
from gencomp.data.archive import write_tar
from gencomp.data.labelmap import LabelMap
from gencomp.data.manifest import (
    ClassTable,
    LabelNetwork,
    RawSidecar,
    ShardCounts,
    ShardFile,
    ShardManifest,
    ShardSidecar,
    ShardSplit,
)
from gencomp.data.places import remote

HEADER = "ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title,OriginalSize,OriginalMD5,"
HEADER += "Thumbnail300KURL,Rotation"


def pixels(seed: int, width: int, height: int) -> np.ndarray:
    """A smooth dark colour gradient with noise: what the recipes take for a photograph."""
    across = np.linspace(40, 140, width)[None, :, None] * np.array([1.0, 0.8, 0.6])
    down = np.linspace(0, 40, height)[:, None, None] * np.array([0.3, 0.6, 1.0])
    noise = np.random.default_rng(seed).normal(0, 4, (height, width, 3))
    return np.clip(across + down + noise, 0, 255).astype(np.uint8)


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def photo(seed: int = 0, width: int = 93, height: int = 61, form: str = "JPEG", **options: object) -> bytes:
    return encode(Image.fromarray(pixels(seed, width, height)), form, **options)


def mask(box: tuple[int, int, int, int], width: int = 93, height: int = 61) -> bytes:
    array = np.zeros((height, width), bool)
    left, top, right, bottom = box
    array[top:bottom, left:right] = True
    return encode(Image.fromarray(array), "PNG")


def list_row(id: str, subset: str, data: bytes, *, rotation: str = "0.0", md5: str | None = None) -> str:
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode() if md5 is None else md5
    title = f'"A ""quoted"", titled {id}"'
    terms = "https://creativecommons.org/licenses/by/2.0/"
    return f"{id},{subset},u,l,{terms},p,Åsa {id},{title},{len(data)},{md5},t,{rotation}"


def zipped(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


class Bucket:
    """An Open Images mirror under construction; `list_row` lines decide what is asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: list[str] = []
        self.masks: dict[str, dict[str, bytes]] = {"train": {}, "validation": {}}
        self.line_end = "\n"

    def add(self, id: str, data: bytes | None = None, subset: str = "train", **row: str) -> None:
        data = photo(len(self.rows)) if data is None else data
        self.rows.append(list_row(id, subset, data, **row))
        path = self.root / subset / f"{id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def add_mask(self, id: str, label: str, box: str, data: bytes | None, subset: str = "train") -> None:
        """`data` None: listed, but not in the archive."""
        name = f"{id}_{label.strip('/').replace('/', '')}_{box}.png"
        self.masks[subset][f"{name}|{id}|{label}"] = data or b""

    def write(self) -> str:
        """Write lists and annotations; returns the bucket's URL."""
        text = self.line_end.join([HEADER, *self.rows, ""])
        (self.root / "image_ids.csv").write_bytes(text.encode())
        notes = self.root / "annotations"
        notes.mkdir(exist_ok=True)
        (notes / "class-descriptions-boxable.csv").write_text(
            "LabelName,DisplayName\n/m/cat,Cat\n/m/dog,Dog\n/m/x,Unused\n"
        )
        for subset, masks in self.masks.items():
            header = "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks"
            rows = [",".join(entry.split("|")) + ",b,0,1,0,1,0.9," for entry in masks]
            table = notes / f"{subset}-annotations-object-segmentation.csv"
            table.write_text("\r\n".join([header, *rows, ""]))
            by_digit: dict[str, dict[str, bytes]] = {}
            for entry, data in masks.items():
                name = entry.split("|")[0]
                if data:
                    by_digit.setdefault(name[0], {})[name] = data
            for digit, members in by_digit.items():
                zipped(notes / f"{subset}-masks-{digit}.zip", members)
        return self.root.as_uri()


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    root = tmp_path / "bucket"
    root.mkdir()
    return Bucket(root)


def street(city: str, frame: int) -> dict[str, bytes]:
    """One Cityscapes frame, 40 x 24: road (7), a sign of class 20, two touching cars (26), a void strip (0)."""
    ids = np.full((24, 40), 7, np.uint8)
    ids[:, :4] = 0
    ids[2:6, 30:34] = 20
    instances = ids.astype(np.uint16)
    ids[10:16, 10:26] = 26
    instances[10:16, 10:18] = 26000
    instances[10:16, 18:26] = 26001
    stem = f"{city}_000000_{frame:06d}"
    return {
        f"leftImg8bit/{{split}}/{city}/{stem}_leftImg8bit.png": photo(frame, 40, 24, "PNG"),
        f"gtFine/{{split}}/{city}/{stem}_gtFine_labelIds.png": encode(Image.fromarray(ids), "PNG"),
        f"gtFine/{{split}}/{city}/{stem}_gtFine_instanceIds.png": encode(Image.fromarray(instances), "PNG"),
    }


@pytest.fixture
def scenes() -> dict[str, bytes]:
    """Files of a Cityscapes tree by path: two training frames, one for validation."""
    files: dict[str, bytes] = {"license.txt": b"terms", "README": b"read"}
    for split, city, frame in (("train", "aachen", 1), ("train", "ulm", 2), ("val", "bonn", 3)):
        files |= {name.replace("{split}", split): data for name, data in street(city, frame).items()}
    return files


class Server:
    """A loopback server: `answers[path]` is a list of (status, body, stated length), the last of which stays.

    Instead of the three, a function that answers by the request's handler.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, bytes, int] | Callable[[BaseHTTPRequestHandler], None]]] = {}
        self.sizes: dict[str, int] = {}
        """What HEAD answers by path; 404 for others."""
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                outer.asked.append(self.path)
                outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                answers = outer.answers.get(self.path, [(404, b"gone", 4)])
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if callable(answer):
                    return answer(self)
                status, body, length = answer
                outer.send(self, status, body, length)

            do_POST = do_CONNECT = do_GET

            def do_HEAD(self) -> None:
                size = outer.sizes.get(self.path)
                outer.send(self, 404 if size is None else 200, b"", size or 0)

            def log_message(self, *_: object) -> None:
                pass

        self._handler = Handler
        self._open = contextlib.ExitStack()
        self.url = f"http://{self._open.enter_context(self._served())}"

    def keep_connections(self) -> None:
        """From now on connections stay open when an answer was sent, as HTTP/1.1 has it."""
        self._handler.protocol_version = "HTTP/1.1"

    @staticmethod
    def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, length: int) -> None:
        """Answer with a body and its stated length."""
        handler.send_response(status)
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        handler.wfile.write(body)

    @staticmethod
    def ranged(
        body: bytes, tag: str = '"v1"', most: int | None = None, pause: float = 0.0, reset: bool = False
    ) -> Callable[[BaseHTTPRequestHandler], None]:
        """An answer that honours Range and If-Range, and breaks off after `most` bytes of a body: by closing the
        connection, or by tearing it down (`reset`)."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            asked = handler.headers.get("Range")
            start = int(asked[6:-1]) if asked and handler.headers.get("If-Range") == tag else 0
            handler.send_response(206 if start else 200)
            handler.send_header("Content-Length", str(len(body) - start))
            handler.send_header("ETag", tag)
            if start:
                handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            handler.end_headers()
            end = len(body) if most is None else start + most
            for first in range(start, min(end, len(body)), 1000):
                handler.wfile.write(body[first : min(first + 1000, end)])
                time.sleep(pause)
            handler.close_connection = True
            if reset:
                handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                handler.connection.close()

        return answer

    @contextlib.contextmanager
    def behind(self, context: ssl.SSLContext) -> Iterator[str]:
        """The same server behind TLS; its URL."""
        with self._served(context) as address:
            yield f"https://{address}"

    @contextlib.contextmanager
    def _served(self, context: ssl.SSLContext | None = None) -> Iterator[str]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler)
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()
        thread.join(5)

    def close(self) -> None:
        self._open.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running = Server()
    yield running
    running.close()


@pytest.fixture
def make_photo() -> Callable[..., bytes]:
    return photo


@pytest.fixture
def make_mask() -> Callable[..., bytes]:
    return mask


class Plain(NamedTuple):
    """What draws one class everywhere, as a segmentation network."""

    table: ClassTable
    network: LabelNetwork = LabelNetwork(name="plain", sha256="0" * 64)

    def draw(self, image: bytes, sidecar: RawSidecar) -> LabelMap:
        labels = np.ones((sidecar.height, sidecar.width), np.uint8)
        return LabelMap(labels, labels, 0, 0)


def sidecar(key: str, width: int, height: int, license: str | None) -> bytes:
    return manifest.encode(
        ShardSidecar(
            **{"key": key, "id": key, "split": "train", "width": width, "height": height},
            **{"original_width": width, "original_height": height, "author": None, "license": license, "title": None},
        )
    )


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three samples: a labelled PNG half sky and half unlabelled, a labelled one all road, and a JPEG."""
    folder = tmp_path / "data" / "shards" / "streets"
    folder.mkdir(parents=True)
    half = np.zeros((64, 96), np.uint8)
    half[32:] = 255
    grey = encode(Image.new("RGB", (96, 64), (100, 100, 100)), "PNG")
    none, road = (encode(Image.new("L", (96, 64), id), "PNG") for id in (0, 1))
    members = [
        *[("a.png", grey), ("a.labels.png", encode(Image.fromarray(half), "PNG")), ("a.edges.png", none)],
        ("a.json", sidecar("a", 96, 64, "CC0")),
        *[("b.png", grey), ("b.labels.png", road), ("b.edges.png", none), ("b.json", sidecar("b", 96, 64, "CC0"))],
        ("c.jpg", encode(Image.new("RGB", (200, 400), (50, 50, 50)), "JPEG")),
        ("c.json", sidecar("c", 200, 400, None)),
    ]
    path = folder / "train-000000.tar"
    write_tar(path, members)
    shard = ShardFile(name=path.name, sha256=manifest.digest(path), bytes=path.stat().st_size, samples=3)
    counts = ShardCounts(asked=5, kept=3, labelled=2, rejected={"too-small": 2})
    splits = {"train": ShardSplit(samples=3, shards=[shard])}
    known = ShardManifest(dataset="streets", recipe="none", classes=2, splits=splits, rejects=[], counts=counts)
    manifest.write(folder / "manifest.json", known)
    return folder


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3 server on this machine."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A folder of a new bucket there."""
    settings = {
        **{
            "AWS_ENDPOINT_URL": s3_server,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "a-secret-that-nobody-sees",
        },
        **{"AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": "/dev/null", "AWS_MAX_ATTEMPTS": "2"},
        **{"AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true"},
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    bucket = f"lab-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:20]}"
    remote("s3://x")[0].mkdir(bucket)
    return f"s3://{bucket}/photos"


def stage_shards(folder: Path, seeds: list[int], license: str = "CC0") -> Path:
    """A folder as stage `shard` writes it: a shard of two photographs per seed."""
    files = []
    for index, seed in enumerate(seeds):
        path = folder / f"train-{index:06d}.tar"
        keys = [f"p{seed}-{number}" for number in range(2)]
        write_tar(
            path,
            [
                member
                for number, key in enumerate(keys)
                for member in [(f"{key}.jpg", photo(seed + number)), (f"{key}.json", sidecar(key, 93, 61, license))]
            ],
        )
        files.append(
            ShardFile(name=path.name, sha256=manifest.digest(path), bytes=path.stat().st_size, samples=len(keys))
        )
    samples = 2 * len(seeds)
    counts = ShardCounts(asked=samples, kept=samples, labelled=0, rejected={})
    split = ShardSplit(samples=samples, shards=files)
    known = ShardManifest(
        dataset="photos", recipe="none", classes=0, splits={"train": split}, rejects=[], counts=counts
    )
    manifest.write(folder / "manifest.json", known)
    return folder
