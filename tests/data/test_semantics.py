"""Label maps and edges keep their meaning, whatever their size."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gencomp.data import manifest
from gencomp.data.dataset import DatasetConfig, PlainSelection, Subset
from gencomp.data.download import download
from gencomp.data.fetch import Fetcher
from gencomp.data.labelmap import Segmentation
from gencomp.data.manifest import ClassTable, LabelClass, LabelManifest, RawItem
from gencomp.data.openimages import OpenImages, mirror
from gencomp.data.openimages_labels import OpenImagesLabels
from gencomp.data.semantics import instance_edges, narrowed, png, resize_edges, resize_labels, write_semantics
from tests.data.conftest import Plain

sizes = st.integers(1, 40)


def test_edges_lie_on_both_sides_of_a_border_and_nowhere_else() -> None:
    instances = np.array([[1, 1, 1, 2], [1, 1, 1, 2], [3, 3, 3, 2]])
    expected = np.array([[0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]) * 255
    assert np.array_equal(instance_edges(instances), expected)
    assert not instance_edges(np.ones((5, 7), int)).any()
    assert not instance_edges(np.ones((1, 1), int)).any()


@given(st.integers(0, 2**32 - 1), sizes, sizes)
def test_edges_depend_on_borders_alone_and_turn_with_the_map(seed: int, height: int, width: int) -> None:
    instances = np.random.default_rng(seed).integers(0, 3, (height, width))
    edges = instance_edges(instances)
    assert np.array_equal(edges, instance_edges(instances * 1000 + 7))
    assert np.array_equal(instance_edges(np.rot90(instances)), np.rot90(edges))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), sizes, sizes, sizes, sizes)
def test_a_smaller_edge_map_has_an_edge_where_any_covered_pixel_has_one(
    seed: int, height: int, width: int, to_height: int, to_width: int
) -> None:
    to_height, to_width = min(height, to_height), min(width, to_width)
    edges = (np.random.default_rng(seed).random((height, width)) < 0.05).astype(np.uint8) * 255
    small = resize_edges(edges, (to_width, to_height))
    assert small.shape == (to_height, to_width)
    for i in range(to_height):
        for j in range(to_width):
            rows = slice(i * height // to_height, (i + 1) * height // to_height)
            columns = slice(j * width // to_width, (j + 1) * width // to_width)
            assert small[i, j] == edges[rows, columns].max()


def test_a_thin_line_survives_a_strong_reduction_unbroken() -> None:
    edges = np.zeros((600, 900), np.uint8)
    edges[np.arange(600), np.arange(600)] = 255
    small = resize_edges(edges, (90, 60)) > 0
    assert small[np.arange(60), np.arange(60)].all() and small.sum() == 60
    nearest = np.asarray(Image.fromarray(edges).resize((90, 60), Image.Resampling.NEAREST))
    assert nearest.any() <= small.any()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_resized_label_maps_hold_no_new_ids(kind: type[np.integer]) -> None:
    labels = np.random.default_rng(1).choice(np.array([0, 3, 7, np.iinfo(kind).max], kind), (37, 53))
    image = Image.open(io.BytesIO(png(labels)))
    assert np.array_equal(np.asarray(image), labels)
    small = np.asarray(resize_labels(image, (20, 11)))
    assert small.shape == (11, 20) and set(np.unique(small)) <= set(np.unique(labels))
    assert resize_labels(image, image.size) is image


@pytest.mark.parametrize(("classes", "kind"), [(1, np.uint8), (256, np.uint8), (257, np.uint16)])
def test_ids_take_sixteen_bits_only_when_they_must(classes: int, kind: type) -> None:
    table = ClassTable(classes=[LabelClass(id=id, name=str(id)) for id in range(classes)])
    top = np.full((2, 3), classes - 1)
    assert narrowed(top, table).dtype == kind and (narrowed(top, table) == top).all()


@pytest.mark.parametrize("drawn", [False, True])
def test_objects_are_lost_also_where_an_image_lost_all_of_them(
    bucket: Any, tmp_path: Path, make_mask: Callable[..., bytes], drawn: bool
) -> None:
    for id in ("0a", "0b", "1c", "2d"):
        bucket.add(id)
    bucket.add_mask("0a", "/m/cat", "b1", make_mask((10, 10, 50, 40)))
    bucket.add_mask("0a", "/m/cat", "b2", None)
    bucket.add_mask("0b", "/m/dog", "b3", None)
    bucket.add_mask("0b", "/m/dog", "b4", b"\x89PNG\r\n\x1a\n no")
    bucket.add_mask("1c", "/m/dog", "b5", None)
    source = mirror(bucket.write())
    rest: Any = {"watch": "x", "subset": Subset(), "maximum_megabytes": 64, "maximum_megapixels": 1}
    config = DatasetConfig(
        source=source, selection=PlainSelection(minimum_side=1), shard_samples=2, maximum_missing=0.0, **rest
    )
    with Fetcher() as fetcher:
        raw = download("photos", config, OpenImages(source, fetcher, tmp_path), tmp_path / "raw")
    labels = OpenImagesLabels(raw / "annotations", manifest.read_rows(raw / "manifest.json", RawItem, "items"))
    network: Segmentation | None = Plain(labels.table) if drawn else None
    out = write_semantics("photos", raw, labels, tmp_path / "semantics", network)
    found = manifest.read(out / "manifest.json", LabelManifest)
    other = "pseudo-labelled" if drawn else "unlabelled"
    assert found.counts == {"labelled": 1, other: 3, "objects": 1, "lost": 4}
    assert [(item.key, item.outcome, item.lost) for item in found.items] == [
        *[("0a", "labelled", 1), ("0b", other, 2), ("1c", other, 1), ("2d", other, 0)]
    ]


def test_label_ids_are_the_same_whichever_splits_are_fetched(
    bucket: Any, tmp_path: Path, make_mask: Callable[..., bytes]
) -> None:
    """Training images show dogs alone, and cats come first in the class list."""
    bucket.add("0a")
    bucket.add_mask("0a", "/m/dog", "b1", make_mask((10, 10, 50, 40)))
    bucket.add("1b", subset="validation")
    bucket.add_mask("1b", "/m/cat", "b2", make_mask((0, 0, 9, 9)), subset="validation")
    source = mirror(bucket.write())
    made = []
    for name, subset in (("all", Subset()), ("train", Subset(val=0))):
        rest: Any = {"watch": "x", "subset": subset, "maximum_megabytes": 64, "maximum_megapixels": 1}
        config = DatasetConfig(
            source=source, selection=PlainSelection(minimum_side=1), shard_samples=2, maximum_missing=0.0, **rest
        )
        with Fetcher() as fetcher:
            raw = download("photos", config, OpenImages(source, fetcher, tmp_path / name), tmp_path / name / "raw")
        labels = OpenImagesLabels(raw / "annotations", manifest.read_rows(raw / "manifest.json", RawItem, "items"))
        out = write_semantics("photos", raw, labels, tmp_path / name / "semantics")
        made.append([(out / file).read_bytes() for file in ("classes.json", "part-000000.tar")])
        assert manifest.read(out / "manifest.json", LabelManifest).counts["labelled"] == (2 if name == "all" else 1)
    assert made[0] == made[1]
