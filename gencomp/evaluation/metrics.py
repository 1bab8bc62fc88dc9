"""Distortion between a picture and its reconstruction: PSNR and MS-SSIM, computed by torchmetrics."""

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure, peak_signal_noise_ratio

IDENTICAL_PSNR = 99.0
"""The PSNR, in dB, reported for identical pictures and the most that is ever reported."""
SMALLEST_MS_SSIM_SIDE = 161
"""Pixels; the literature computes five scales down to here."""
FULL_MS_SSIM_SIDE = 176
"""Pixels; 11 * 2**4, where the 11-pixel window fits the coarsest of five scales whatever the rounding."""


def psnr(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels of two (H, W, 3) pictures, at most 99."""
    _check_shapes(x, y)
    value = peak_signal_noise_ratio(_batch(x, torch.float64), _batch(y, torch.float64), data_range=255.0)
    return min(float(value), IDENTICAL_PSNR)


def ms_ssim(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> float | None:
    """Multi-scale structural similarity (Wang et al., 2003) of two (H, W, 3) pictures, in [0, 1].

    11 x 11 Gaussian window of sigma 1.5, five scales; the channels are averaged at each scale, negative terms count
    as 0, and the coarsest scale is averaged over its mirrored border too (all as torchmetrics has it). A side of 161
    to 175 pixels is continued to 176 by its mirror image, right and below; None when a side is shorter than that.
    """
    _check_shapes(x, y)
    if min(x.shape[:2]) < SMALLEST_MS_SSIM_SIDE:
        return None
    value = multiscale_structural_similarity_index_measure(
        _mirrored(_batch(x, torch.float32)), _mirrored(_batch(y, torch.float32)), data_range=255.0
    )
    return float(value)


def _check_shapes(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> None:
    if x.shape != y.shape or x.ndim != 3 or x.shape[2] != 3:
        raise ValueError(f"expected two pictures of one shape (H, W, 3), got {x.shape} and {y.shape}")


def _batch(x: NDArray[np.uint8], dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(np.array(x)).permute(2, 0, 1).unsqueeze(0).to(dtype)  # (1, 3, H, W)


def _mirrored(x: torch.Tensor) -> torch.Tensor:
    missing = [max(FULL_MS_SSIM_SIDE - side, 0) for side in x.shape[2:]]
    return torch.nn.functional.pad(x, (0, missing[1], 0, missing[0]), mode="reflect")  # (1, 3, >= 176, >= 176)
