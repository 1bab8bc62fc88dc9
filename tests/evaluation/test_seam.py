"""What is measured of selective compression, on pictures whose errors are known."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from skimage import data

from gencomp.evaluation import perceptual
from gencomp.evaluation.metrics import psnr
from gencomp.evaluation.selective import seam, selective_means, selective_row, write_selective
from gencomp.weights.failure import MissingWeightsError

STRIDE = 8


def region(height: int, width: int) -> NDArray[np.bool_]:
    """The left half of the latent positions of a picture."""
    mask = np.zeros((-(-height // STRIDE), -(-width // STRIDE)), np.bool_)
    mask[:, : mask.shape[1] // 2] = True
    return mask


def photograph(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(60, 190, (height, width, 3)).astype(np.uint8)


@given(height=st.integers(9, 40), width=st.integers(17, 50), step=st.integers(-30, 30))
def test_a_step_at_the_border_of_a_smooth_picture_is_the_seam(height: int, width: int, step: int) -> None:
    x, mask = np.full((height, width, 3), 100, np.uint8), region(height, width)
    inside = mask.repeat(STRIDE, 0).repeat(STRIDE, 1)[:height, :width, None]
    row = selective_row("a", x, (x + step * inside).astype(np.uint8), mask, STRIDE, 30, 120)
    assert row.seam == pytest.approx(abs(step))
    assert row.mse_inside == pytest.approx(step**2)
    assert row.psnr_outside == 99.0
    assert row.preserved == pytest.approx(inside.mean()) and row.side_share == 0.25


def test_a_picture_as_it_was_has_no_seam_even_where_an_edge_lies_on_the_border() -> None:
    x, mask = photograph(40, 48), region(40, 48)
    x[:, :24] //= 2
    assert seam(x, x, mask, STRIDE) == 0.0


def test_noise_that_differs_on_both_sides_makes_no_seam_but_a_step_in_it_does() -> None:
    rng, x, mask = np.random.default_rng(2), np.full((400, 400, 3), 120, np.uint8), region(400, 400)
    inside = mask.repeat(STRIDE, 0).repeat(STRIDE, 1)[..., None]
    noise = rng.normal(0, 1, x.shape) * np.where(inside, 2, 12)
    quiet, stepped = (np.round(x + noise + step * inside).astype(np.uint8) for step in (0, 15))
    found, shown = seam(x, quiet, mask, STRIDE), seam(x, stepped, mask, STRIDE)
    assert found is not None and shown is not None
    assert abs(found) < 1 and shown > 6


def test_what_lies_far_from_the_border_does_not_count() -> None:
    x, mask = photograph(160, 160), region(160, 160)
    x_hat = x.copy()
    x_hat[:, : 6 * STRIDE] = np.random.default_rng(4).integers(0, 256, (160, 6 * STRIDE, 3))
    assert seam(x, x_hat, mask, STRIDE) == 0.0


@pytest.mark.parametrize("preserved", [True, False])
def test_without_a_border_there_is_no_seam_and_one_side_alone_is_measured(preserved: bool) -> None:
    x = photograph(33, 41)
    x_hat = np.flip(x, 0)
    row = selective_row("a", x, x_hat, np.full((5, 6), preserved), STRIDE, 0, 10)
    assert row.seam is None and row.preserved == float(preserved)
    whole, absent = (row.psnr_inside, row.psnr_outside)[:: 1 if preserved else -1]
    assert whole == pytest.approx(psnr(x, x_hat), abs=1e-6) and absent is None


def test_means_leave_out_what_is_not_there_and_rows_are_written_as_they_are(tmp_path: Path) -> None:
    x = photograph(16, 16)
    rows = [
        selective_row("whole", x, x + 1, np.ones((2, 2), np.bool_), STRIDE, 10, 40),
        selective_row("none", x, x + 2, np.zeros((2, 2), np.bool_), STRIDE, 30, 40),
    ]
    means = selective_means(rows)
    assert (means.preserved, means.side_share, means.mse_inside, means.seam) == (0.5, 0.5, 1.0, None)
    assert means.psnr_inside == pytest.approx(48.1308, abs=1e-4)
    assert means.intervals == {"preserved": (0.0, 1.0), "side_share": (0.25, 0.75)}  # what both pictures have
    write_selective(tmp_path / "selective.csv", rows)
    lines = (tmp_path / "selective.csv").read_text().splitlines()
    assert lines[0] == "key,preserved,side_share,mse_inside,psnr_inside,psnr_outside,seam,lpips_inside,lpips_outside"
    assert lines[1] == "whole,1.000000,0.250000,1.000000,48.130804,,,,"
    assert lines[2].startswith("none,0.000000,0.750000,,,42.1102")


def test_lpips_inside_and_outside_are_of_their_parts_alone_and_of_the_whole_about_lpips() -> None:
    try:
        lpips, by_pixel = perceptual.lpips("alex"), perceptual.lpips_map("alex")
    except MissingWeightsError as error:
        pytest.skip(str(error))
    x = np.asarray(Image.fromarray(data.chelsea()).resize((256, 192)))
    right = np.asarray(Image.fromarray(x).filter(ImageFilter.GaussianBlur(3))).copy()
    found = by_pixel(x)(right)
    assert found is not None and found.shape == (192, 256)
    assert float(found.mean()) == pytest.approx(lpips(x)(right), rel=0.05)
    right[:, :128] = x[:, :128]
    mask = region(192, 256)
    rows = [
        selective_row("a", x, right, part, STRIDE, 30, 120, by_pixel(x)(right)) for part in (mask, ~mask, mask | True)
    ]
    outside, inside = rows[0].lpips_outside, rows[1].lpips_outside
    assert outside is not None and inside is not None and outside > 5 * inside > 0
    assert [row.lpips_inside for row in rows[:2]] == [inside, outside]
    assert rows[2].lpips_inside == pytest.approx((outside + inside) / 2, rel=1e-5)
    assert rows[2].lpips_outside is None and selective_means(rows).lpips_outside == pytest.approx(
        (outside + inside) / 2, abs=1e-6
    )
    assert float(np.max(by_pixel(x)(x))) == 0.0
    assert by_pixel(x[:20])(x[:20]) is None
