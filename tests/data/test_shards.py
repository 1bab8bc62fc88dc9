"""Shards account for every image, follow their recipe, and come out the same after a kill."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from PIL import Image

from gencomp.data import manifest
from gencomp.data.archive import read_samples, read_tar, write_tar
from gencomp.data.dataset import (
    DatasetConfig,
    FolderSource,
    PaperSelection,
    PlainSelection,
    SelectionConfig,
    Subset,
    TarSource,
)
from gencomp.data.download import download
from gencomp.data.fetch import Fetcher
from gencomp.data.folder import Folder
from gencomp.data.folder_labels import FolderLabels
from gencomp.data.manifest import LabelManifest, RawManifest, RawSidecar, ShardManifest
from gencomp.data.openimages import OpenImages, mirror
from gencomp.data.openimages_labels import OpenImagesLabels
from gencomp.data.semantics import png, write_semantics
from gencomp.data.shards import shard_partition, write_shards
from gencomp.data.tars import Tars
from gencomp.registry.manifests import shareable
from stages.download import CITYSCAPES_TERMS
from tests.data.conftest import stage_shards

Make = Callable[..., bytes]
ROOT = Path(__file__).parents[2]
PAPER = PaperSelection(
    longer_side=60,
    minimum_downscale=1.25,
    minimum_side=8,
    jpeg_quality=95,
    maximum_saturation=0.9,
    maximum_brightness=0.8,
)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def picture(mode: str, colour: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (93, 61), colour).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def troubled(bucket: Any, make_photo: Make, make_mask: Make) -> str:
    """Six good images, two of them with masks, and one of every reject of the paper's recipe and some of download."""
    for id in ("0a", "0b", "1c", "2d", "3e"):
        bucket.add(id)
    bucket.add("9f", subset="validation", rotation="270.0")
    bucket.add("40", picture("L", 90))
    bucket.add("41", picture("CMYK", (50, 90, 90, 0)))
    bucket.add("42", picture("RGB", (200, 0, 0)))
    bucket.add("43", picture("RGB", (230, 225, 220)))
    bucket.add("44", make_photo(44, 74, 61))
    bucket.add("45", b"no image")
    bucket.add("46")
    (bucket.root / "train" / "46.jpg").unlink()
    for id in ("0a", "42"):
        bucket.add_mask(id, "/m/cat", "b1", make_mask((10, 10, 50, 40)))
    bucket.add_mask("9f", "/m/dog", "b1", make_mask((0, 0, 31, 20)), subset="validation")
    return str(bucket.write())


REST: Any = {"watch": "x", "subset": Subset(), "maximum_megabytes": 64, "maximum_megapixels": 1}


def build(url: str, folder: Path, selection: SelectionConfig = PAPER, **fields: Any) -> tuple[Path, ShardManifest]:
    """`fields` are those of the source."""
    source = msgspec.structs.replace(mirror(url), **fields)
    config = DatasetConfig(source=source, selection=selection, shard_samples=2, maximum_missing=0.2, **REST)
    with Fetcher() as fetcher:
        raw = download("photos", config, OpenImages(source, fetcher, folder), folder / "raw")
    items = manifest.read(raw / "manifest.json", RawManifest).items
    labels = OpenImagesLabels(raw / "annotations", items) if source.masks else None
    semantics = write_semantics("photos", raw, labels, folder / "semantics")
    out = write_shards("photos", raw, semantics, selection, 10**6, folder / "shards")
    return out, manifest.read(out / "manifest.json", ShardManifest)


def samples(out: Path) -> dict[str, dict[str, bytes]]:
    return {key: files for path in sorted(out.glob("*.tar")) for key, files in read_samples(path)}


def test_every_image_asked_for_is_a_sample_or_a_reject_with_its_reason(troubled: str, tmp_path: Path) -> None:
    out, shards = build(troubled, tmp_path)
    assert {reject.id: reject.reason for reject in shards.rejects} == {
        "40": "greyscale",
        "41": "not-rgb",
        "42": "saturated",
        "43": "bright",
        "44": "too-small",
        "45": "not-an-image",
        "46": "missing",
    }
    assert sorted(samples(out)) == ["0a", "0b", "1c", "2d", "3e", "9f"]
    assert shards.counts.asked == 13 == shards.counts.kept + sum(shards.counts.rejected.values())
    assert (shards.counts.kept, shards.counts.labelled, shards.classes, shards.recipe) == (6, 2, 4, "paper")


def test_reducing_as_images_arrive_gives_the_samples_and_rejects_of_reducing_originals(
    troubled: str, tmp_path: Path
) -> None:
    kept, after = build(troubled, tmp_path / "a", masks=None)
    out, before = build(troubled, tmp_path / "b", PlainSelection(minimum_side=1), masks=None, reduced=PAPER)
    assert samples(out) == samples(kept) and len(samples(out)) == 6
    assert (before.rejects, before.counts) == (after.rejects, after.counts)
    again, _ = build(troubled, tmp_path / "c", PlainSelection(minimum_side=1), masks=None, reduced=PAPER)
    assert contents(again) == contents(out)


def test_shards_are_numbered_without_gaps_and_described_exactly(troubled: str, tmp_path: Path) -> None:
    out, shards = build(troubled, tmp_path)
    names = [shard.name for split in shards.splits.values() for shard in split.shards]
    assert sorted(path.name for path in out.glob("*.tar")) == sorted(names)
    assert names == ["train-000000.tar", "train-000001.tar", "train-000002.tar", "val-000000.tar"]
    for split in shards.splits.values():
        assert split.samples == sum(shard.samples for shard in split.shards)
        for shard in split.shards:
            assert manifest.digest(out / shard.name) == shard.sha256
            assert len(list(read_samples(out / shard.name))) == shard.samples


def test_maps_have_the_size_of_their_image_and_samples_without_them_have_none(troubled: str, tmp_path: Path) -> None:
    out, _ = build(troubled, tmp_path)
    found = samples(out)
    assert {key: sorted(files) for key, files in found.items()} == {
        **{key: ["jpg", "json"] for key in ("0b", "1c", "2d", "3e")},
        **{key: ["edges.png", "jpg", "json", "labels.png"] for key in ("0a", "9f")},
    }
    for key in ("0a", "9f"):
        opened = {name: Image.open(io.BytesIO(data)) for name, data in found[key].items() if name != "json"}
        assert {image.size for image in opened.values()} == {(60, 39) if key == "0a" else (39, 60)}
        assert set(np.unique(np.asarray(opened["labels.png"]))) == {0, 1 if key == "0a" else 2}
        assert set(np.unique(np.asarray(opened["edges.png"]))) == {0, 255}


def test_rotated_images_and_their_maps_are_upright(troubled: str, tmp_path: Path) -> None:
    out, _ = build(troubled, tmp_path, PlainSelection(minimum_side=1))
    files = samples(out)["9f"]
    sidecar = json.loads(files["json"])
    assert (sidecar["width"], sidecar["height"], sidecar["original_width"]) == (61, 93, 61)
    original = next(Path(tmp_path, "bucket", "validation").iterdir())
    turned = np.rot90(np.asarray(Image.open(original)), 3)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(files["png"]))), turned)
    labels = np.asarray(Image.open(io.BytesIO(files["labels.png"])))
    assert labels[:31, -20:].all() and (labels > 0).sum() == 620


def test_two_builds_are_equal_to_the_byte(troubled: str, tmp_path: Path) -> None:
    first, _ = build(troubled, tmp_path / "one")
    second, _ = build(troubled, tmp_path / "two")
    assert contents(first) == contents(second)
    assert not any(str(tmp_path).encode() in data for data in contents(first).values())


def test_unusable_label_maps_are_recorded_and_their_photographs_stay(tmp_path: Path, make_photo: Make) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("good", "wrong", "bare"):
        (photos / f"{name}.jpg").write_bytes(make_photo(1))
    Image.new("L", (93, 61), 1).save(photos / "good.labels.png")
    Image.new("L", (93, 61), 9).save(photos / "wrong.labels.png")
    source = FolderSource(root=str(photos), validation_share=0.0, classes=("sky", "ground"))
    selection = PlainSelection(minimum_side=1)
    config = DatasetConfig(source=source, selection=selection, shard_samples=9, maximum_missing=0.0, **REST)
    raw = download("own", config, Folder(source, Fetcher()), tmp_path / "raw")
    semantics = write_semantics("own", raw, FolderLabels(source.classes, raw / "annotations"), tmp_path / "semantics")
    labels = manifest.read(semantics / "manifest.json", LabelManifest)
    assert {item.key: item.reason or item.outcome for item in labels.items} == {
        "good-jpg": "labelled",
        "wrong-jpg": "labels-value",
        "bare-jpg": "unlabelled",
    }
    out = write_shards("own", raw, semantics, selection, 10**6, tmp_path / "shards")
    assert {key for key, files in samples(out).items() if "labels.png" in files} == {"good-jpg"}
    assert len(samples(out)) == 3


def test_tiles_have_the_maps_of_their_part_and_count_as_samples_of_one_image(troubled: str, tmp_path: Path) -> None:
    whole, _ = build(troubled, tmp_path / "whole", PlainSelection(minimum_side=1))
    out, shards = build(troubled, tmp_path / "tiles", PlainSelection(minimum_side=1, tile=64))
    large, found = samples(whole)["0a"], samples(out)
    parts = [found[f"0a-0-{j}"] for j in (0, 1)]
    assert "0a" not in found
    for name in ("labels.png", "edges.png"):
        joined = np.concatenate([np.asarray(Image.open(io.BytesIO(part[name]))) for part in parts], 1)
        assert np.array_equal(joined, np.asarray(Image.open(io.BytesIO(large[name])))) and joined.any()
    sidecars = [json.loads(part["json"]) for part in parts]
    assert [(s["key"], s["id"], s["width"], s["height"]) for s in sidecars] == [
        ("0a-0-0", "0a", 46, 61),
        ("0a-0-1", "0a", 47, 61),
    ]
    assert shards.counts.asked == shards.counts.kept + sum(shards.counts.rejected.values())
    assert sum(split.samples for split in shards.splits.values()) == len(found) > shards.counts.kept


@pytest.mark.parametrize("terms", [CITYSCAPES_TERMS, "CC0-1.0"])
def test_shards_read_again_as_tars_still_tell_whether_they_may_be_passed_on(tmp_path: Path, terms: str) -> None:
    first = stage_shards(tmp_path / "first", [1, 2], license=terms)
    selection, source = PlainSelection(minimum_side=1), TarSource(root=str(first), validation_share=0.5)
    config = DatasetConfig(source=source, selection=selection, shard_samples=1, maximum_missing=0.0, **REST)
    raw = download("again", config, Tars(source), tmp_path / "raw")
    semantics = write_semantics("again", raw, None, tmp_path / "semantics")
    out = write_shards("again", raw, semantics, selection, 10**6, tmp_path / "shards")
    assert shareable("tars", out) == (terms != CITYSCAPES_TERMS)
    assert not shareable("cityscapes", out)
    assert (b"reserved" in (out / "manifest.json").read_bytes()) == (terms == CITYSCAPES_TERMS)


def noise(seed: int) -> bytes:
    """A map that no PNG makes smaller: 32 kB."""
    return png(np.random.default_rng(seed).integers(0, 256, (160, 200), np.uint8))


def write_partition(folder: Path, count: int, photo: bytes) -> tuple[Path, Path]:
    """A raw tar of so many images, and the label and edge maps of all but every tenth."""
    raw, semantics = folder / "raw.tar", folder / "semantics.tar"
    about = {"split": "train", "width": 200, "height": 160, "orientation": 1}
    rest = dict.fromkeys(("author", "license", "title"))
    keys = [f"{index:04}" for index in range(count)]
    sidecars = [manifest.encode(RawSidecar(id=key, key=key, **about, **rest)) for key in keys]  # type: ignore[arg-type]
    images = zip(keys, sidecars, strict=True)
    write_tar(raw, (file for key, data in images for file in ((f"{key}.jpg", photo), (f"{key}.json", data))))
    drawn = [noise(seed) for seed in range(7)]
    maps = [(key, drawn[index % 7]) for index, key in enumerate(keys) if index % 10]
    names = ("labels.png", "edges.png")
    write_tar(semantics, ((f"{key}.{name}", data) for key, data in maps for name in names))
    return raw, semantics


def test_the_memory_of_a_partition_does_not_grow_with_its_label_maps(tmp_path: Path, make_photo: Make) -> None:
    photo, peaks = make_photo(1, 200, 160), []
    for count in (30, 300):
        raw, semantics = write_partition(tmp_path, count, photo)
        tracemalloc.start()
        record = shard_partition(raw, semantics, PlainSelection(minimum_side=1), 10**6, tmp_path / "shard.tar")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (record.kept, record.labelled) == (count, count - count // 10)
        assert sum(1 for _ in read_samples(tmp_path / "shard.tar")) == count
        for path in tmp_path.glob("*.tar"):
            path.unlink()
    assert peaks[1] - peaks[0] < 270 * 5_000  # an image's maps have 64 kB


def test_maps_of_another_order_than_their_images_are_noticed(tmp_path: Path, make_photo: Make) -> None:
    raw, semantics = write_partition(tmp_path, 4, make_photo(1, 200, 160))
    members = dict(read_tar(semantics))
    write_tar(semantics, sorted(members.items(), reverse=True))
    with pytest.raises(AssertionError, match="semantics.tar: .* in another order"):
        shard_partition(raw, semantics, PlainSelection(minimum_side=1), 10**6, tmp_path / "shard.tar")


def stage(name: str, folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", f"stages.{name}", "own"]
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stderr=subprocess.PIPE)


def finish_stage(name: str, folder: Path) -> None:
    running = stage(name, folder)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors


@pytest.fixture
def project(tmp_path: Path, make_photo: Make) -> Path:
    """A project folder with a dataset of 24 photographs in 24 partitions, without label maps."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(24):
        (photos / f"{index:02}.jpg").write_bytes(make_photo(index, 600, 500))
    own = {
        "source": {"kind": "folder", "root": "photos", "validation_share": 0.1},
        "selection": {
            "recipe": "clean",
            "seed": 1,
            "shorter_side": 200,
            "minimum_downscale": 1.25,
            "maximum_saturation": 0.9,
            "maximum_brightness": 0.8,
        },
        "shard_samples": 1,
        "maximum_missing": 0.0,
        "watch": "photos",
        "subset": {},
        "maximum_megabytes": 64,
        "maximum_megapixels": 1,
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"threads": 1, "seed": 1, "datasets": {"own": own}}))
    return tmp_path


def test_a_shard_stage_killed_in_the_middle_ends_in_the_bytes_of_an_unbroken_one(project: Path) -> None:
    for name in ("download", "semantics"):
        finish_stage(name, project)
    killed = stage("shard", project)
    deadline = time.monotonic() + 60
    while len(finished := list(project.glob(".scratch/shard/*/parts/*.json"))) < 5:
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=10)
    assert not (project / "data" / "shards").exists()
    assert 5 <= len(finished) < 24
    finish_stage("shard", project)
    resumed = contents(project / "data" / "shards")
    assert not list(project.glob(".scratch/shard/*/parts"))
    finish_stage("shard", project)
    assert contents(project / "data" / "shards") == resumed
    assert json.loads(resumed["own/manifest.json"])["counts"]["kept"] == 24


def test_a_stage_that_cannot_go_on_says_so_in_one_line(project: Path) -> None:
    (project / "photos" / "99.jpg").write_bytes(b"broken")
    failed = stage("download", project)
    _, errors = failed.communicate(timeout=60)
    assert failed.returncode == 1
    assert errors.strip().splitlines()[-1].startswith("download: own: 1 of 25 images cannot be used (1 not-an-image)")
    assert len(errors.strip().splitlines()) == 1
