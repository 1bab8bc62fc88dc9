"""A folder of one's own photographs: keys, splits and label maps."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gencomp.data.dataset import FolderSource
from gencomp.data.failure import DataError, Rejected
from gencomp.data.fetch import Fetcher
from gencomp.data.folder import Folder, hashed_splits
from gencomp.data.folder_labels import FolderLabels
from gencomp.data.labelmap import NoLabels
from gencomp.data.manifest import RawSidecar
from gencomp.data.request import KEY, keys_of

Make = Callable[..., bytes]


def source(root: Path, **fields: Any) -> FolderSource:
    return FolderSource(root=str(root), **{"validation_share": 0.3, **fields})


def put(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def test_everything_named_like_an_image_is_asked_for_and_nothing_else(tmp_path: Path, make_photo: Make) -> None:
    names = ["a.jpg", "b.JPEG", "trip/c d.png", "trip/broken.tif"]
    others = ["a.labels.png", "notes.txt", ".hidden.jpg", ".cache/d.jpg"]
    put(tmp_path, dict.fromkeys([*names, *others], make_photo()))
    folder = Folder(source(tmp_path), Fetcher())
    found = folder.requests()
    assert [request.id for request in found] == sorted(names)
    assert all(request.key and KEY.fullmatch(request.key) for request in found)
    assert folder.reader().read(found[0], 10**6) == make_photo()


def test_split_folders_are_the_splits(tmp_path: Path) -> None:
    put(tmp_path, {"train/a.jpg": b"", "val/x/a.jpg": b"", "test/b.jpg": b""})
    found = Folder(source(tmp_path), Fetcher()).requests()
    assert {request.id: request.split for request in found} == {
        "train/a.jpg": "train",
        "val/x/a.jpg": "val",
        "test/b.jpg": "test",
    }
    put(tmp_path, {"stray.jpg": b""})
    with pytest.raises(DataError, match=r"stray\.jpg"):
        Folder(source(tmp_path), Fetcher()).requests()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        Folder(source(tmp_path / "nowhere"), Fetcher()).requests()


@given(st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=12))
def test_keys_are_valid_and_differ_even_where_case_does_not_count(ids: list[str]) -> None:
    keys = keys_of(ids)
    assert all(KEY.fullmatch(key) for key in keys.values())
    assert len({key.lower() for key in keys.values()}) == len(ids)


def test_an_image_keeps_its_split_when_others_come() -> None:
    ids = [f"{index}.jpg" for index in range(400)]
    few, many = hashed_splits(ids[:200], 0.25), hashed_splits(ids, 0.25)
    assert all(many[id] == split for id, split in few.items())
    assert 70 < sum(split == "val" for split in many.values()) < 130


@pytest.mark.parametrize(("share", "counts"), [(0.0, {0}), (0.01, {1}), (0.99, {2}), (1.0, {3})])
def test_both_splits_have_an_image_unless_the_share_says_otherwise(share: float, counts: set[int]) -> None:
    splits = hashed_splits(["a", "b", "c"], share)
    assert {sum(split == "val" for split in splits.values())} == counts


def sidecar(key: str = "a-jpg", orientation: int = 1, width: int = 9, height: int = 5) -> RawSidecar:
    return RawSidecar(
        id="a.jpg",
        key=key,
        split="train",
        width=width,
        height=height,
        orientation=orientation,
        author=None,
        license=None,
        title=None,
    )


def labels(tmp_path: Path, label: bytes, **fields: Any) -> FolderLabels:
    put(tmp_path / "photos", {"a.jpg": b"x"})
    put(tmp_path, {"maps/a.png" if "labels" in fields else "photos/a.labels.png": label})
    config = source(tmp_path / "photos", classes=("sky", "ground"), **fields)
    folder = Folder(config, Fetcher())
    folder.save_annotations(folder.requests(), tmp_path / "annotations")
    return FolderLabels(config.classes, tmp_path / "annotations")


def valid() -> np.ndarray:
    return np.array([[0, 1, 255, 0, 0, 1, 1, 0, 255]] * 5, np.uint8)


def test_label_maps_are_found_beside_and_in_a_parallel_folder(tmp_path: Path) -> None:
    beside = labels(tmp_path / "one", png(valid())).label(sidecar())
    parallel = labels(tmp_path / "two", png(valid()), labels=str(tmp_path / "two" / "maps")).label(sidecar())
    assert beside is not None and parallel is not None
    assert np.array_equal(beside.labels, valid()) and np.array_equal(parallel.labels, valid())


def test_a_palette_is_read_as_its_indices(tmp_path: Path) -> None:
    image = Image.fromarray(valid() % 2)
    image.putpalette([200, 10, 10, 10, 200, 10])
    file = io.BytesIO()
    image.save(file, "PNG")
    found = labels(tmp_path, file.getvalue()).label(sidecar())
    assert found is not None and np.array_equal(found.labels, valid() % 2)


def test_a_map_may_be_drawn_on_the_stored_or_on_the_upright_view(tmp_path: Path) -> None:
    stored = labels(tmp_path / "one", png(valid())).label(sidecar(orientation=6))
    turned = labels(tmp_path / "two", png(np.rot90(valid(), -1))).label(sidecar(orientation=6))
    assert stored is not None and turned is not None
    assert np.array_equal(stored.labels, np.rot90(valid(), -1)) and np.array_equal(stored.labels, turned.labels)


def test_maps_that_cannot_be_used_have_their_reason(tmp_path: Path) -> None:
    wrong = {
        "labels-value": png(np.full((5, 9), 2, np.uint8)),
        "labels-size": png(np.zeros((6, 9), np.uint8)),
        "labels-mode": png(np.zeros((5, 9, 3), np.uint8)),
        "labels-corrupt": png(valid())[:45],
    }
    for reason, data in wrong.items():
        with pytest.raises(Rejected) as error:
            labels(tmp_path / reason, data).label(sidecar())
        assert error.value.reason == reason
    assert labels(tmp_path / "none", png(valid())).label(sidecar("b-jpg")) == NoLabels()
