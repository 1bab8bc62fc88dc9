"""A disk that is full, and a mask that would fill the memory: one line or one reason, and nothing half done."""

import contextlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from gencomp.data import manifest
from gencomp.data.labelmap import LabelMap
from gencomp.data.manifest import RawSidecar
from gencomp.data.openimages_labels import OpenImagesLabels
from tests.data.conftest import photo

ROOT = Path(__file__).parents[2]
Make = Callable[..., bytes]


def project(folder: Path, **source: object) -> None:
    """params.yaml with the dataset `own` of that source, two images to a partition."""
    own = {
        "source": {"validation_share": 0.1, **source},
        "selection": {"recipe": "none", "minimum_side": 1},
        **{"shard_samples": 2, "maximum_missing": 0.0, "maximum_megabytes": 64, "maximum_megapixels": 170},
        **{"subset": {}, "watch": "params.yaml"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump({"datasets": {"own": own}}))


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A small disk at `folder`, and what gives it another size; the test is skipped where none can be mounted."""
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or umount is None:
        pytest.skip("only root may mount a small tmpfs")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {done.stderr.strip()}")

    def resize(to: str) -> None:
        subprocess.run([mount, "-o", f"remount,size={to}", folder], check=True, timeout=10)

    try:
        yield resize
    finally:
        subprocess.run([umount, folder], check=True, timeout=10)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of eight photographs, over 3 MB."""
    folder = tmp_path_factory.mktemp("disks") / "photos"
    folder.mkdir()
    for index in range(8):
        (folder / f"{index}.png").write_bytes(photo(index, 640, 480, "PNG"))
    assert sum(path.stat().st_size for path in folder.iterdir()) > 3_000_000
    return folder


def sources(photos: Path, server: Any) -> dict[str, dict[str, object]]:
    """The photographs as a folder, and behind a server by their list."""
    listed = photos.parent / "list.txt"
    listed.write_text("".join(f"{path.name}\n" for path in sorted(photos.iterdir())))
    for path in photos.iterdir():
        server.answers[f"/{path.name}"] = [(200, path.read_bytes(), path.stat().st_size)]
    return {
        "folder": {"kind": "folder", "root": str(photos)},
        "http": {"kind": "list", "list": str(listed), "images": server.url},
    }


def only_line(failed: subprocess.CompletedProcess[str], stage: str) -> str:
    """What a stage that failed said, beside its progress."""
    assert failed.returncode == 1
    lines = [line for line in failed.stderr.strip().splitlines() if not line.startswith(f"{stage} own: ")]
    assert len(lines) == 1 and lines[0].startswith(f"{stage}: "), failed.stderr
    return lines[0]


@pytest.mark.parametrize(("full", "source"), [("all", "folder"), ("data", "folder"), ("all", "http")])
def test_a_full_disk_ends_the_download_in_one_line_and_it_goes_on_once_there_is_room(
    tmp_path: Path, photos: Path, server: Any, full: str, source: str
) -> None:
    """All of the checkout lies on a disk of 2 MB, or what `data` links to alone; the photographs have over 3 MB."""
    checkout, disk, origin = tmp_path / "checkout", tmp_path / "disk", sources(photos, server)[source]
    with tmpfs(disk, "2m") as resize:
        if full == "all":
            checkout = disk / "checkout"
        project(checkout, **origin)
        if full == "data":
            (disk / "data").mkdir()
            (checkout / "data").symlink_to(disk / "data")
        failed = run(checkout, "-m", "stages.download", "own")
        assert "No space left on device" in only_line(failed, "download")
        assert not (checkout / "data/raw/own").exists()
        assert [path for path in disk.rglob("*") if "unfinished" in path.name] == []
        resize("64m")
        assert run(checkout, "-m", "stages.download", "own").returncode == 0
        resumed = contents(checkout / "data/raw/own")
    project(tmp_path / "roomy", **origin)
    assert run(tmp_path / "roomy", "-m", "stages.download", "own").returncode == 0
    assert resumed == contents(tmp_path / "roomy/data/raw/own") and len(resumed) > 4


def test_a_full_disk_ends_the_shard_stage_in_one_line_and_it_goes_on_once_there_is_room(
    tmp_path: Path, photos: Path
) -> None:
    disk = tmp_path / "disk"
    with tmpfs(disk, "64m") as resize:
        project(disk, kind="folder", root=str(photos))
        for stage in ("download", "semantics"):
            assert run(disk, "-m", f"stages.{stage}", "own").returncode == 0
        resize(str(shutil.disk_usage(disk).used + 1_200_000))
        assert "No space left on device" in only_line(run(disk, "-m", "stages.shard", "own"), "shard")
        assert not (disk / "data/shards").exists()
        assert [path for path in disk.rglob("*") if "unfinished" in path.name] == []
        assert list(disk.glob(".scratch/shard/*/parts/*.tar"))
        resize("64m")
        assert run(disk, "-m", "stages.shard", "own").returncode == 0
        resumed = contents(disk / "data/shards/own")
        shutil.rmtree(disk / "data/shards")
        assert run(disk, "-m", "stages.shard", "own").returncode == 0
        assert resumed == contents(disk / "data/shards/own") and len(resumed) > 4


def test_a_disk_that_workers_fill_ends_the_download_and_it_goes_on_once_there_is_room(
    tmp_path: Path, make_photo: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """120 photographs, of which every second one is large, so that the forecast leaves doubt whether they fit."""
    photos, disk = tmp_path / "photos", tmp_path / "disk"
    photos.mkdir()
    small, large = make_photo(1, 40, 30, "PNG"), make_photo(2, 200, 150, "PNG")
    for index in range(120):
        (photos / f"{index}.png").write_bytes(large if index % 2 else small)
    total = sum(path.stat().st_size for path in photos.iterdir())
    with tmpfs(disk, str(int(0.85 * total))) as resize:
        project(disk, kind="folder", root=str(photos))
        monkeypatch.setenv("GENCOMP_WORKERS", "2")
        failed = run(disk, "-m", "stages.download", "own")
        (line,) = [line for line in failed.stderr.splitlines() if line.startswith("download: ")]
        assert failed.returncode == 1 and "No space left on device" in line
        assert not (disk / "data/raw/own").exists()
        resize("64m")
        monkeypatch.setenv("GENCOMP_WORKERS", "1")
        assert run(disk, "-m", "stages.download", "own").returncode == 0
        resumed = contents(disk / "data/raw/own")
    project(tmp_path / "roomy", kind="folder", root=str(photos))
    assert run(tmp_path / "roomy", "-m", "stages.download", "own").returncode == 0
    assert resumed == contents(tmp_path / "roomy/data/raw/own") and len(resumed) > 60


def test_a_disk_that_cannot_hold_the_listing_ends_the_download_in_one_line(tmp_path: Path) -> None:
    disk, listed = tmp_path / "disk", tmp_path / "list.txt"
    listed.write_text("".join(f"folder/with-a-name/{index:06}.png\n" for index in range(30_000)))
    with tmpfs(disk, "1m"):
        project(disk, kind="list", list=str(listed), images=str(tmp_path))
        line = only_line(run(disk, "-m", "stages.download", "own"), "download")
        assert line.endswith("/requests: database or disk is full")
        assert not list(disk.rglob("requests"))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A whole PNG of 30,000 x 30,000 pixels, one bit each: 900 MB once decoded, a hundred kilobytes in the file."""
    pack, row = zlib.compressobj(1), bytes(1 + 30_000 // 8)
    pixels = b"".join([*(pack.compress(row) for _ in range(30_000)), pack.flush()])
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    whole = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    assert len(whole) < 1_000_000
    return whole


GROWTH = """
import resource
from stages import download, semantics
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
download.main("own")
before = peak()
semantics.main("own")
print(peak() - before)
"""


def test_a_mask_that_is_a_bomb_is_refused_with_its_reason_and_never_decoded(
    tmp_path: Path, make_photo: Make, bomb: bytes
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, labels in (("good", None), ("bomb", bomb)):
        (photos / f"{name}.png").write_bytes(make_photo(1, 93, 61, "PNG"))
        file = io.BytesIO()
        Image.new("L", (93, 61), 1).save(file, "PNG")
        (photos / f"{name}.labels.png").write_bytes(labels or file.getvalue())
    project(tmp_path, kind="folder", root=str(photos), classes=["sky", "ground"])
    done = run(tmp_path, "-c", GROWTH)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "data/semantics/own/manifest.json").read_text())
    assert {item["key"]: item["reason"] or item["outcome"] for item in found["items"]} == {
        "bomb-png": "labels-too-large",
        "good-png": "labelled",
    }
    assert int(done.stdout.splitlines()[-1]) < 50e6


def test_an_object_mask_that_is_a_bomb_counts_as_lost_beside_the_others(
    bucket: Any, tmp_path: Path, make_mask: Make, bomb: bytes
) -> None:
    bucket.add("0a")
    bucket.add_mask("0a", "/m/cat", "b1", make_mask((10, 10, 50, 40)))
    bucket.add_mask("0a", "/m/dog", "b2", bomb)
    bucket.write()
    folder = tmp_path / "annotations"
    shutil.copytree(bucket.root / "annotations", folder)
    (folder / "class-descriptions-boxable.csv").rename(folder / "classes.csv")
    about: Any = {"id": "0a", "key": "0a", "split": "train", "width": 93, "height": 61}
    rest = {"author": None, "license": None, "title": None}
    item = {"outcome": "ok", "reason": None, "bytes": 1, "sha256": None, "part": "x"}
    items = [manifest.RawItem(**about, **rest, **item)]
    found = OpenImagesLabels(folder, items).of(items).label(RawSidecar(**about, **rest, orientation=1))
    assert isinstance(found, LabelMap) and (found.objects, found.lost) == (1, 1)
