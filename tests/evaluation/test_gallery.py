"""Which pictures are shown, and how they are embedded."""

import base64
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gencomp.evaluation.entry import Entry
from gencomp.evaluation.gallery import (
    Candidates,
    Picture,
    Scene,
    Source,
    candidates,
    extremes_first,
    gather,
    make_scene,
    webp,
)
from gencomp.evaluation.held_out import HeldOutImage, HeldOutSample
from gencomp.evaluation.label_picture import OUTLINE, label_picture
from gencomp.evaluation.metrics import METRICS
from gencomp.evaluation.rates import RateRow

LPIPS = METRICS["lpips_alex"]


def pixels(seed: int) -> NDArray[np.uint8]:
    """A picture that WebP cannot make small."""
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)


def row(key: str, lpips: float | None, codec: str = "gc", size: int = 100, setting: str = "1") -> RateRow:
    return RateRow(key, codec, setting, 64, 48, size, None, None, 20.0, None, lpips)


KEYS = [f"p{number}" for number in range(7)]
ROWS = {key: row(key, lpips) for key, lpips in zip(KEYS, (0.3, 0.1, 0.7, 0.5, 0.2, 0.6, 0.4), strict=True)}
ENTRY = Entry("gc", "gc", "model-0", "", ROWS)
ANCHORS = [row(key, 0.8, "jpeg", size) for key in KEYS for size in (50, 90, 400)]


def source(selective: bool = False) -> Source:
    samples = [HeldOutSample(HeldOutImage(key, pixels(n)), np.zeros((48, 64), np.uint8)) for n, key in enumerate(KEYS)]
    return Source(
        samples,
        decoded=lambda entry, key: pixels(100 + KEYS.index(key)),
        anchor=lambda row: None if row.key == "p0" else pixels(200 + KEYS.index(row.key)),
        given=lambda sample: sample.image.pixels,
        selective=["gc"] if selective else [],
    )


def scenes(budget: int, *, selective: bool = False) -> list[Scene]:
    return gather([candidates([ENTRY], ANCHORS, source(selective), LPIPS, budget)], budget)[0]


def test_extremes_come_first_and_pictures_without_a_figure_last() -> None:
    rows = {**ROWS, "none": row("none", None)}
    assert extremes_first(rows, LPIPS) == ["p2", "p1", "p5", "p4", "p3", "p0", "p6", "none"]
    assert extremes_first(ROWS, METRICS["psnr"])[0] == "p0"  # equal figures: in the order of their names


def test_all_are_shown_in_their_order_where_they_fit() -> None:
    found = scenes(10**7)
    assert [scene.key for scene in found] == KEYS
    assert [picture.name for picture in found[1].pictures] == ["original", "gc", "jpeg-1"]
    assert found[1].pictures[2].row == ANCHORS[4]  # of 90 bytes, the largest one within the model's
    assert [picture.name for picture in found[0].pictures] == ["original", "gc"]  # JPEG's could not be decoded


def test_the_worst_and_the_best_are_shown_where_not_all_fit_and_one_always() -> None:
    one = scenes(1)
    assert [scene.key for scene in one] == ["p2"]
    found = scenes(3 * one[0].embedded + 100)
    assert [scene.key for scene in found] == ["p1", "p2", "p5"]
    assert sum(scene.embedded for scene in found) <= 3 * one[0].embedded + 100


MANY = [f"k{number:02}" for number in range(24)]
SCORES = {key: number * 7 % 24 / 24 for number, key in enumerate(MANY)}
"""LPIPS of each, all different, in no order."""


def many(budget: int) -> Candidates:
    """As many as Kodak's, beside six codecs, at two rates: pictures that take the same bytes each."""
    entries = [
        Entry(name, "gc", "model-0", name, {key: row(key, SCORES[key], size=size, setting=name) for key in MANY})
        for name, size in (("low", 100), ("high", 200))
    ]
    codecs = ("jpeg", "webp", "jpeg2000", "avif", "bpg", "mbt2018")
    anchors = [row(key, 0.8, codec, size) for codec in codecs for key in MANY for size in (90, 190)]
    dull = pixels(0) // 8
    found = Source([HeldOutSample(HeldOutImage(key, dull)) for key in MANY], lambda *_: dull, lambda _: dull)
    return candidates(entries, anchors, found, LPIPS, budget)


@pytest.fixture(scope="module")
def one() -> int:
    """Bytes of one of these pictures on a page."""
    return len(next(iter(many(1).scenes.values())).pictures[0].source)


@pytest.mark.parametrize("left", [1, 2, 4, 5, 6])
def test_codecs_give_way_until_the_ten_worst_and_the_ten_best_fit(left: int, one: int) -> None:
    views = 1 + 2 + 2 * left
    budget = 20 * views * one + one
    (found,) = gather([many(budget)], budget)
    assert len(found) == 20 and sum(scene.embedded for scene in found) == 20 * views * one
    by_score = sorted(MANY, key=SCORES.__getitem__)
    assert {scene.key for scene in found} == {*by_score[:10], *by_score[-10:]}
    assert [scene.key for scene in found] == sorted(scene.key for scene in found)
    kept = ("bpg", "avif", "jpeg", "webp", "jpeg2000", "mbt2018")[:left]
    for scene in found:
        names = [picture.name for picture in scene.pictures]
        assert names[:3] == ["original", "low", "high"]
        assert {picture.codec for picture in scene.anchors} == set(kept)


def test_one_codec_stays_where_even_so_not_all_fit(one: int) -> None:
    (found,) = gather([many(9 * 5 * one)], 9 * 5 * one)
    assert [len(scene.pictures) for scene in found] == [5] * 9
    assert {picture.codec for scene in found for picture in scene.anchors} == {"bpg"}


def test_sets_share_the_room_by_what_they_need_and_take_turns_where_it_ends(one: int) -> None:
    small = Candidates(["a"], {"a": Scene("a", 1, 1, [Picture("original", "Original", "x")])})
    budget = 24 * 5 * one + 1
    found = gather([many(budget), small], budget)
    assert [len(scenes) for scenes in found] == [24, 1]
    assert {len(scene.pictures) for scene in found[0]} == {5}
    budget = 15 * 5 * one
    found = gather([many(budget)] * 2, budget)
    assert [len(scenes) for scenes in found] == [8, 7]
    assert [len(scenes) for scenes in gather([many(1)] * 2, 1)] == [1, 1]


def test_what_selective_compression_was_given_is_shown_beside_it_alone() -> None:
    given = scenes(10**7, selective=True)[1].pictures[2]
    assert (given.name, given.when, given.row) == ("given", ["gc"], None)


def test_a_label_picture_keeps_the_region_outlines_it_and_tells_classes_apart() -> None:
    x, labels, mask = pixels(1), np.zeros((48, 64), np.uint16), np.zeros((48, 64), np.bool_)
    labels[:, 32:], mask[10:20, 10:20] = 300, True
    drawn = label_picture(x, labels, mask)
    assert (drawn[mask] == x[mask]).all()
    assert (drawn[9, 10:20] == OUTLINE).all() and (drawn[10:20, 20] == OUTLINE).all()
    assert len(np.unique(drawn[30:, :32].reshape(-1, 3), axis=0)) == 1
    assert (drawn[40, 0] != drawn[40, 63]).any()


def test_a_large_gallery_is_embedded_smaller_than_without_loss() -> None:
    from skimage import data

    coffee = np.asarray(data.coffee())
    assert len(webp(coffee, lossless=False)) < len(webp(coffee, lossless=True)) / 2


@pytest.mark.parametrize(
    ("size", "most", "shown"),
    [
        ((16_384, 8), 12_000_000, (16_383, 8)),
        ((40, 20_000), 12_000_000, (33, 16_383)),
        ((64, 48), 64 * 48 // 4, (32, 24)),
        ((64, 48), 64 * 48, (64, 48)),
    ],
)
def test_pictures_too_large_for_webp_or_for_the_page_are_embedded_reduced_all_alike(
    size: tuple[int, int], most: int, shown: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gencomp.evaluation.gallery.MOST_PIXELS", most)
    x = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    one = row("large", 0.1)._replace(width=size[0], height=size[1])
    found = make_scene(
        HeldOutSample(HeldOutImage("large", x)),
        [Entry("gc", "gc", "model-0", "", {"large": one})],
        [(one._replace(codec="jpeg"), {"gc": False})],
        Source([], lambda *_: x, lambda _: x),
        lossless=False,
    )
    assert (found.width, found.height) == size
    assert found.scale == pytest.approx(shown[0] / size[0], rel=0.02) and (found.scale == 1) == (shown == size)
    assert len(found.pictures) == 3
    for picture in found.pictures:
        with Image.open(io.BytesIO(base64.b64decode(picture.source.partition(",")[2]))) as image:
            assert (image.format, image.size) == ("WEBP", shown)
