"""Every image asked for ends in the manifest, and what is kept is kept as it was."""

import json
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gencomp.data import manifest
from gencomp.data.archive import read_samples
from gencomp.data.dataset import CleanSelection, DatasetConfig, PaperSelection, PlainSelection, Subset
from gencomp.data.download import chosen, download, partitioned
from gencomp.data.failure import DataError
from gencomp.data.fetch import Fetcher
from gencomp.data.manifest import RawManifest, RawSidecar
from gencomp.data.openimages import OpenImages, mirror
from gencomp.data.request import Request
from gencomp.data.rows import rows
from gencomp.data.selection import select

Make = Callable[..., bytes]
LIMITS = {"maximum_megabytes": 64, "maximum_megapixels": 1}


def config(url: str, **fields: Any) -> DatasetConfig:
    known = {"shard_samples": 3, "maximum_missing": 1.0, "watch": "x", "subset": Subset()} | LIMITS | fields
    return DatasetConfig(source=mirror(url), selection=PlainSelection(minimum_side=1), **known)


def run(url: str, scratch: Path, source_url: str | None = None, **fields: Any) -> tuple[Path, RawManifest]:
    settings = config(url, **fields)
    with Fetcher(attempts=2, wait=0.01, timeout=5) as fetcher:
        out = download("photos", settings, OpenImages(mirror(source_url or url), fetcher, scratch), scratch)
    return out, manifest.read(out / "manifest.json", RawManifest)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def troubled(bucket: Any, make_photo: Make) -> Any:
    """A bucket with five good images and one of every trouble."""
    for id in ("0a", "0b", "1c", "2d"):
        bucket.add(id)
    bucket.add("9e", subset="validation", rotation="90.0")
    bucket.add("30", make_photo(30)[:-700])
    bucket.add("31", b"<html>sorry</html>")
    bucket.add("32", md5="AAAAAAAAAAAAAAAAAAAAAA==")
    bucket.add("33", make_photo(33, 1001, 1000))
    bucket.add("34")
    (bucket.root / "train" / "34.jpg").unlink()
    bucket.add("35")
    (bucket.root / "train" / "35.jpg").write_bytes(make_photo(35) + b"tail")
    bucket.rows.append(bucket.rows[0].replace("0a", "../36", 1))
    bucket.add_mask("0a", "/m/cat", "b", make_photo(1, 9, 9, "PNG"))
    return bucket


def test_every_id_has_an_outcome_and_a_reason(troubled: Any, tmp_path: Path) -> None:
    _, raw = run(troubled.write(), tmp_path / "scratch")
    assert {item.id: item.reason for item in raw.items} == {
        **dict.fromkeys(("0a", "0b", "1c", "2d", "9e")),
        "30": "corrupt",
        "31": "not-an-image",
        "32": "checksum",
        "33": "too-large",
        "34": "missing",
        "35": "wrong-length",
        "../36": "bad-id",
    }
    assert [(item.split, item.id) for item in raw.items] == sorted((item.split, item.id) for item in raw.items)
    assert raw.counts["asked"] == 12 and raw.counts["ok"] == 5 and sum(raw.counts.values()) == 24
    assert sum(part.count for part in raw.parts) == 5
    assert {item.key for item in raw.items if item.reason} == {"30", "31", "32", "33", "34", "35", None}


def test_original_bytes_and_their_authors_are_kept(troubled: Any, tmp_path: Path) -> None:
    out, raw = run(troubled.write(), tmp_path / "scratch")
    items = {item.key: item for item in raw.items}
    found = [(part.name, *sample) for part in raw.parts for sample in read_samples(out / part.name)]
    assert sorted(key for _, key, _ in found) == ["0a", "0b", "1c", "2d", "9e"]
    for name, key, files in found:
        subset = "validation" if key == "9e" else "train"
        assert files["jpg"] == (troubled.root / subset / f"{key}.jpg").read_bytes()
        sidecar = json.loads(files["json"])
        assert sidecar["author"] == items[key].author == f"Åsa {key}"
        assert sidecar["license"] == items[key].license == "https://creativecommons.org/licenses/by/2.0/"
        assert (sidecar["orientation"], items[key].part) == (8 if key == "9e" else 1, name)


def test_reduced_copies_are_kept_without_their_originals_and_a_broken_one_is_found(
    troubled: Any, tmp_path: Path, make_photo: Make
) -> None:
    recipe = PaperSelection(
        longer_side=48,
        interpolation="area",
        minimum_downscale=1.25,
        minimum_side=1,
        jpeg_quality=95,
        maximum_saturation=1.0,
        maximum_brightness=1.0,
    )
    troubled.add("4a", make_photo(74, 59, 40))
    url = troubled.write()
    source = msgspec.structs.replace(mirror(url), masks=None, reduced=recipe)
    settings = msgspec.structs.replace(config(url, maximum_missing=7 / 13), source=source)
    with Fetcher() as fetcher:
        out = download("photos", settings, OpenImages(source, fetcher, tmp_path), tmp_path / "scratch")
    items = {item.id: item for item in manifest.read(out / "manifest.json", RawManifest).items}
    assert (items["30"].reason, items["33"].reason, items["4a"].reason) == ("corrupt", "too-large", "too-small")
    found = {key: files for path in out.glob("*.tar") for key, files in read_samples(path)}
    assert sorted(found) == ["0a", "0b", "1c", "2d", "9e"]
    original = (troubled.root / "validation" / "9e.jpg").read_bytes()
    assert found["9e"]["jpg"] == select(recipe, "9e", original, "jpg", 8, 10**6).data
    assert (items["9e"].bytes, items["9e"].sha256) == (len(original), sha256(original).hexdigest())
    sidecar = msgspec.json.decode(found["9e"]["json"], type=RawSidecar)
    assert (sidecar.width, sidecar.height, sidecar.orientation) == (31, 48, 1)
    assert (sidecar.original_width, sidecar.original_height) == (61, 93) == (items["9e"].width, items["9e"].height)


def test_masks_and_reduced_copies_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="masks belong to originals"):
        msgspec.structs.replace(
            mirror("file:///bucket"),
            reduced=CleanSelection(
                seed=1, shorter_side=9, minimum_downscale=1.0, maximum_saturation=1.0, maximum_brightness=1.0
            ),
        )


def test_annotations_are_kept_as_they_were_fetched(troubled: Any, tmp_path: Path) -> None:
    out, raw = run(troubled.write(), tmp_path / "scratch")
    names = {annotation.name for annotation in raw.annotations}
    tables = {f"{split}-annotations-object-segmentation.csv" for split in ("train", "validation")}
    assert names == {"classes.csv", "train-masks-0.zip", *tables}
    for name in names - {"classes.csv"}:
        assert (out / "annotations" / name).read_bytes() == (troubled.root / "annotations" / name).read_bytes()


def test_two_downloads_from_different_places_are_equal_to_the_byte(troubled: Any, tmp_path: Path, bucket: Any) -> None:
    first, _ = run(troubled.write(), tmp_path / "one")
    troubled.root.rename(tmp_path / "moved")
    second, _ = run((tmp_path / "moved").as_uri(), tmp_path / "two")
    assert contents(first) == contents(second)
    assert not any(str(tmp_path).encode() in data for data in contents(first).values())


def test_http_and_file_give_the_same_bytes(
    troubled: Any, tmp_path: Path, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = run(troubled.write(), tmp_path / "one")
    for name, data in contents(troubled.root).items():
        server.answers[f"/{name}"] = [(503, b"", 0), (200, data, len(data))]
        server.sizes[f"/{name}"] = len(data)
    second, _ = run(server.url, tmp_path / "two")
    assert contents(first) == contents(second)
    assert "object masks: 7 files to fetch, " in capsys.readouterr().err


def test_too_many_missing_images_fail_in_one_line_that_says_what_to_do(troubled: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"photos: .* maximum_missing = 0\.3; check the source, or raise it") as error:
        run(troubled.write(), tmp_path / "scratch", maximum_missing=0.3)
    assert "\n" not in str(error.value)
    run(troubled.write(), tmp_path / "scratch", maximum_missing=7 / 12)


def test_an_interrupted_download_asks_only_for_the_rest_and_again_for_what_was_unreachable(
    bucket: Any, tmp_path: Path, server: Any
) -> None:
    for index in range(9):
        bucket.add(f"{index}a")
    bucket.write()
    whole, _ = run(bucket.root.as_uri(), tmp_path / "whole")
    for name, data in contents(bucket.root).items():
        server.answers[f"/{name}"] = [(200, data, len(data))]
    good = server.answers["/train/7a.jpg"]
    server.answers["/train/7a.jpg"] = [(500, b"", 0)]
    with pytest.raises(DataError, match="1 unreachable"):
        run(server.url, tmp_path / "scratch", maximum_missing=0.0)
    server.answers["/train/7a.jpg"] = good
    server.asked.clear()
    out, _ = run(server.url, tmp_path / "scratch", maximum_missing=0.0)
    asked = sorted(path for path in server.asked if path.endswith(".jpg"))
    assert asked == [f"/train/{index}a.jpg" for index in (6, 7, 8)]
    assert contents(out) == contents(whole)


def test_a_file_replaced_between_runs_is_read_again(bucket: Any, tmp_path: Path, make_photo: Make) -> None:
    for index in range(3):
        bucket.add(f"{index}a")
    bucket.add("5a")
    path = bucket.root / "train" / "5a.jpg"
    path.unlink()
    with pytest.raises(DataError, match="1 missing"):
        run(bucket.write(), tmp_path / "scratch", maximum_missing=0.0)
    path.write_bytes(make_photo(3))
    _, raw = run(bucket.write(), tmp_path / "scratch", maximum_missing=0.0)
    assert raw.counts == {"asked": 4, "ok": 4}


def requests(*ids: str, split: Any = "train") -> list[Request]:
    return [Request(id=id, key=id, split=split, place=id) for id in ids]


def picked(listed: list[Request], subset: Subset, folder: Path) -> list[Request]:
    with rows(folder / "requests") as listing:
        found = chosen(listed, subset, listing)
        assert list(found) == list(found)
        return list(found)


def test_a_larger_subset_holds_a_smaller_one_and_other_splits_stay_whole(tmp_path: Path) -> None:
    listed = requests(*(f"t{index}" for index in range(50))) + requests("v1", "v2", split="val")
    few, many = ({request.id for request in picked(listed, Subset(train=count), tmp_path)} for count in (5, 20))
    assert len(few) == 7 and len(many) == 22 and few < many
    assert few - {"v1", "v2"} == set(
        sorted((r.id for r in listed[:50]), key=lambda id: sha256(id.encode()).digest())[:5]
    )
    other = {request.id for request in picked(listed, Subset(train=20, seed=1), tmp_path)}
    assert len(other) == 22 and other != many
    assert len(picked(listed, Subset(train=0), tmp_path)) == 2
    assert len(picked(listed, Subset(train=99), tmp_path)) == 52
    whole = picked(listed, Subset(), tmp_path)
    assert whole == picked(listed[::-1], Subset(), tmp_path) == sorted(listed, key=lambda r: (r.split, r.id))
    assert not (tmp_path / "requests").exists()


def test_a_repeated_image_counts_once_and_an_id_in_two_splits_and_an_empty_list_are_refused(tmp_path: Path) -> None:
    assert picked(requests("a", "b", "a"), Subset(), tmp_path) == requests("a", "b")
    with pytest.raises(DataError, match="'a' is listed twice"):
        picked(requests("a") + requests("a", split="val"), Subset(), tmp_path)
    with pytest.raises(DataError, match="no images"):
        picked([], Subset(), tmp_path)


def test_partitions_hold_one_split_each_and_every_request_once(tmp_path: Path) -> None:
    listed = requests(*"abcdefg") + requests(*"xyz", split="val")
    parts = partitioned(listed, 3, tmp_path)
    assert [part.images for part in parts.values()] == [3, 3, 1, 3]
    assert list(parts) == ["part-000000", "part-000001", "part-000002", "part-000003"]
    assert [request for part in parts.values() for request in part.requests()] == listed
    assert all(len({request.split for request in part.requests()}) == 1 for part in parts.values())


def test_a_dataset_section_is_strict() -> None:
    base = {
        "source": {"kind": "sample", "layout": "openimages"},
        "selection": {"recipe": "none", "minimum_side": 32},
        "shard_samples": 64,
        "maximum_missing": 0.01,
        "watch": "list.csv",
        "subset": {"train": 9},
    } | LIMITS
    assert msgspec.convert(base, DatasetConfig).selection == PlainSelection(minimum_side=32)
    for wrong in ({"source": {"kind": "tape"}}, {"shard_samples": 0}, {"maximum_missing": 2.0}, {"colour": 1}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(base | wrong, DatasetConfig)


@pytest.mark.parametrize("connections", [1, 8])
def test_the_number_of_connections_changes_no_byte(troubled: Any, tmp_path: Path, connections: int) -> None:
    url = troubled.write()
    out, _ = run(url, tmp_path / "a", connections=connections)
    reference, _ = run(url, tmp_path / "b", connections=3)
    assert contents(out) == contents(reference)


def test_at_most_so_many_images_are_asked_for_at_once(server: Any, bucket: Any, tmp_path: Path) -> None:
    for number in range(12):
        bucket.add(f"a{number:x}")
    bucket.write()
    busy, peak, lock = 0, 0, threading.Lock()

    def counted(path: str) -> Callable[[BaseHTTPRequestHandler], None]:
        def send(handler: BaseHTTPRequestHandler) -> None:
            nonlocal busy, peak
            with lock:
                busy += 1
                peak = max(peak, busy)
            time.sleep(0.1)
            data = (bucket.root / path.lstrip("/")).read_bytes()
            with lock:
                busy -= 1
            server.send(handler, 200, data, len(data))

        return send

    for path in bucket.root.rglob("*"):
        if path.is_file():
            name = "/" + path.relative_to(bucket.root).as_posix()
            server.answers[name] = [counted(name)]
    out, _ = run(server.url, tmp_path / "a", connections=3, shard_samples=12)
    assert peak == 3
    reference, _ = run(bucket.root.as_uri(), tmp_path / "b", shard_samples=12)
    assert {key for key, _ in read_samples(out / "part-000000.tar")} == {f"a{number:x}" for number in range(12)}
    assert (out / "part-000000.tar").read_bytes() == (reference / "part-000000.tar").read_bytes()
