"""KID and FID are the published distances, on the published patches and features."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.linalg import sqrtm  # type: ignore[import-untyped]
from skimage import data

from gencomp.evaluation import distribution
from gencomp.evaluation.cache import ResultCache, picture_digest
from gencomp.evaluation.distribution import (
    Distance,
    PatchFeatures,
    SetFigures,
    SetRow,
    frechet_distance,
    kernel_distance,
    moments,
    patches_of,
    read_sets,
    resized,
    write_sets,
)
from gencomp.evaluation.rates import RatesError
from gencomp.weights.failure import MissingWeightsError

COUNTS = (3, 1, 5, 2)


def features(seed: int, width: int = 2048, counts: tuple[int, ...] = COUNTS) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    return [(random.random((count, width)) ** 2 + 0.1 * seed).astype(np.float32) for count in counts]


def real_features() -> PatchFeatures:
    try:
        return PatchFeatures()
    except MissingWeightsError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("size", "count"), [((512, 768), 6 + 2), ((512, 512), 4 + 1), ((300, 700), 2), ((255, 999), 0), ((256, 256), 1)]
)
def test_a_picture_has_the_patches_of_hific(size: tuple[int, int], count: int) -> None:
    x = np.arange(size[0] * size[1] * 3, dtype=np.uint32).astype(np.uint8).reshape(*size, 3)
    patches = patches_of(x)
    assert len(patches) == count
    assert all(patch.shape == (256, 256, 3) for patch in patches)
    if size == (512, 512):
        assert (patches[3] == x[256:, 256:]).all()
        assert (patches[4] == x[128:384, 128:384]).all()


def test_kid_over_all_patches_is_that_of_torchmetrics() -> None:
    from torchmetrics.image.kid import poly_mmd

    x, y = features(1), features(2)
    reference = poly_mmd(*(torch.from_numpy(np.concatenate(z)).double() for z in (x, y)))
    assert kernel_distance(x, y)[0] == pytest.approx(float(reference), rel=1e-6)
    assert kernel_distance(x, x)[0] < kernel_distance(x, y)[0]


def test_the_interval_of_kid_is_that_of_leaving_out_one_picture_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "ROWS", 4)  # blocks that do not end with a picture
    x, y = features(1, 40), features(2, 40)
    kid, low, high = kernel_distance(x, y)
    without = [kernel_distance(x[:n] + x[n + 1 :], y[:n] + y[n + 1 :])[0] for n in range(len(COUNTS))]
    error = np.sqrt(3 / 4 * ((without - np.mean(without)) ** 2).sum())
    assert (low, high) == (pytest.approx(kid - 1.96 * error), pytest.approx(kid + 1.96 * error))
    assert kernel_distance(x[:1], y[:1])[1:] == (None, None)
    one, other = features(1, 40, (1, 1)), features(2, 40, (1, 1))
    assert kernel_distance(one, other)[1:] == (None, None)  # a single patch is left


def test_the_kernels_memory_does_not_grow_with_the_patches() -> None:
    def peak(pictures: int) -> int:
        x, y = features(1, 128, (7,) * pictures), features(2, 128, (7,) * pictures)
        tracemalloc.start()
        kernel_distance(x, y)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few, many = peak(160), peak(480)
    assert many < few + 480 * 8 * 50  # a number of sums for each picture


def test_fid_is_its_formula_with_a_matrix_square_root() -> None:
    x, y = features(1, 12, (30, 9, 41)), features(2, 12, (30, 9, 41))
    a, b = np.concatenate(x).astype(float), np.concatenate(y).astype(float)
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)


def test_fid_is_that_of_torchmetrics() -> None:
    from torchmetrics.image.fid import _compute_fid

    x, y = features(1, 12, (30, 9, 41)), features(2, 12, (30, 9, 41))
    values = [torch.from_numpy(value) for z in (x, y) for value in moments(z)]
    assert frechet_distance(x, y) == pytest.approx(float(_compute_fid(*values)), rel=1e-6)


def test_moments_of_parts_are_those_of_the_whole() -> None:
    parts = features(3, 7, (1, 4, 20))
    mean, covariance = moments(parts)
    whole = np.concatenate(parts).astype(float)
    assert np.allclose(mean, whole.mean(0)) and np.allclose(covariance, np.cov(whole, rowvar=False))


def test_patches_are_resized_as_tensorflow_1_does() -> None:
    x = torch.from_numpy(np.random.default_rng(0).integers(256, size=(1, 3, 256, 256), dtype=np.uint8))
    found, plain = resized(x)[0].numpy(), x[0].numpy().astype(float)
    for row, column in ((0, 0), (1, 2), (150, 33), (298, 298), (297, 5)):
        (top, v), (left, h) = (divmod(i * 256 / 299, 1) for i in (row, column))
        rows, columns = (min(int(top) + n, 255) for n in (0, 1)), [min(int(left) + n, 255) for n in (0, 1)]
        upper, lower = (plain[:, r, columns[0]] * (1 - h) + plain[:, r, columns[1]] * h for r in rows)
        assert np.allclose(found[:, row, column], upper * (1 - v) + lower * v, atol=1e-3)


def test_inception_has_the_features_of_the_published_network() -> None:
    """Frozen from NVIDIA's TorchScript file, run by torch.jit."""
    network = real_features().network
    x = torch.from_numpy(data.coffee()[:299, :299].copy()).permute(2, 0, 1)[None].float()
    found = network((x - 128) / 128)[0].numpy()
    assert found.shape == (2048,)
    assert found[:5] == pytest.approx([0.0528, 0.3323, 0.8082, 0.4942, 0.3322], abs=1e-4)
    assert found.mean() == pytest.approx(0.2107, abs=1e-4) and found.std() == pytest.approx(0.2697, abs=1e-4)


def test_features_are_kept_and_a_damaged_cache_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = real_features()
    cached = PatchFeatures(ResultCache(tmp_path))
    x = np.asarray(Image.fromarray(data.coffee()).resize((300, 260)))
    first = cached(x)
    assert first.shape == (1, 2048) and np.allclose(first, real(x), atol=1e-5)
    [entry] = [path for path in tmp_path.rglob("*") if path.is_file()]
    entry.write_bytes(np.full(2048, 7, np.float32).tobytes())
    assert (cached(x) == 7).all()
    entry.write_bytes(b"damaged")
    assert np.allclose(cached(x), first)
    assert cached(x[:200]).shape == (0, 2048)
    assert PatchFeatures(ResultCache(tmp_path)).known(picture_digest(x)) is not None
    monkeypatch.setattr(distribution, "CODE", ("models/inception.py",))
    assert PatchFeatures(ResultCache(tmp_path)).known(picture_digest(x)) is None


def test_a_worse_reconstruction_is_further_away() -> None:
    network = real_features()
    distances = [Distance(), Distance()]
    for name in ("coffee", "rocket", "chelsea"):
        x = Image.fromarray(getattr(data, name)()[..., :3]).resize((256, 256))
        small, smaller = (x.resize((side, side)).resize((256, 256)) for side in (128, 24))
        for distance, y in zip(distances, (small, smaller), strict=True):
            distance.add(network(np.asarray(x)), network(np.asarray(y)))
    near, far = (distance.figures() for distance in distances)
    assert near.images == near.patches == 3 and near.fid is None
    assert near.kid is not None and far.kid is not None and far.kid > near.kid + 0.05
    assert far.kid_low is not None and far.kid_high is not None and far.kid_low < far.kid < far.kid_high


def test_fid_comes_with_patches_enough_and_nothing_with_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "FID_PATCHES", 11)
    distance = Distance()
    assert distance.figures() == SetFigures(0, 0)
    x, y = features(1, 16), features(2, 16)
    distance.add(x[1], y[1])
    assert distance.figures() == SetFigures(1, 1)
    for pair in (pair for number, pair in enumerate(zip(x, y, strict=True)) if number != 1):
        assert distance.figures().fid is None
        distance.add(*pair)
    assert distance.figures().fid is not None
    with pytest.raises(ValueError, match="not of one picture"):
        distance.add(x[0], y[2])


def test_the_table_of_sets_reads_as_it_was_written(tmp_path: Path) -> None:
    rows = [SetRow("gc", "context", SetFigures(2, 16, -0.125, -0.25, 0.5, None)), SetRow("jpeg", "1", SetFigures(0, 0))]
    write_sets(tmp_path / "sets.csv", rows)
    assert read_sets(tmp_path / "sets.csv") == rows
    assert read_sets(tmp_path / "none.csv") == []
    (tmp_path / "sets.csv").write_text("codec,kid\n")
    with pytest.raises(RatesError, match=r"sets\.csv: expected the columns"):
        read_sets(tmp_path / "sets.csv")
