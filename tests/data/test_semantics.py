"""Label maps and edges keep their meaning, whatever their size."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gencomp.data.manifest import ClassTable, LabelClass
from gencomp.data.semantics import instance_edges, narrowed, png, resize_edges, resize_labels

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
