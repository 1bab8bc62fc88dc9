"""Images out of packed archives are those of the bucket, whatever happens to the archive on its way."""

import gzip
import io
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gencomp.data import manifest
from gencomp.data.archive import ArchiveError
from gencomp.data.dataset import DatasetConfig, OpenImagesSource, PackedSource, PlainSelection, Subset
from gencomp.data.download import download
from gencomp.data.failure import DataError
from gencomp.data.fetch import Fetcher
from gencomp.data.manifest import RawManifest
from gencomp.data.openimages import OpenImages, mirror
from gencomp.data.packed import packed_images
from tests.data.handmade import add_members

Make = Callable[..., bytes]
REST: Any = {"watch": "x", "subset": Subset(), "maximum_megabytes": 64, "maximum_megapixels": 1}


def packed(members: Iterable[tuple[str, bytes] | tarfile.TarInfo], *, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        add_members(tar, members)
    return gzip.compress(file.getvalue(), 1, mtime=0) if zipped else file.getvalue()


def folders(bucket: Any) -> dict[str, bytes]:
    """The bucket's images as it publishes them: train by first digit, validation in one, in an order of their own."""
    found: dict[str, list[Any]] = {}
    for path in sorted(bucket.root.glob("*/*.jpg"), reverse=True):
        split = path.parent.name
        name = f"train_{path.stem[0]}" if split == "train" else split
        folder = tarfile.TarInfo(name)
        folder.type = tarfile.DIRTYPE
        found.setdefault(name, [folder, (f"{name}/README.txt", b"about")]).append(
            (f"{name}/{path.name}", path.read_bytes())
        )
    return {f"{name}.tar.gz": packed(members) for name, members in found.items()}


def publish(bucket: Any, zipped: bool = True) -> str:
    (bucket.root / "tar").mkdir()
    for name, data in folders(bucket).items():
        name, data = (name, data) if zipped else (name.removesuffix(".gz"), gzip.decompress(data))
        (bucket.root / "tar" / name).write_bytes(data)
    url: str = bucket.write()
    return url


def archives(url: str, end: str = ".tar.gz", **changes: Any) -> OpenImagesSource:
    packed = PackedSource(train=(f"{url}/tar/train_{{digit}}{end}",), val=(f"{url}/tar/validation{end}",))
    return msgspec.structs.replace(mirror(url), images=None, archives=packed, **changes)


def run(source: OpenImagesSource, scratch: Path, **fields: Any) -> tuple[Path, RawManifest]:
    config = DatasetConfig(
        source=source,
        selection=PlainSelection(minimum_side=1),
        **{"shard_samples": 3, "maximum_missing": 1.0, **REST, **fields},
    )
    with Fetcher(attempts=3, wait=0.01, timeout=5) as fetcher:
        out = download("photos", config, OpenImages(source, fetcher, scratch), scratch)
    return out, manifest.read(out / "manifest.json", RawManifest)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def stocked(bucket: Any, make_photo: Make) -> Any:
    """Eight good images of two digits and two splits, a damaged one, one with another MD5, one that is gone, and one
    whose id cannot be a key; one more that is on no list."""
    for id in ("0a", "0b", "0c", "0d", "1a", "1b"):
        bucket.add(id)
    bucket.add("0e", subset="validation")
    bucket.add("1e", subset="validation")
    bucket.add("1c", make_photo(30)[:-700])
    bucket.add("1d", md5="AAAAAAAAAAAAAAAAAAAAAA==")
    bucket.add("0f")
    (bucket.root / "train" / "0f.jpg").unlink()
    bucket.rows.append(bucket.rows[0].replace("0a", "../09", 1))
    bucket.add("05")
    bucket.rows.pop()
    return bucket


@pytest.mark.parametrize("zipped", [True, False])
def test_archives_give_the_bytes_that_the_bucket_gives(stocked: Any, tmp_path: Path, zipped: bool) -> None:
    url = publish(stocked, zipped)
    one_by_one, _ = run(mirror(url), tmp_path / "one")
    out, raw = run(archives(url, ".tar.gz" if zipped else ".tar"), tmp_path / "packed")
    assert contents(out) == contents(one_by_one)
    assert {item.id: item.reason for item in raw.items if item.reason} == {
        **{"0f": "missing", "1c": "corrupt", "1d": "checksum", "../09": "bad-id"}
    }
    assert raw.counts["ok"] == 8 and raw.counts["asked"] == 12


def test_only_archives_with_a_wanted_digit_are_asked_for(stocked: Any, tmp_path: Path, server: Any) -> None:
    publish(stocked)
    stocked.rows = [row for row in stocked.rows if row.startswith(("0a", "0e"))]
    stocked.write()
    for name, data in contents(stocked.root).items():
        server.answers[f"/{name}"] = [(200, data, len(data))]
    _, raw = run(archives(server.url, masks=None), tmp_path / "scratch")
    assert raw.counts == {"asked": 2, "ok": 2}
    assert sorted(server.asked) == ["/image_ids.csv", "/tar/train_0.tar.gz", "/tar/validation.tar.gz"]


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_connection_reset_in_mid_archive_goes_on_and_ends_in_the_same_bytes_by_any_number_of_workers(
    stocked: Any, tmp_path: Path, server: Any, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gencomp.data.partitions.FEW", 0)
    monkeypatch.setenv("GENCOMP_WORKERS", workers)
    url = publish(stocked)
    whole, _ = run(mirror(url), tmp_path / "whole")
    for name, data in contents(stocked.root).items():
        server.answers[f"/{name}"] = [(200, data, len(data))]
    data = (stocked.root / "tar" / "train_0.tar.gz").read_bytes()
    server.answers["/tar/train_0.tar.gz"] = [server.ranged(data, most=len(data) // 2, reset=True), server.ranged(data)]
    out, _ = run(archives(server.url), tmp_path / "scratch")
    assert contents(out) == contents(whole)
    asked = [
        h.get("range") for path, h in zip(server.asked, server.headers, strict=True) if path.endswith("n_0.tar.gz")
    ]
    assert asked[0] is None and asked[1] is not None and len(asked) == 2
    assert not list((tmp_path / "scratch" / "archives").iterdir())


def test_an_archive_that_was_read_is_not_read_again_when_a_later_one_fails(
    stocked: Any, tmp_path: Path, server: Any
) -> None:
    whole, _ = run(mirror(publish(stocked)), tmp_path / "whole")
    for name, data in contents(stocked.root).items():
        server.answers[f"/{name}"] = [(200, data, len(data))]
    good = server.answers["/tar/train_1.tar.gz"]
    data = good[0][1]
    server.answers["/tar/train_1.tar.gz"] = [server.ranged(data, most=1000), (503, b"", 0)]
    with pytest.raises(DataError, match=r"train_1\.tar\.gz: unreachable"):
        run(archives(server.url), tmp_path / "scratch")
    server.answers["/tar/train_1.tar.gz"] = [server.ranged(data)]
    server.asked.clear()
    server.headers.clear()
    out, _ = run(archives(server.url), tmp_path / "scratch")
    asked = [path for path in server.asked if path.startswith("/tar/train")]
    assert asked == ["/tar/train_1.tar.gz"]
    assert server.headers[server.asked.index(asked[0])]["range"] == "bytes=1000-"
    assert contents(out) == contents(whole)


KILLED = """
import sys, pathlib
from gencomp.data.fetch import Fetcher
from gencomp.data.packed import spooled
spooled({sys.argv[1]: ["0a", "0b", "0c", "0d"]}, Fetcher(), pathlib.Path(sys.argv[2]))
"""


def test_a_kill_in_mid_archive_loses_no_byte_that_had_arrived(
    stocked: Any, tmp_path: Path, server: Any, make_photo: Make
) -> None:
    stocked.add("07", make_photo(7, 500, 400))
    whole, _ = run(mirror(publish(stocked)), tmp_path / "whole")
    for name, data in contents(stocked.root).items():
        server.answers[f"/{name}"] = [(200, data, len(data))]
    data = (stocked.root / "tar" / "train_0.tar.gz").read_bytes()
    server.answers["/tar/train_0.tar.gz"] = [server.ranged(data, pause=0.05), server.ranged(data)]
    scratch = tmp_path / "scratch"
    process = subprocess.Popen([sys.executable, "-c", KILLED, f"{server.url}/tar/train_0.tar.gz", str(scratch)])
    give_up = time.monotonic() + 120
    while not any(path.stat().st_size for path in scratch.glob("archives/.*.unfinished")):
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert not list(scratch.glob("spool/*"))
    out, _ = run(archives(server.url), scratch)
    assert contents(out) == contents(whole)
    second = [h for path, h in zip(server.asked, server.headers, strict=True) if path == "/tar/train_0.tar.gz"][1]
    assert int(second["range"].removeprefix("bytes=").rstrip("-")) >= 1000


DYING = """
import os
from gencomp.data import packed
images = packed.packed_images
def dying(*arguments):
    for index, image in enumerate(images(*arguments)):
        if index == 2:
            os.kill(os.getpid(), 9)
        yield image
packed.packed_images = dying
"""


def test_a_kill_while_an_archive_is_read_leaves_no_half_tar_and_the_next_run_ends_in_the_same(
    stocked: Any, tmp_path: Path
) -> None:
    url = publish(stocked)
    whole, _ = run(mirror(url), tmp_path / "whole")
    path = stocked.root / "tar" / "train_0.tar.gz"
    ended = subprocess.run([sys.executable, "-c", DYING + KILLED, str(path), str(tmp_path / "scratch")], timeout=120)
    assert ended.returncode == -signal.SIGKILL
    assert [p.suffix for p in (tmp_path / "scratch" / "spool").iterdir()] == [".unfinished"]
    out, _ = run(archives(url), tmp_path / "scratch")
    assert contents(out) == contents(whole)
    assert {p.suffix for p in (tmp_path / "scratch" / "spool").iterdir()} == {".tar", ".json"}


def link() -> tarfile.TarInfo:
    entry = tarfile.TarInfo("train_0/0b.jpg")
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return entry


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([("/0b.jpg", b"x")], "leads out"),
        ([("train_0/../../0b.jpg", b"x")], "leads out"),
        ([link()], "no plain file"),
        ([("a/0b.jpg", b"x"), ("b/0b.jpg", b"y")], "0b occurs twice"),
        ([("a/0b.jpg", b"x"), ("a/0b.jpg", b"y")], "occurs twice"),
    ],
)
def test_hostile_archives_end_the_stage_with_their_name_and_leave_nothing(
    stocked: Any, tmp_path: Path, make_photo: Make, zipped: bool, members: list[Any], problem: str
) -> None:
    url = publish(stocked, zipped)
    name = "train_0.tar.gz" if zipped else "train_0.tar"
    (stocked.root / "tar" / name).write_bytes(packed([("train_0/0a.jpg", make_photo()), *members], zipped=zipped))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(ArchiveError, match=rf"{name}: .*{problem}") as error:
        run(archives(url, name[len("train_0") :]), tmp_path / "scratch")
    assert "\n" not in str(error.value)
    written = {path for path in set(tmp_path.rglob("*")) - before if path.is_file()}
    assert {path.parent.name for path in written} <= {"spool"} and not list((tmp_path / "scratch").rglob("*.jpg"))


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    huge = tarfile.TarInfo("0a.jpg")
    huge.size = 10**12
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 10**9
    zeros = gzip.compress(bytes(30_000_000))
    for name, data, problem in (
        ("stated", gzip.compress(huge.tobuf()) + zeros, "0a.jpg' has 1000000000000 bytes"),
        ("header", gzip.compress(header.tobuf()) + zeros, "a header of"),
        ("skipped", packed([("0b.jpg", bytes(200_000_000))]), "unpacks to"),
        ("padding", packed([("0b.jpg", b"x")]) + zeros, "unpacks to"),
    ):
        (tmp_path / name).write_bytes(data)
        start = time.monotonic()
        with pytest.raises(ArchiveError, match=problem):
            list(packed_images(tmp_path / name, {"0a"}))
        assert time.monotonic() - start < 30


def test_a_truncated_or_damaged_archive_is_named_and_what_others_gave_is_kept(
    stocked: Any, tmp_path: Path, server: Any
) -> None:
    whole, _ = run(mirror(publish(stocked)), tmp_path / "whole")
    for name, data in contents(stocked.root).items():
        server.answers[f"/{name}"] = [(200, data, len(data))]
    path = "/tar/train_1.tar.gz"
    good = server.answers[path]
    data = good[0][1]
    wrong_checksum = data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]
    for damaged in (
        data[:-4],
        data[: len(data) // 2],
        wrong_checksum,
        data[:2000] + bytes(200) + data[2200:],
        b"<html>",
    ):
        server.answers[path] = [(200, damaged, len(damaged))]
        with pytest.raises(ArchiveError, match=r"train_1\.tar\.gz: ") as error:
            run(archives(server.url), tmp_path / "scratch")
        assert "\n" not in str(error.value)
    server.answers[path] = good
    server.asked.clear()
    out, _ = run(archives(server.url), tmp_path / "scratch")
    assert contents(out) == contents(whole)
    assert [name for name in server.asked if name.startswith("/tar/train")] == [path]


def test_a_local_archive_that_was_replaced_is_read_again_and_a_missing_one_is_named(
    stocked: Any, tmp_path: Path, make_photo: Make
) -> None:
    url = publish(stocked)
    path = stocked.root / "tar" / "train_0.tar.gz"
    path.rename(tmp_path / "aside")
    with pytest.raises(DataError, match=r"train_0\.tar\.gz: no such file"):
        run(archives(url), tmp_path / "scratch")
    path.write_bytes(packed([("0a.jpg", (stocked.root / "train" / "0a.jpg").read_bytes())]))
    with pytest.raises(DataError, match="1 missing"):
        run(archives(url), tmp_path / "scratch", maximum_missing=0.1)
    (tmp_path / "aside").rename(path)
    _, raw = run(archives(url), tmp_path / "scratch")
    assert raw.counts["ok"] == 8


def test_what_archives_take_is_told_once_and_one_that_the_disk_cannot_hold_is_not_fetched(
    stocked: Any, tmp_path: Path, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(stocked)
    for name, data in contents(stocked.root).items():
        server.answers[f"/{name}"] = [(200, data, len(data))]
    path = "/tar/train_1.tar.gz"
    server.sizes = {"/tar/train_0.tar.gz": 40_000, path: 10**15}
    with pytest.raises(DataError, match=r"an archive of 1,000 TB is to be fetched, and the disk of .* free; make room"):
        run(archives(server.url), tmp_path / "scratch")
    assert not [name for name in server.asked if name.startswith("/tar")]
    server.sizes[path] = 30_000
    run(archives(server.url), tmp_path / "scratch")
    run(archives(server.url), tmp_path / "scratch")
    told = [line for line in capsys.readouterr().err.splitlines() if "to read" in line]
    assert len(told) == 1 and told[0].startswith(
        "packed images: 3 archives to read, 70 kB and 1 of unknown size; up to 180 kB on disk, "
    )


def test_inputs_without_a_place_do_not_depend_on_the_working_folder(tmp_path: Path) -> None:
    """A stamp that changed with it would forget what an interrupted run had fetched."""
    (tmp_path / "list.csv").write_text("ImageID,Subset\n../9,train\n0a,test\n")
    source = OpenImagesSource(
        image_lists=(str(tmp_path / "list.csv"),), checksums=False, archives=PackedSource(train=("a.tar",))
    )
    with Fetcher() as fetcher:
        images = OpenImages(source, fetcher, tmp_path)
        assert [(request.place, images.stamp(request)) for request in images.requests()] == [("", ""), ("", "")]


def test_images_come_one_by_one_or_out_of_archives_and_not_both() -> None:
    base = {"image_lists": ["a.csv"], "checksums": False}
    for fields in ({}, {"images": "{id}", "archives": {"val": ["v.tar"]}}):
        with pytest.raises(msgspec.ValidationError, match="either images or archives"):
            msgspec.convert(base | fields, OpenImagesSource)
    assert msgspec.convert(base | {"archives": {"val": ["v.tar"]}}, OpenImagesSource).images is None
