"""What the downstream benchmark takes as each codec's file, and how it judges what is seen in them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from benchmarks.downstream import LADDERS, LIMITS, ORIGINAL, Contestant, Ladder, labelled, largest, measure, rows
from gencomp.codec.codec import Codec
from gencomp.evaluation.classical import CODECS
from gencomp.evaluation.held_out import HeldOutError, HeldOutImage, HeldOutSample
from gencomp.evaluation.segmentation import Network
from gencomp.models.package import load_package

NESTED = Path(__file__).parents[1] / "codec" / "golden" / "nested" / "package"
COFFEE = np.asarray(Image.fromarray(data.coffee()).resize((96, 64)))


@given(st.integers(1, 200), st.integers(-1, 199))
def test_the_last_that_holds_is_found_in_few_steps(count: int, last: int) -> None:
    last = min(last, count - 1)
    asked: list[int] = []

    def holds(index: int) -> bool:
        asked.append(index)
        return index <= last

    assert largest(count, holds) == (None if last < 0 else last)
    assert len(asked) <= 3 + 2 * max(last, 1).bit_length() and max(asked) < count


@pytest.mark.parametrize("name", ["jpeg", "webp", "jpeg2000"])
def test_a_ladder_gives_the_largest_file_within_or_else_the_smallest(name: str) -> None:
    codec, settings = CODECS[name], LADDERS[name]
    sizes = [len(codec.encode(Image.fromarray(COFFEE), setting)) for setting in settings]
    ladder = Ladder(codec, COFFEE)
    size = sizes[len(sizes) // 2]
    found = ladder.within(size)
    assert found.fits and found.size <= size
    assert len(ladder.made) < 20
    step = max(index for index, made in ladder.made.items() if len(made) <= size)
    assert found.size == len(ladder.made[step]) and sizes[step + 1] > size
    low = ladder.within(sizes[0] - 1)
    assert (low.size, low.fits) == (sizes[0], False)


def bright(pixels: np.ndarray) -> np.ndarray:
    return (pixels.mean(2) > 128).astype(np.uint8)


def test_codecs_are_matched_to_the_first_model_and_the_originals_are_seen_as_they_are() -> None:
    codec = Codec.from_package(load_package(NESTED))
    network = Network("bright", "", ("dark", "bright"), bright)
    samples = [
        HeldOutSample(HeldOutImage(str(k), np.roll(COFFEE, k, 1)), bright(np.roll(COFFEE, k, 1))) for k in (0, 9)
    ]
    jpeg = CODECS["jpeg"]
    found = measure(iter(samples), 1, network, {"model": codec}, [jpeg])
    assert set(found) == {(ORIGINAL, 0.0), *((name, limit) for name in ("model", "JPEG") for limit in LIMITS)}
    table = {row.name: row for row in rows(found, ["model"], [jpeg])}
    assert table["originals: mIoU"].value == table["originals: pixel accuracy"].value == 1.0
    for limit in LIMITS:
        assert table[f"JPEG within {limit:g} bpp: rate"].note == "2 of 2 above"
        mean = np.mean(found["model", limit].rates)
        assert table[f"model within {limit:g} bpp: rate"].value == pytest.approx(mean)
        assert table[f"model within {limit:g} bpp: mIoU"].ratio == table[f"model within {limit:g} bpp: mIoU"].value
    assert len(measure(iter(samples), 2, network, {"model": codec}, [])[ORIGINAL, 0.0].rates) == 1


def contestant(*wrong: int) -> Contestant:
    """One that draws so many pixels of each picture wrong."""
    found = Contestant(2)
    truth = np.zeros((10, 10), np.uint8)
    truth[5:] = 1
    for count in wrong:
        drawn = truth.copy()
        drawn.ravel()[:count] = 1
        found.confusion.add(truth, drawn)
        found.rates.append(0.03)
    return found


def test_the_first_model_alone_is_judged_beside_bpg() -> None:
    bpg = CODECS["bpg"]
    entries = {(ORIGINAL, 0.0): contestant(0)}
    for limit, wrong in zip(LIMITS, (5, 20), strict=True):
        entries |= {("a", limit): contestant(wrong), ("b", limit): contestant(0), ("BPG", limit): contestant(10)}
    judged = {row.name: row.met for row in rows(entries, ["a", "b"], [bpg]) if row.bar}
    verdicts = zip(LIMITS, (True, False), strict=True)
    assert judged == {f"a within {limit:g} bpp: mIoU beside BPG": met for limit, met in verdicts}


def test_every_later_model_stands_beside_the_first_with_a_paired_interval() -> None:
    rng, names = np.random.default_rng(1), ["a", "b", "c"]
    hard = rng.integers(5, 40, 20)
    entries = {(ORIGINAL, 0.0): contestant(*[0] * 20)}
    for limit in LIMITS:
        entries |= {("a", limit): contestant(*hard), ("b", limit): contestant(*hard - 3)}
        entries |= {("c", limit): contestant(*rng.permutation(hard))}
    table = {row.name: row for row in rows(entries, names, [])}
    for limit in LIMITS:
        at = f"b within {limit:g} bpp: mIoU"
        beside, low, high = (table[f"{at} {words}"] for words in ("beside a", "less a's, low", "less a's, high"))
        assert beside.ratio == pytest.approx(table[at].value / table[f"a within {limit:g} bpp: mIoU"].value)
        assert beside.bar is None and f"a within {limit:g} bpp: mIoU beside a" not in table
        # What is hard is hard for both: the pairs tell of a difference that is less than a tenth of the spread.
        gain = table[at].value - table[f"a within {limit:g} bpp: mIoU"].value
        assert 0 < low.value < gain < high.value < 2 * gain
        apart = (table[f"c within {limit:g} bpp: mIoU less a's, {end}"].value for end in ("low", "high"))
        assert next(apart) < 0 < next(apart)


def test_pictures_need_their_label_maps(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    Image.fromarray(COFFEE).save(tmp_path / "pictures" / "a.png")
    with pytest.raises(HeldOutError, match="give --labels"):
        next(labelled(tmp_path / "pictures", None, "val"))
    with pytest.raises(HeldOutError, match=r"a\.png: no readable label map"):
        next(labelled(tmp_path / "pictures", tmp_path / "labels", "val"))
    (tmp_path / "labels").mkdir()
    Image.fromarray(bright(COFFEE)).save(tmp_path / "labels" / "a.png")
    sample = next(labelled(tmp_path / "pictures", tmp_path / "labels", "val"))
    assert sample.labels is not None and np.array_equal(sample.labels, bright(COFFEE))
