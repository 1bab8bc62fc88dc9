"""SSIMULACRA2 against scores of the original program, and a plain implementation of its definition in float64."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from gencomp.evaluation.ssimulacra2 import WEIGHTS, prepare

EXAMPLE = Path(__file__).parents[3] / "shared" / "ssimulacra2_example"
"""`source.png` and JPEGs of it, where they lie beside the checkout: those of test_data/jpeg_quality in
github.com/imazen/ssimulacra2."""
OPSIN = np.array(
    [
        [0.3, 0.622, 0.078],
        [0.23, 0.692, 0.078],
        [0.24342268924547819, 0.20476744424496821, 0.55180986650955360],
    ]
)
BIAS = 0.0037930732552754493
C2 = 0.0009
BETAS = (0.17893914, 0.07272614, 0.01295582)
"""Of the recursive Gaussian of radius 5 and sigma 1.5, for its frequencies pi / 10, 3 pi / 10 and 5 pi / 10."""
SIZES = [(300, 260), (301, 151), (64, 50), (33, 8), (9, 8)]
"""Width and height: six scales and fewer, even and odd, down to the smallest."""

Pixels = NDArray[np.uint8]
Planes = NDArray[np.float64]
"""(H, W, 3)."""


def reference(x: Pixels, y: Pixels) -> float:
    """Three maps at six scales in three planes of XYB, each by its mean and by its 4-norm: 108 numbers, weighed."""
    from ssimulacra2.ssimulacra2 import weights

    a, b = _linear(x), _linear(y)
    found: list[list[list[Planes]]] = []
    while len(found) < 6:
        p, q = _xyb(a), _xyb(b)
        mean_p, mean_q = _blurred(p), _blurred(q)
        variances = _blurred(p * p) - mean_p**2 + _blurred(q * q) - mean_q**2
        covariance = _blurred(p * q) - mean_p * mean_q
        structure = 1 - (1 - (mean_p - mean_q) ** 2) * (2 * covariance + C2) / (variances + C2)
        edges = (1 + abs(q - mean_q)) / (1 + abs(p - mean_p)) - 1
        maps = [np.maximum(each, 0) for each in (structure, edges, -edges)]
        found.append([[each.mean((0, 1)) for each in maps], [(each**4).mean((0, 1)) ** 0.25 for each in maps]])
        if min(a.shape[:2]) < 8:
            break
        a, b = _halved(a), _halved(b)
    figures = np.array(found).transpose(3, 0, 1, 2).ravel()  # plane, scale, norm, map
    total = 0.9562382616834844 * float(figures @ weights[: len(figures)])
    total = 2.326765642916932 * total - 0.020884521182843837 * total**2 + 6.248496625763138e-05 * total**3
    return 100 - 10 * total**0.6276336467831387 if total > 0 else 100.0


def _blurred(a: Planes) -> Planes:
    """The recursion of the original, with zeros outside, down the rows and then along them."""
    down = np.array(_recursed(a))
    return np.array(_recursed(down.swapaxes(0, 1))).swapaxes(0, 1)


def _recursed(a: Planes) -> list[Planes]:
    padded = np.pad(a, ((10, 10), (0, 0), (0, 0)))
    omegas = np.array([1, 3, 5]) * np.pi / 10
    gains = -np.array(BETAS) * np.cos(6 * omegas)
    before = last = np.zeros((3, *a.shape[1:]))
    result = []
    for n in range(-4, len(a)):
        both = padded[n + 4] + padded[n + 14]  # 6 before n and 4 after it
        now = np.multiply.outer(gains, both) + np.einsum("k,k...->k...", 2 * np.cos(omegas), last) - before
        before, last = last, now
        result.append(now.sum(0))
    return result[4:]


def _linear(x: Pixels) -> Planes:
    value = x / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _xyb(linear: Planes) -> Planes:
    long, middle, short = np.moveaxis(np.cbrt(linear @ OPSIN.T + BIAS) - np.cbrt(BIAS), 2, 0)
    x, y = (long - middle) / 2, (long + middle) / 2
    return np.stack([14 * x + 0.42, y + 0.01, short - y + 0.55], 2)


def _halved(a: Planes) -> Planes:
    a = np.pad(a, ((0, a.shape[0] % 2), (0, a.shape[1] % 2), (0, 0)), mode="edge")
    return (a[::2, ::2] + a[1::2, ::2] + a[::2, 1::2] + a[1::2, 1::2]) / 4


def score(x: Pixels, y: Pixels) -> float:
    found = prepare(x)(y)
    assert found is not None
    return found


def photograph(width: int, height: int) -> Pixels:
    return np.asarray(Image.fromarray(data.coffee()).resize((width, height)))


def through_jpeg(x: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(x).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def flat(value: int, side: int = 64) -> Pixels:
    return np.full((side, side, 3), value, np.uint8)


def ramp() -> Pixels:
    return np.repeat(np.tile(np.arange(64) * 255 // 63, (64, 1))[..., None], 3, 2).astype(np.uint8)


def edge() -> Pixels:
    return np.repeat(np.tile(np.repeat([0, 255], 32), (64, 1))[..., None], 3, 2).astype(np.uint8)


def noise(seed: int) -> Pixels:
    """By a linear congruential generator of 64 bits."""
    values = []
    for _ in range(64 * 64 * 3):
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append(seed >> 33 & 255)
    return np.array(values, np.uint8).reshape(64, 64, 3)


def sharpened(x: Pixels) -> Pixels:
    p = np.pad(x.astype(int), ((1, 1), (1, 1), (0, 0)), mode="edge")
    around = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:]
    return np.clip(5 * p[1:-1, 1:-1] - around, 0, 255).astype(np.uint8)


def averaged(x: Pixels) -> Pixels:
    """Over 8 x 8, of which 4 are before the pixel."""
    p = np.pad(x.astype(int), ((4, 3), (4, 3), (0, 0)), mode="edge")
    h, w = x.shape[:2]
    return (sum(p[i : i + h, j : j + w] for i in range(8) for j in range(8)) // 64).astype(np.uint8)


@pytest.mark.parametrize(
    ("x", "y", "published", "within"),
    [
        (noise(42), flat(128), -47.33572558, 0.003),
        (noise(999), sharpened(noise(999)), -5.81017556, 0.003),
        (ramp(), flat(128), -64.56872148, 0.003),
        (edge(), averaged(edge()), 24.27333552, 0.06),
        (ramp(), averaged(ramp()), 94.34090315, 0.3),
        (flat(128), flat(178), -8.75942256, 0.06),
        (flat(128, 128), flat(178, 128), -9.82383315, 0.06),
        (flat(128, 256), flat(178, 256), -0.39085784, 0.06),
        (flat(128), flat(148), 56.05855584, 0.15),
        (flat(128, 32), flat(178, 32), 85.01409588, 0.5),
    ],
)
def test_the_original_program_finds_the_same(x: Pixels, y: Pixels, published: float, within: float) -> None:
    """Scores of libjxl's `ssimulacra2` for pictures by rule (src/reference_data.rs of github.com/imazen/ssimulacra2).

    Its recursion in float32 makes variance of nothing, which tells where pictures are flat.
    """
    assert score(x, y) == pytest.approx(published, abs=within)


@pytest.mark.skipif(not EXAMPLE.is_dir(), reason=f"needs the pictures in {EXAMPLE}")
@pytest.mark.parametrize(
    ("quality", "published", "within"),
    [(20, 57.14559032, 0.06), (45, 68.62747595, 0.06), (70, 79.38805044, 0.12), (90, 90.85152474, 0.25)],
)
def test_the_original_program_finds_the_same_of_a_photograph(quality: int, published: float, within: float) -> None:
    x, y = (np.asarray(Image.open(EXAMPLE / name).convert("RGB")) for name in ("source.png", f"q{quality}.jpg"))
    assert score(x, y) == pytest.approx(published, abs=within)


@pytest.mark.parametrize("quality", [3, 30, 90])
@pytest.mark.parametrize("size", SIZES)
def test_float32_and_taps_change_nothing_that_is_shown(size: tuple[int, int], quality: int) -> None:
    x = photograph(*size)
    y = through_jpeg(x, quality)
    assert score(x, y) == pytest.approx(reference(x, y), abs=0.002)


@pytest.mark.parametrize("change", [lambda x: 255 - x, lambda x: x // 64 * 64, lambda x: np.roll(x, 3, 1)])
def test_so_it_is_of_pictures_that_no_codec_makes(change: Callable[[Pixels], Pixels]) -> None:
    x = photograph(140, 90)
    assert score(x, change(x)) == pytest.approx(reference(x, change(x)), abs=0.002)


def test_grey_pictures_are_measured_as_any() -> None:
    x = np.repeat(data.camera()[:120, :200, None], 3, 2)
    y = through_jpeg(x, 20)
    assert score(x, y) == pytest.approx(reference(x, y), abs=0.002)


@pytest.mark.parametrize("x", [photograph(*size) for size in SIZES] + [flat(0), flat(255), noise(1)])
def test_equal_pictures_have_100(x: Pixels) -> None:
    assert score(x, x) == 100


@pytest.mark.parametrize("turned", [lambda x: x[::-1], lambda x: x[:, ::-1], lambda x: x.swapaxes(0, 1)])
def test_all_borders_are_alike(turned: Callable[[Pixels], Pixels]) -> None:
    """Sides are multiples of 32: else the odd row that counts twice is another."""
    x = photograph(192, 128)
    y = through_jpeg(x, 5)
    assert score(turned(x), turned(y)) == pytest.approx(score(x, y), abs=0.002)


def test_better_files_score_higher() -> None:
    x = photograph(300, 200)
    scores = [score(x, through_jpeg(x, quality)) for quality in (3, 10, 30, 60, 90, 98)]
    assert scores == sorted(set(scores)) and scores[0] < 0 and 80 < scores[-1] < 100


@pytest.mark.parametrize("size", [(7, 40), (40, 7), (1, 1)])
def test_pictures_under_8_pixels_have_no_score(size: tuple[int, int]) -> None:
    x = photograph(*size)
    assert prepare(x)(x) is None


def test_one_original_serves_many_reconstructions_in_threads() -> None:
    x = photograph(150, 100)
    pictures = [through_jpeg(x, quality) for quality in (5, 20, 60, 90)] * 3
    prepared = prepare(x)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(prepared, pictures)) == [score(x, y) for y in pictures]


def test_the_weights_are_those_of_the_package_too() -> None:
    from ssimulacra2.ssimulacra2 import weights

    assert [weight for plane in WEIGHTS.values() for weight in plane] == list(weights)


@pytest.mark.parametrize("quality", [90, 97])
def test_the_package_with_its_other_blur_is_near_where_pictures_are_good(quality: int) -> None:
    from ssimulacra2 import compute_ssimulacra2

    x = data.coffee()  # large enough for six scales, of which the package leaves out none
    y = through_jpeg(x, quality)
    files = [io.BytesIO(), io.BytesIO()]
    for file, picture in zip(files, (x, y), strict=True):
        Image.fromarray(picture).save(file, "PPM")
    assert score(x, y) == pytest.approx(compute_ssimulacra2(*files), abs=0.5)
