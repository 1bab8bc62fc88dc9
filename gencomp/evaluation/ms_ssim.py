"""Multi-scale structural similarity (Wang, Simoncelli and Bovik, 2003), prepared once for each original.

torchmetrics says what is computed, to the treatment of borders. It is computed here because torchmetrics smooths by
a window of 11 x 11 where rows and columns of 11 do, and smooths the original again for each of its reconstructions;
and because in float32, where it is quick enough to be used, it is 0.0002 too low on a picture with a white sky.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8]
"""(H, W, 3), RGB."""
EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, from the finest."""
SMALLEST_SIDE = 161
"""Pixels; the literature computes five scales down to here."""
FULL_SIDE = 176
"""Pixels; 11 * 2**4, where the 11-pixel window fits the coarsest of five scales whatever the rounding."""
REACH = 5
"""Pixels of the window on each side of its center."""
SIGMA = 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


class _Plane(NamedTuple):
    """A channel of the original at a scale."""

    x: Tensor
    """(h, w); of the coarsest scale with its mirrored border."""
    mean: Tensor
    """(h - 10, w - 10), as is the next."""
    variance: Tensor


def prepare(x: Pixels) -> Callable[[Pixels], float | None]:
    """What gives the MS-SSIM in [0, 1] of reconstructions of an (H, W, 3) picture.

    11 x 11 Gaussian window of sigma 1.5, five scales; the channels are averaged at each scale, negative terms count
    as 0, and the coarsest scale is averaged over its mirrored border too. A side of 161 to 175 pixels is continued to
    176 by its mirror image, right and below; None when a side is shorter than that.
    """
    if min(x.shape[:2]) < SMALLEST_SIDE:
        return lambda y: None
    scales = [[_plane(channel) for channel in scale] for scale in _scales(x)]

    def measure(y: Pixels) -> float:
        result = 1.0
        for number, (originals, channels) in enumerate(zip(scales, _scales(y), strict=True)):
            coarsest = number == len(EXPONENTS) - 1
            pairs = zip(originals, channels, strict=True)
            term = sum(_similarity(original, channel, luminance=coarsest) for original, channel in pairs) / 3
            result *= max(term, 0.0) ** EXPONENTS[number]
        return result

    return measure


def _scales(x: Pixels) -> list[Tensor]:
    """(3, h, w) for each scale, from the finest; the coarsest has a mirrored border."""
    scale = torch.from_numpy(np.array(x)).permute(2, 0, 1).double()
    missing = [max(FULL_SIDE - side, 0) for side in scale.shape[1:]]
    found = [torch.nn.functional.pad(scale, (0, missing[1], 0, missing[0]), mode="reflect")]
    while len(found) < len(EXPONENTS):
        found.append(torch.nn.functional.avg_pool2d(found[-1], 2))
    found[-1] = torch.nn.functional.pad(found[-1], (REACH,) * 4, mode="reflect")
    return found


def _plane(x: Tensor) -> _Plane:
    mean = _smoothed(x)
    return _Plane(x, mean, _variance(x, mean))


def _similarity(original: _Plane, y: Tensor, *, luminance: bool) -> float:
    """The mean of a channel's similarity, of contrast and structure alone or of luminance too."""
    mean = _smoothed(y)
    product = original.mean * mean
    covariance = _smoothed(original.x * y) - product
    similarity = (2 * covariance + C2) / (original.variance + _variance(y, mean) + C2)
    if luminance:
        similarity *= (2 * product + C1) / (original.mean.square() + mean.square() + C1)
    return float(similarity.mean())


def _variance(x: Tensor, mean: Tensor) -> Tensor:
    return (_smoothed(x.square()) - mean.square()).clamp_(min=0)


def _smoothed(x: Tensor) -> Tensor:
    """The mean (h - 10, w - 10) of an (h, w) plane under the window; one plane at a time stays in the processor."""
    return _smoothed_along(_smoothed_along(x, 0), 1)


def _smoothed_along(x: Tensor, dimension: int) -> Tensor:
    size = x.shape[dimension] - 2 * REACH
    first, *others = _window()
    result = x.narrow(dimension, 0, size) * first
    for offset, weight in enumerate(others, 1):
        result.add_(x.narrow(dimension, offset, size), alpha=weight)
    return result


def _window() -> list[float]:
    weights = np.exp(-(np.arange(-REACH, REACH + 1) ** 2) / (2 * SIGMA**2))
    return [float(weight) for weight in weights / weights.sum()]
