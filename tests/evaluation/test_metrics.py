"""The metrics against independent implementations and published values, and what measures them."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.ndimage import correlate1d  # type: ignore[import-untyped]
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from gencomp.evaluation import distribution, segmentation
from gencomp.evaluation.cache import ROOT, Cache, ResultCache, code_digest, digest, picture_digest
from gencomp.evaluation.metrics import METRICS, Figures, Measurer, Original, ms_ssim, psnr, records
from gencomp.evaluation.rates import METRIC_NAMES, ChosenMetric, MetricName
from gencomp.models.dists import load_dists
from gencomp.models.lpips import load_lpips
from gencomp.weights.cache import weights_path
from gencomp.weights.failure import MissingWeightsError
from tests.import_closure import closure

EXAMPLE = Path(__file__).parents[3] / "shared" / "weights" / "lpips_example"
"""The images of LPIPS' own repository, where they lie beside the checkout."""
WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
SIZES = [(176, 176), (177, 241), (300, 451)]


def photograph(height: int, width: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(data.coffee()).resize((width, height)))


def noisy(x: NDArray[np.uint8], spread: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(spread).integers(-spread, spread + 1, x.shape)
    return np.clip(x + noise, 0, 255).astype(np.uint8)


def blurred(x: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(x).filter(ImageFilter.GaussianBlur(3)))


def reference_ms_ssim(x: NDArray[np.uint8], y: NDArray[np.uint8], *, border: bool) -> float:
    """Wang, Simoncelli and Bovik (2003) in double precision, on the part of each scale that the window fully covers.

    With `border`, the coarsest scale is averaged over all of its positions, mirrored at the edges, as in torchmetrics.
    """
    a, b = x.astype(np.float64), y.astype(np.float64)
    terms = []
    for scale in range(5):
        luminance, structure = _similarity(a, b, cropped=not (border and scale == 4))
        terms.append(max((luminance * structure).mean() if scale == 4 else structure.mean(), 0))
        a, b = _halved(a), _halved(b)
    return float(np.prod(np.array(terms) ** WEIGHTS))


def _similarity(
    a: NDArray[np.float64], b: NDArray[np.float64], cropped: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b, square_a, square_b, product = (_smoothed(z, cropped) for z in (a, b, a * a, b * b, a * b))
    variance_a, variance_b, covariance = square_a - mean_a**2, square_b - mean_b**2, product - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance, (2 * covariance + c2) / (variance_a + variance_b + c2)


def _smoothed(a: NDArray[np.float64], cropped: bool) -> NDArray[np.float64]:
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window /= window.sum()
    smooth = correlate1d(correlate1d(a, window, axis=0, mode="mirror"), window, axis=1, mode="mirror")
    return smooth[5:-5, 5:-5] if cropped else smooth


def _halved(a: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width = a.shape[0] // 2 * 2, a.shape[1] // 2 * 2
    a = a[:height, :width]
    return (a[::2, ::2] + a[1::2, ::2] + a[::2, 1::2] + a[1::2, 1::2]) / 4


@pytest.mark.parametrize("size", [(1, 1), (7, 33), *SIZES])
def test_psnr_is_that_of_scikit_image(size: tuple[int, int]) -> None:
    x = photograph(*size)
    for y in (noisy(x, 3), noisy(x, 80), 255 - x):
        assert psnr(x, y) == pytest.approx(peak_signal_noise_ratio(x, y, data_range=255), abs=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_ms_ssim_is_that_of_an_independent_implementation(size: tuple[int, int]) -> None:
    x = photograph(*size)
    for y in (noisy(x, 5), noisy(x, 90), blurred(x), np.full_like(x, 128)):
        assert ms_ssim(x, y) == pytest.approx(reference_ms_ssim(x, y, border=True), abs=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_ms_ssim_is_that_of_torchmetrics(size: tuple[int, int]) -> None:
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as theirs

    x = photograph(*size)
    for y in (noisy(x, 5), noisy(x, 90), blurred(x)):
        a, b = (torch.from_numpy(z.copy()).permute(2, 0, 1)[None].double() for z in (x, y))
        assert ms_ssim(x, y) == pytest.approx(theirs(a, b, data_range=255.0).item(), abs=1e-7)


def test_ms_ssim_is_exact_where_most_of_a_picture_is_white() -> None:
    x = photograph(300, 451)
    x = np.where(np.arange(300)[:, None, None] < 200, 255, x).astype(np.uint8)
    y = noisy(x, 2)
    assert ms_ssim(x, y) == pytest.approx(reference_ms_ssim(x, y, border=True), abs=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_ms_ssim_is_within_a_hundredth_of_the_published_definition(size: tuple[int, int]) -> None:
    x = photograph(*size)
    for y in (noisy(x, 5), noisy(x, 90), blurred(x)):
        assert ms_ssim(x, y) == pytest.approx(reference_ms_ssim(x, y, border=False), abs=0.01)


def test_identical_pictures_have_the_highest_values() -> None:
    x = photograph(177, 241)
    assert psnr(x, x) == 99.0
    assert ms_ssim(x, x) == pytest.approx(1.0, abs=1e-6)


def test_one_wrong_value_in_a_large_picture_is_still_told_from_none() -> None:
    x = np.zeros((2000, 2000, 3), np.uint8)
    y = x.copy()
    y[0, 0, 0] = 1
    assert psnr(x, y) == 99.0  # 119 dB, above what is ever reported
    y[0, 0, 0] = 255
    assert psnr(x, y) == pytest.approx(10 * np.log10(x.size))


@pytest.mark.parametrize("size", [(160, 400), (400, 160), (1, 1)])
def test_a_picture_too_small_for_five_scales_has_no_ms_ssim(size: tuple[int, int]) -> None:
    x = photograph(*size)
    assert ms_ssim(x, noisy(x, 9)) is None


@pytest.mark.parametrize("size", [(161, 256), (256, 170), (175, 175)])
def test_a_picture_a_little_too_small_is_continued_by_its_mirror_image(size: tuple[int, int]) -> None:
    x = photograph(*size)
    y = noisy(x, 20)
    missing = [(0, max(176 - side, 0)) for side in size]
    padded = [np.pad(z, (*missing, (0, 0)), mode="reflect") for z in (x, y)]
    assert ms_ssim(x, y) == pytest.approx(reference_ms_ssim(*padded, border=True), abs=1e-9)


def test_pictures_of_two_sizes_are_refused_with_their_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(8, 9, 3\) and \(9, 8, 3\)"):
        psnr(photograph(8, 9), photograph(9, 8))
    with pytest.raises(ValueError, match=r"\(8, 9\)"):
        ms_ssim(photograph(8, 9)[..., 0], photograph(8, 9)[..., 0])


def weighed(names: Sequence[ChosenMetric], cache: Cache | None = None) -> Measurer:
    try:
        return Measurer(names, cache)
    except MissingWeightsError as error:
        pytest.skip(str(error))


def test_every_column_of_the_table_of_rates_is_a_metric() -> None:
    assert tuple(METRICS) == METRIC_NAMES == Figures._fields
    assert all(metric.protocol and metric.title for metric in METRICS.values())


@pytest.mark.parametrize(("metric", "distances"), [("lpips_alex", (0.722, 0.138)), ("lpips_vgg", (0.569, 0.422))])
def test_the_official_example_of_lpips_has_its_published_distances(
    metric: MetricName, distances: tuple[float, float]
) -> None:
    measurer = weighed([metric])
    if not EXAMPLE.is_dir():
        pytest.skip("the example images of LPIPS are not here")
    reference, *distorted = (
        np.asarray(Image.open(EXAMPLE / f"ex_{name}.png").convert("RGB")) for name in ("ref", "p0", "p1")
    )
    original = measurer.beside(reference)
    found = [getattr(original(y), metric) for y in distorted]
    assert found == pytest.approx(distances, abs=0.00051)  # all that their three digits leave open


def test_the_learned_metrics_are_those_of_their_networks_and_only_those_asked_for_are_there() -> None:
    x = photograph(70, 90)
    y = blurred(x)
    figures = weighed(["dists", "lpips_vgg"])(x, y)
    a, b = (torch.from_numpy(z.copy()).permute(2, 0, 1)[None] / 127.5 - 1 for z in (x, y))
    networks = {
        "dists": load_dists(weights_path("dists"), weights_path("lpips-vgg")),
        "lpips_vgg": load_lpips(weights_path("lpips-vgg"), "vgg"),
    }
    for name, network in networks.items():
        assert getattr(figures, name) == pytest.approx(network(a, b).item(), abs=1e-6)
    assert (figures.psnr, figures.ms_ssim, figures.lpips_alex) == (psnr(x, y), None, None)


def test_the_block_that_two_metrics_share_is_that_of_the_picture_at_hand() -> None:
    """Several pictures in turn, by two threads, as by each metric alone."""
    x = photograph(64, 96)
    pictures = [noisy(x, spread) for spread in (5, 20, 60)] * 2
    alone: dict[MetricName, Original] = {
        "lpips_vgg": weighed(["lpips_vgg"]).beside(x),
        "dists": weighed(["dists"]).beside(x),
    }
    together = weighed(["lpips_vgg", "dists"]).beside(x)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(together, pictures))
    for name, original in alone.items():
        assert [getattr(figures, name) for figures in found] == [getattr(original(y), name) for y in pictures]
    assert len({figures.dists for figures in found}) == 3


@pytest.mark.parametrize(
    ("metric", "smallest"), [("lpips_alex", 32), ("lpips_vgg", 32), ("dists", 16), ("ssimulacra2", 8)]
)
def test_a_learned_metric_leaves_out_what_is_too_small_for_it(metric: MetricName, smallest: int) -> None:
    measurer = weighed([metric])
    for side, there in ((smallest - 1, False), (smallest, True)):
        x = photograph(40, side)
        assert (getattr(measurer(x, noisy(x, 30)), metric) is not None) == there


def test_figures_of_the_package_that_once_computed_ssimulacra2_are_not_taken_out_of_a_cache(tmp_path: Path) -> None:
    x = photograph(120, 90)
    y = blurred(x)
    cache = ResultCache(tmp_path)
    Measurer(["psnr"], cache)(x, y)
    [entry] = [path for path in tmp_path.rglob("*") if path.is_file()]
    protocol = "the ssimulacra2 package, full size, 8-bit sRGB; pictures under 8 pixels left out"
    of_package = {digest("ssimulacra2", protocol, "0.3.0"): 12.5}
    entry.write_text(json.dumps(json.loads(entry.read_bytes()) | of_package))
    original = Measurer(["ssimulacra2"], cache).beside(x)
    assert original.known(picture_digest(y)) is None
    assert original(y).ssimulacra2 == Measurer(["ssimulacra2"])(x, y).ssimulacra2 != 12.5


def test_what_is_missing_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENCOMP_WEIGHTS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="gencomp weights fetch lpips-alex.* out of evaluation.metrics"):
        Measurer(["lpips_alex"])


def test_a_cache_answers_for_what_was_measured_and_no_more(tmp_path: Path) -> None:
    x = photograph(180, 190)
    y = noisy(x, 9)
    cache = ResultCache(tmp_path)
    first = Measurer(["psnr"], cache).beside(x)(y)
    [entry] = [path for path in tmp_path.rglob("*") if path.is_file()]
    entry.write_bytes(entry.read_bytes().replace(str(first.psnr).encode(), b"12.5"))
    original = Measurer(["psnr", "ms_ssim"], cache).beside(x)
    assert original.known(picture_digest(y)) is None  # it has no MS-SSIM
    both = original(y)
    assert both.psnr == 12.5 and both.ms_ssim == ms_ssim(x, y)
    assert original.known(picture_digest(y)) == both
    assert original.known(picture_digest(x)) is None
    entry.write_bytes(b"damaged")
    assert original(y).psnr == psnr(x, y)


def test_a_figure_is_not_taken_out_of_a_cache_when_the_code_that_computes_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_code_again: None
) -> None:
    copy = tmp_path / "gencomp"
    for file in {"evaluation/metrics.py", *METRICS["psnr"].code, *METRICS["ms_ssim"].code}:
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        (copy / file).write_bytes((ROOT / file).read_bytes())
    monkeypatch.setattr("gencomp.evaluation.cache.ROOT", copy)
    x, cache = photograph(180, 190), ResultCache(tmp_path / "results")
    y, names = noisy(x, 9), ["psnr", "ms_ssim"]
    Measurer(names, cache)(x, y)
    with (copy / "evaluation/ms_ssim.py").open("a") as file:
        file.write("# other code\n")
    code_digest.cache_clear()
    assert Measurer(["psnr"], cache).beside(x).known(picture_digest(y)) is not None
    assert Measurer(names, cache).beside(x).known(picture_digest(y)) is None
    again = Measurer(names, cache)
    again(x, y)
    assert again.beside(x).known(picture_digest(y)) is not None
    monkeypatch.setattr(torch, "__version__", "0.1")
    assert Measurer(["psnr"], cache).beside(x).known(picture_digest(y)) is None


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        *((metric.code[0], metric.code) for metric in METRICS.values() if metric.code),
        ("models/inception.py", distribution.CODE),
        ("models/espnet.py", segmentation.CODE),
    ],
)
def test_all_source_files_that_compute_a_figure_are_in_its_identity(entry: str, code: tuple[str, ...]) -> None:
    assert all((ROOT / file).is_file() for file in code)
    needed = {file.removeprefix("gencomp/") for file in closure(f"gencomp/{entry}")}
    by_content = {file for file in needed if file.startswith("weights/")}
    others = {"models/dists.py", "models/features.py"} if code == METRICS["lpips_alex"].code else set()
    assert needed - by_content - others <= {*code}


def test_records_say_how_each_metric_was_computed_and_with_which_weights() -> None:
    found = records(["lpips_vgg", "kid", "dists"])
    assert list(found) == ["psnr", "lpips_vgg", "dists", "kid", "fid"]
    assert set(found["dists"].weights) == {"dists", "lpips-vgg"}
    assert all(len(sha) == 64 for record in found.values() for sha in record.weights.values())
    assert found["fid"].protocol == found["kid"].protocol and "10,000" in found["fid"].protocol
    assert records(["ssimulacra2"])["ssimulacra2"].version == "2.1"
    assert len({metric.identity for metric in METRICS.values()}) == len(METRICS)
