"""Open Images: lists of every habit, and masks that become one map."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from gencomp.data.dataset import ListFilter, OpenImagesSource
from gencomp.data.failure import DataError
from gencomp.data.fetch import Fetcher
from gencomp.data.labelmap import LabelMap, NoLabels
from gencomp.data.lists import read_table
from gencomp.data.manifest import RawItem, RawSidecar
from gencomp.data.openimages import OpenImages, mirror
from gencomp.data.openimages_labels import OpenImagesLabels
from gencomp.data.request import Request


def requests_of(bucket: Any, tmp_path: Path, **changes: Any) -> list[Request]:
    source = mirror(bucket.write())
    fields = {name: getattr(source, name) for name in source.__struct_fields__} | changes
    with Fetcher() as fetcher:
        return list(OpenImages(OpenImagesSource(**fields), fetcher, tmp_path).requests())


@pytest.mark.parametrize("line_end", ["\n", "\r", "\r\n"])
def test_lists_are_read_whatever_their_line_ends(bucket: Any, tmp_path: Path, line_end: str) -> None:
    bucket.line_end = line_end
    bucket.add("0a", rotation="90.0")
    bucket.add("1b", subset="validation", rotation="nan")
    first, second = requests_of(bucket, tmp_path)
    assert (first.id, first.key, first.split, first.orientation) == ("0a", "0a", "train", 8)
    assert (second.split, second.orientation) == ("val", None)
    assert (first.author, first.title) == ("Åsa 0a", 'A "quoted", titled 0a')
    assert first.license == "https://creativecommons.org/licenses/by/2.0/"
    assert second.place.endswith("/validation/1b.jpg")


def test_a_list_needs_only_id_and_subset(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("\ufeffSubset, ImageID\nvalidation,1b\n\ntest,2c\n")
    source = OpenImagesSource(image_lists=(str(tmp_path / "list.csv"),), images="{split}/{id}.jpg", checksums=True)
    with Fetcher() as fetcher:
        found = list(OpenImages(source, fetcher, tmp_path).requests())
    assert [(request.id, request.split, request.place, request.length, request.author) for request in found] == [
        ("1b", "val", "validation/1b.jpg", None, None),
        ("2c", "test", "test/2c.jpg", None, None),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ImageID,Author\n0a,x\n", "no column Subset"),
        ("", "no column ImageID, Subset"),
        ("ImageID,Subset\n0a\n", "line 2 has no"),
        ("ImageID,Subset\n0a,holiday\n", "image 0a: split 'holiday' is none of train"),
    ],
)
def test_a_list_that_cannot_be_used_is_named_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    source = OpenImagesSource(image_lists=(str(tmp_path / "list.csv"),), images="{id}", checksums=False)
    with Fetcher() as fetcher, pytest.raises(DataError, match=problem) as error:
        list(OpenImages(source, fetcher, tmp_path).requests())
    assert "list.csv" in str(error.value) and "\n" not in str(error.value)


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv: no such file"):
        list(read_table(tmp_path / "nowhere.csv", "nowhere.csv", ["a"]))


def test_ids_that_cannot_be_keys_have_none_and_repeated_lines_are_equal(bucket: Any, tmp_path: Path) -> None:
    bucket.add("0a")
    bucket.rows += [bucket.rows[0], bucket.rows[0].replace("0a,train", "../0a,train", 1)]
    first, second, odd = requests_of(bucket, tmp_path)
    assert first == second and (first.id, first.key) == ("0a", "0a")
    assert (odd.id, odd.key) == ("../0a", None)


def test_checksums_are_compared_only_where_they_describe_the_file(bucket: Any, tmp_path: Path) -> None:
    bucket.add("0a")
    assert requests_of(bucket, tmp_path)[0].md5 is not None
    request = requests_of(bucket, tmp_path, checksums=False)[0]
    assert (request.md5, request.length) == (None, None)


def sidecar(id: str = "0a", width: int = 93, height: int = 61, orientation: int = 1) -> RawSidecar:
    return RawSidecar(
        id=id,
        key=id,
        split="train",
        width=width,
        height=height,
        orientation=orientation,
        author=None,
        license=None,
        title=None,
    )


def item(id: str) -> RawItem:
    fields = dict.fromkeys(("reason", "sha256", "width", "height", "author", "license", "title", "part"))
    return RawItem(id=id, key=id, split="train", outcome="ok", bytes=0, **fields)


def labels_of(bucket: Any, tmp_path: Path, *ids: str) -> OpenImagesLabels:
    bucket.write()
    notes = bucket.root / "annotations"
    (notes / "class-descriptions-boxable.csv").rename(notes / "classes.csv")
    return OpenImagesLabels(notes, [item(id) for id in ids])


def test_the_smaller_object_lies_on_top_and_every_object_is_an_instance(
    bucket: Any, tmp_path: Path, make_mask: Callable[..., bytes]
) -> None:
    bucket.add_mask("0a", "/m/dog", "b1", make_mask((40, 20, 50, 30)))
    bucket.add_mask("0a", "/m/cat", "b2", make_mask((30, 10, 80, 60)))
    bucket.add_mask("0a", "/m/dog", "b3", make_mask((0, 0, 35, 15)))
    found = labels_of(bucket, tmp_path, "0a").of([item("0a")]).label(sidecar())
    assert isinstance(found, LabelMap)
    expected = np.zeros((61, 93), int)
    expected[10:60, 30:80] = 1
    expected[0:15, 0:35] = 2
    expected[20:30, 40:50] = 2
    assert np.array_equal(found.labels, expected)
    assert np.unique(found.instances).tolist() == [0, 1, 2, 3]
    assert (found.objects, found.lost) == (3, 0)


def test_masks_of_another_size_are_stretched_by_nearest_neighbour(
    bucket: Any, tmp_path: Path, make_mask: Callable[..., bytes]
) -> None:
    bucket.add_mask("0a", "/m/cat", "b", make_mask((0, 0, 5, 7), 10, 7))
    found = labels_of(bucket, tmp_path, "0a").of([item("0a")]).label(sidecar(width=41, height=22))
    assert isinstance(found, LabelMap) and found.labels.shape == (22, 41)
    expected = np.asarray(Image.open(io.BytesIO(make_mask((0, 0, 5, 7), 10, 7))).convert("L").resize((41, 22), 0)) > 0
    assert np.array_equal(found.labels > 0, expected)


def test_masks_turn_with_their_image(bucket: Any, tmp_path: Path, make_mask: Callable[..., bytes]) -> None:
    bucket.add_mask("0a", "/m/cat", "b", make_mask((0, 0, 10, 5)))
    found = labels_of(bucket, tmp_path, "0a").of([item("0a")]).label(sidecar(orientation=8))
    assert isinstance(found, LabelMap) and found.labels.shape == (93, 61)
    assert found.labels[-10:, :5].all() and found.labels.sum() == 50


def test_lost_masks_are_counted_and_an_image_without_any_is_unlabelled(
    bucket: Any, tmp_path: Path, make_mask: Callable[..., bytes]
) -> None:
    bucket.add_mask("0a", "/m/cat", "b1", make_mask((0, 0, 10, 5)))
    bucket.add_mask("0a", "/m/cat", "b2", None)
    bucket.add_mask("0a", "/m/cat", "b3", b"\x89PNG\r\n\x1a\n no")
    bucket.add_mask("0b", "/m/cat", "b4", None)
    bucket.add_mask("fe", "/m/cat", "b5", None)
    labels = labels_of(bucket, tmp_path, "0a", "0b", "0c", "fe")
    masks = labels.of([item(id) for id in ("0a", "0b", "0c", "fe")])
    found = masks.label(sidecar())
    assert isinstance(found, LabelMap) and (found.objects, found.lost) == (1, 2)
    assert [masks.label(sidecar(id)) for id in ("0b", "0c", "fe")] == [NoLabels(1), NoLabels(0), NoLabels(1)]


def test_classes_are_numbered_by_the_class_list_whichever_are_in_use_and_unknown_ones_come_last(
    bucket: Any, tmp_path: Path, make_mask: Callable[..., bytes]
) -> None:
    for label in ("/m/zz", "/m/dog"):
        bucket.add_mask("0a", label, "b", make_mask((0, 0, 9, 9)))
    table = labels_of(bucket, tmp_path, "0a").table
    assert [(entry.id, entry.name) for entry in table.classes] == [
        *[(0, "no object"), (1, "Cat"), (2, "Dog"), (3, "Unused"), (4, "/m/zz")]
    ]
    assert table.ignore is None


def test_a_list_of_those_that_have_masks_numbers_them_alone(
    bucket: Any, tmp_path: Path, make_mask: Callable[..., bytes]
) -> None:
    (bucket.root / "segmented.txt").write_bytes(b"/m/x\r\n/m/dog\r\n")
    bucket.add("0a")
    bucket.add_mask("0a", "/m/dog", "b", make_mask((0, 0, 9, 9)))
    source = mirror(bucket.write())
    assert source.masks
    masks = msgspec.structs.replace(source.masks, segmented=f"{bucket.root.as_uri()}/segmented.txt")
    folder = tmp_path / "annotations"
    with Fetcher() as fetcher:
        images = OpenImages(msgspec.structs.replace(source, masks=masks), fetcher, tmp_path)
        images.save_annotations(images.requests(), folder)
    labels = OpenImagesLabels(folder, [item("0a")])
    assert [(entry.id, entry.name) for entry in labels.table.classes] == [(0, "no object"), (1, "Unused"), (2, "Dog")]
    found = labels.of([item("0a")]).label(sidecar())
    assert isinstance(found, LabelMap) and found.labels.max() == 2


@pytest.fixture
def described(bucket: Any, tmp_path: Path) -> Any:
    """Five images; boxes and image-level labels in two tables, a class list with its header."""
    for id in ("0a", "1b", "2c", "3d", "4e"):
        bucket.add(id)
    bucket.rows[1] = bucket.rows[1].replace("/by/2.0/", "/by-nc/2.0/")
    (tmp_path / "boxes.csv").write_text(
        "ImageID,Source,LabelName,Confidence\r\n0a,x,/m/cat,1\r\n1b,x,/m/cat,1\r\n0a,x,/m/jay,1\r\n3d,x,/m/hen,1\r\n"
    )
    (tmp_path / "labels.csv").write_text("ImageID,LabelName,Confidence\n2c,/m/cat,0.00\n3d,/m/dog,0.7\n3d,/m/cat,0\n")
    (tmp_path / "names.csv").write_text(
        'LabelName,DisplayName\n/m/cat,Cat\n/m/dog,"Dog, or so"\n/m/jay,Bird\n/m/hen,Bird\n'
    )
    return bucket


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({}, "0a 1b 2c 3d 4e"),
        ({"licenses": ("/by/2.0",)}, "0a 2c 3d 4e"),
        ({"licenses": ("/by-nc/", "/zero/")}, "1b"),
        ({"classes": ("Cat",)}, "0a 1b"),
        ({"classes": ("/m/cat", "Dog, or so")}, "0a 1b 3d"),
        ({"classes": ("Cat",), "licenses": ("/by/2.0",)}, "0a"),
        ({"classes": ("/m/dog",), "names": None}, "3d"),
        ({"classes": ("Bird",)}, "0a 3d"),
    ],
)
def test_lists_are_filtered_by_licence_and_by_what_images_show(
    described: Any, tmp_path: Path, wanted: dict[str, Any], ids: str
) -> None:
    tables = (str(tmp_path / "boxes.csv"), str(tmp_path / "labels.csv"))
    wanted = {"labels": tables, "names": str(tmp_path / "names.csv"), **wanted}
    found = requests_of(described, tmp_path, filter=ListFilter(**wanted))
    assert [request.id for request in found] == ids.split()


def test_a_class_that_nobody_knows_and_classes_without_labels_are_refused(described: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"names\.csv: no class Unicorn"):
        labels, names = (str(tmp_path / "boxes.csv"),), str(tmp_path / "names.csv")
        requests_of(described, tmp_path, filter=ListFilter(classes=("Cat", "Unicorn"), labels=labels, names=names))
    with pytest.raises(DataError, match="classes need labels"):
        requests_of(described, tmp_path, filter=ListFilter(classes=("/m/cat",)))
