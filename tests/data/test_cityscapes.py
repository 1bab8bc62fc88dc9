"""Cityscapes: archives and unpacked folders are one and the same set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gencomp.data import manifest
from gencomp.data.archive import ZipReader, write_zip
from gencomp.data.cityscapes import Cityscapes
from gencomp.data.cityscapes_labels import CityscapesLabels
from gencomp.data.dataset import CityscapesSource, DatasetConfig, PlainSelection, Subset
from gencomp.data.download import download
from gencomp.data.failure import DataError, Rejected
from gencomp.data.fetch import Fetcher
from gencomp.data.labelmap import NoLabels
from gencomp.data.manifest import LabelManifest, RawSidecar
from gencomp.data.semantics import write_semantics
from tests.data.conftest import Plain, street


def write_archives(root: Path, scenes: dict[str, bytes]) -> str:
    for folder in ("leftImg8bit", "gtFine"):
        members = sorted(item for item in scenes.items() if item[0].startswith(folder))
        write_zip(root / f"{folder}_trainvaltest.zip", [("license.txt", b"terms"), *members])
    return root.as_uri()


def write_tree(root: Path, scenes: dict[str, bytes]) -> str:
    for name, data in scenes.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return str(root)


def opened(root: str, scratch: Path) -> Cityscapes:
    return Cityscapes(CityscapesSource(root=root), Fetcher(), scratch, "terms")


def sidecar(key: str = "aachen_000000_000001", split: Any = "train", width: int = 40, height: int = 24) -> RawSidecar:
    return RawSidecar(
        id=key, key=key, split=split, width=width, height=height, orientation=1, author=None, license=None, title=None
    )


@pytest.mark.parametrize("write", [write_archives, write_tree])
def test_images_are_found_by_name_in_archives_and_in_folders(
    tmp_path: Path, scenes: dict[str, bytes], write: Any
) -> None:
    source = opened(write(tmp_path / "set", scenes), tmp_path)
    found = {request.key: request for request in source.requests()}
    assert {key: request.split for key, request in found.items()} == {
        "aachen_000000_000001": "train",
        "ulm_000000_000002": "train",
        "bonn_000000_000003": "val",
    }
    for request in found.values():
        (name,) = [name for name in scenes if request.place.endswith(name)]
        assert request.key and request.key in name
        assert source.reader().read(request, 10**6) == scenes[name]
        assert request.license == "terms" and source.stamp(request)


@pytest.mark.parametrize("write", [write_archives, write_tree])
def test_an_annotated_image_that_is_not_there_is_missing(tmp_path: Path, scenes: dict[str, bytes], write: Any) -> None:
    del scenes["leftImg8bit/train/ulm/ulm_000000_000002_leftImg8bit.png"]
    source = opened(write(tmp_path / "set", scenes), tmp_path)
    (lost,) = [request for request in source.requests() if request.key == "ulm_000000_000002"]
    with pytest.raises(Rejected, match="missing"):
        source.reader().read(lost, 10**6)


def test_archives_and_folders_give_the_same_maps_and_folders_a_stable_archive(
    tmp_path: Path, scenes: dict[str, bytes]
) -> None:
    maps = []
    for name, write in (("zips", write_archives), ("tree", write_tree), ("again", write_tree)):
        source = opened(write(tmp_path / name, scenes), tmp_path)
        source.save_annotations(source.requests(), tmp_path / f"{name}-annotations")
        maps.append(CityscapesLabels(tmp_path / f"{name}-annotations").label(sidecar()))
    assert maps[0] is not None and maps[1] is not None
    assert np.array_equal(maps[0].labels, maps[1].labels) and np.array_equal(maps[0].instances, maps[1].instances)
    archives = [tmp_path / f"{name}-annotations" / "gtFine_trainvaltest.zip" for name in ("tree", "again", "zips")]
    assert archives[0].read_bytes() == archives[1].read_bytes()
    assert archives[2].read_bytes() == (tmp_path / "zips" / "gtFine_trainvaltest.zip").read_bytes()
    with ZipReader(archives[0]) as reader:
        assert len(reader.names) == 6


def test_label_ids_become_train_ids_by_the_sets_own_table(tmp_path: Path, scenes: dict[str, bytes]) -> None:
    from cityscapesscripts.helpers.labels import id2label

    write_archives(tmp_path, scenes)
    labels = CityscapesLabels(tmp_path)
    found = labels.label(sidecar())
    assert found is not None
    stored = np.zeros((24, 40), int) + 7
    stored[:, :4], stored[2:6, 30:34], stored[10:16, 10:26] = 0, 20, 26
    assert np.array_equal(found.labels, np.vectorize(lambda id: id2label[id].trainId)(stored))
    assert (found.objects, found.instances[12, 17], found.instances[12, 18]) == (2, 26000, 26001)
    assert len(labels.table.classes) == 19 and labels.table.ignore == 255
    assert (labels.table.classes[13].name, labels.table.classes[13].color) == ("car", (0, 0, 142))


def png(array: np.ndarray, tmp_path: Path) -> bytes:
    Image.fromarray(array).save(tmp_path / "map.png")
    return (tmp_path / "map.png").read_bytes()


def test_maps_that_cannot_be_used_have_their_reason(tmp_path: Path, scenes: dict[str, bytes]) -> None:
    stem = "gtFine/train/aachen/aachen_000000_000001_gtFine_"
    wrong = {
        "labels-value": {f"{stem}labelIds.png": png(np.full((24, 40), 99, np.uint8), tmp_path)},
        "labels-size": {f"{stem}instanceIds.png": png(np.zeros((24, 41), np.uint8), tmp_path)},
        "labels-corrupt": {f"{stem}labelIds.png": scenes[f"{stem}labelIds.png"][:40]},
    }
    for reason, files in wrong.items():
        write_archives(tmp_path, scenes | files)
        with pytest.raises(Rejected) as error:
            CityscapesLabels(tmp_path).label(sidecar())
        assert error.value.reason == reason
    del scenes[f"{stem}instanceIds.png"]
    write_archives(tmp_path, scenes)
    assert CityscapesLabels(tmp_path).label(sidecar()) == NoLabels()


def test_remote_archives_are_fetched_once_and_their_size_is_told_before(
    tmp_path: Path, scenes: dict[str, bytes], server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write_archives(tmp_path / "set", scenes)
    for path in (tmp_path / "set").iterdir():
        data = path.read_bytes()
        server.answers[f"/set/{path.name}"] = [(200, data, len(data))]
        server.sizes[f"/set/{path.name}"] = len(data)
    for _ in range(2):
        source = opened(f"{server.url}/set/", tmp_path / "scratch")
        assert len(source.reader().read(source.requests()[0], 10**6)) > 100
        source.save_annotations(source.requests(), tmp_path / "annotations")
    assert sorted(server.asked) == ["/set/gtFine_trainvaltest.zip", "/set/leftImg8bit_trainvaltest.zip"]
    told = [line.split(" to fetch, ")[0] for line in capsys.readouterr().err.splitlines()]
    assert told == [f"Cityscapes: {folder}_trainvaltest.zip" for folder in ("leftImg8bit", "gtFine")]
    assert (tmp_path / "annotations" / "gtFine_trainvaltest.zip").is_file()


def test_a_place_without_the_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither leftImg8bit_trainvaltest.zip nor"):
        opened(str(tmp_path), tmp_path).requests()


@pytest.mark.parametrize("published", ["absent", "void"])
@pytest.mark.parametrize("drawn", [False, True])
def test_the_split_test_is_unlabelled_and_a_network_may_draw_its_maps(
    tmp_path: Path, scenes: dict[str, bytes], published: str, drawn: bool
) -> None:
    """Whether its maps are left out, or hold void alone as in the archives."""
    tested = {name.replace("{split}", "test"): data for name, data in street("berlin", 4).items()}
    void = png(np.zeros((24, 40), np.uint8), tmp_path)
    for name, data in tested.items():
        if name.startswith("leftImg8bit"):
            scenes[name] = data
        elif published == "void":
            scenes[name] = void
    root = write_archives(tmp_path / "set", scenes)
    source = CityscapesSource(root=root)
    rest: Any = {"watch": "x", "subset": Subset(), "maximum_megabytes": 64, "maximum_megapixels": 1}
    config = DatasetConfig(
        source=source, selection=PlainSelection(minimum_side=1), shard_samples=9, maximum_missing=0.0, **rest
    )
    raw = download("streets", config, Cityscapes(source, Fetcher(), tmp_path, "terms"), tmp_path / "raw")
    labels = CityscapesLabels(raw / "annotations")
    out = write_semantics("streets", raw, labels, tmp_path / "maps", Plain(labels.table) if drawn else None)
    found = manifest.read(out / "manifest.json", LabelManifest)
    other = "pseudo-labelled" if drawn else "unlabelled"
    assert {item.key: item.outcome for item in found.items} == {
        **dict.fromkeys(("aachen_000000_000001", "ulm_000000_000002", "bonn_000000_000003"), "labelled"),
        "berlin_000000_000004": other,
    }
    assert found.counts == {"labelled": 3, other: 1, "objects": 6, "lost": 0}
