"""SSIMULACRA 2.1 (Jon Sneyers, Cloudinary, 2022, updated in 2023), prepared once for each original.

Both pictures go to XYB at six scales, which are halved in linear light. Each of the planes X, Y and B - Y of each scale
has three maps: where structure was lost, by SSIM without its luminance term's denominator; where the reconstruction
has edges that the original has not (artifacts); and where it lost edges (lost detail). The mean and the 4-norm of the
maps, 108 figures, are weighed, and their sum is bent to a score of at most 100.

It is computed here because the package of that name blurs otherwise than the original program and leaves out a scale
of pictures with a side under 256 pixels, which moves scores of bad pictures by several points (docs/log.md).

The definition, with its weights and constants, is that of github.com/cloudinary/ssimulacra2:

Copyright (c) Cloudinary. All rights reserved.

Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following
   disclaimer.
2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following
   disclaimer in the documentation and/or other materials provided with the distribution.
3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse or promote products
   derived from this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES,
INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL,
SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY,
WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF
THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8]
"""(H, W, 3), sRGB."""
SCALES = 6
"""From 1:1 to 1:32."""
SMALLEST_SIDE = 8
"""Pixels; pictures under it have no score, and a scale under it is the last."""
ABSORBANCE = (
    (0.3, 0.622, 0.078),
    (0.23, 0.692, 0.078),
    (0.24342268924547819, 0.20476744424496821, 0.55180986650955360),
)
"""Linear R, G, B to what the three kinds of cones take up: rows are long, middle and short waves."""
BIAS = 0.0037930732552754493
"""Added to each before the cube root."""
RADIUS, SIGMA = 5, 1.5
"""Pixels, of the recursive Gaussian."""
C2 = 0.0009
WEIGHTS: dict[str, tuple[float, ...]] = {
    "X": (
        *(0.0, 0.0007376606707406586, 0.0, 0.0, 0.0007793481682867309, 0.0),
        *(0.0, 0.0004371155730107379, 0.0, 1.1041726426657346, 0.00066284834129271, 0.00015231632783718752),
        *(0.0, 0.0016406437456599754, 0.0, 1.8422455520539298, 11.441172603757666, 0.0),
        *(0.0007989109436015163, 0.000176816438078653, 0.0, 1.8787594979546387, 10.94906990605142, 0.0),
        *(0.0007289346991508072, 0.9677937080626833, 0.0),
        *(0.00014003424285435884, 0.9981766977854967, 0.00031949755934435053),
        *(0.0004550992113792063, 0.0, 0.0, 0.0013648766163243398, 0.0, 0.0),
    ),
    "Y": (
        *(0.0, 0.0, 0.0, 7.466890328078848, 0.0, 17.445833984131262),
        *(0.0006235601634041466, 0.0, 0.0, 6.683678146179332, 0.00037724407979611296, 1.027889937768264),
        *(225.20515300849274, 0.0, 0.0, 19.213238186143016, 0.0011401524586618361, 0.001237755635509985),
        *(176.39317598450694, 0.0, 0.0, 24.43300999870476, 0.28520802612117757, 0.0004485436923833408),
        *(0.0, 0.0, 0.0, 34.77906344483772, 44.835625328877896, 0.0),
        *(0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    ),
    "B - Y": (
        *(0.0, 0.0008680556573291698, 0.0, 0.0, 0.0, 0.0),
        *(0.0, 0.0005313191874358747, 0.0, 0.00016533814161379112, 0.0, 0.0),
        *(0.0, 0.0, 0.0, 0.0004179171803251336, 0.0017290828234722833, 0.0),
        *(0.0020827005846636437, 0.0, 0.0, 8.826982764996862, 23.19243343998926, 0.0),
        *(95.1080498811086, 0.9863978034400682, 0.9834382792465353),
        *(0.0012286405048278493, 171.2667255897307, 0.9807858872435379),
        *(0.0, 0.0, 0.0, 0.0005130064588990679, 0.0, 0.00010854057858411537),
    ),
}
"""Of each plane, a line for each scale from the finest: of the means of structure, artifacts and lost detail, then of
their 4-norms."""

Error = Callable[[Tensor], float]
"""A plane (h, w) of a reconstruction at one scale -> its weighed error."""
Map = Callable[[Tensor, Tensor], Tensor]
"""The same plane, and what it is when blurred -> its error by pixel, (h, w)."""


def prepare(x: Pixels) -> Callable[[Pixels], float | None]:
    """What gives the SSIMULACRA2 of reconstructions of an (H, W, 3) picture: 100 for an equal one, 90 for one that can
    hardly be told from it, below 0 for very bad ones. None when a side is shorter than 8 pixels."""
    if min(x.shape[:2]) < SMALLEST_SIDE:
        return lambda y: None
    weights = _weights(_count(x))
    errors = [list(map(_error, planes, weights[n])) for n, planes in enumerate(_scales(x))]

    def measure(y: Pixels) -> float:
        pairs = zip(errors, _scales(y), strict=True)
        return _score(sum(error(plane) for planes in pairs for error, plane in zip(*planes, strict=True)))

    return measure


def _weights(scales: int) -> NDArray[np.float64]:
    """(scale, plane, norm, map). The original reads its list on from plane to plane, so that a picture of fewer
    scales than six has the first of it, whatever plane they are meant for."""
    flat = [weight for plane in WEIGHTS.values() for weight in plane]
    return np.array(flat[: 18 * scales]).reshape(3, scales, 2, 3).swapaxes(0, 1)


def _score(error: float) -> float:
    error *= 0.9562382616834844
    error = 2.326765642916932 * error - 0.020884521182843837 * error**2 + 6.248496625763138e-05 * error**3
    return 100 - 10 * error**0.6276336467831387 if error > 0 else 100.0


def _count(x: Pixels) -> int:
    """Of scales: the last is the sixth, or the first under 8 pixels."""
    count, side = 1, min(x.shape[:2])
    while count < SCALES and side >= SMALLEST_SIDE:
        count, side = count + 1, (side + 1) // 2
    return count


def _scales(x: Pixels) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The planes (h, w) of XYB for each scale, from the finest."""
    linear = torch.from_numpy(_linear()[np.ascontiguousarray(x.transpose(2, 0, 1))])
    yield _xyb(linear)
    for _ in range(1, _count(x)):
        linear = _halved(linear)
        yield _xyb(linear)


@cache
def _linear() -> NDArray[np.float32]:
    """(256,): linear light in [0, 1] of each sRGB value."""
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _halved(linear: Tensor) -> Tensor:
    """Means of 2 x 2; a last odd row or column counts twice."""
    h, w = linear.shape[1:]
    if h % 2 or w % 2:
        linear = torch.nn.functional.pad(linear, (0, w % 2, 0, h % 2), mode="replicate")
    rows = linear[:, ::2] + linear[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]).mul_(0.25)


def _xyb(linear: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """X, Y and B - Y of (3, h, w), each brought to within [0, 1]."""
    absorbed = torch.addmm(torch.full((3, 1), BIAS), torch.tensor(ABSORBANCE), linear.flatten(1))
    long, middle, short = absorbed.log_().div_(3).exp_().sub_(BIAS ** (1 / 3)).view_as(linear)  # cube roots
    y = (long + middle).div_(2)
    return (long - middle).mul_(7).add_(0.42), y + 0.01, (short - y).add_(0.55)


def _error(x: Tensor, weights: NDArray[np.float64]) -> Error:
    """Of a plane (h, w) of the original, by weights (norm, map); what weighs nothing is not computed."""
    mean = _blurred(x)
    structure = _structure(x, mean) if weights[:, 0].any() else None
    edges = _edges(x, mean) if weights[:, 1:].any() else None
    if structure is None and edges is None:
        return lambda y: 0.0

    def error(y: Tensor) -> float:
        mean, result = _blurred(y), 0.0
        if structure is not None:
            result += _weighed(structure(y, mean), weights[:, 0])
        if edges is not None:
            change = edges(y, mean)
            result += _weighed(change.clamp(min=0), weights[:, 1])
            result += _weighed(change.neg_().clamp_(min=0), weights[:, 2])
        return result

    return error


def _structure(x: Tensor, mean_x: Tensor) -> Map:
    """1 - SSIM, whose luminance term is 1 - (mean_x - mean_y)**2.

    The covariance is (variance of x + variance of y - variance of x - y) / 2, which makes of
    1 - (1 - luminance) (2 covariance + C2) / (both variances + C2) a sum without cancellation, for float32.
    """
    variance_x = _variance(x, mean_x).add_(C2)

    def error(y: Tensor, mean_y: Tensor) -> Tensor:
        luminance = (mean_x - mean_y).square_()
        lost = _blurred((x - y).square_()).sub_(luminance).clamp_(min=0)  # the variance of x - y
        lost.div_(_variance(y, mean_y).add_(variance_x))
        return luminance.addcmul_(lost, 1 - luminance)

    return error


def _edges(x: Tensor, mean_x: Tensor) -> Map:
    """How much stronger y's edges are than those of x, in proportion: above 0 artifacts, below 0 lost detail."""
    edges = _edge_strength(x, mean_x)

    def change(y: Tensor, mean_y: Tensor) -> Tensor:
        return _edge_strength(y, mean_y).div_(edges).sub_(1)

    return change


def _edge_strength(x: Tensor, mean: Tensor) -> Tensor:
    return (x - mean).abs_().add_(1)


def _weighed(errors: Tensor, weights: NDArray[np.float64]) -> float:
    """The mean and the 4-norm of a map, weighed."""
    first, fourth = map(float, weights)
    result = first * float(errors.mean()) if first else 0.0
    return result + (fourth * float(errors.square().square_().mean()) ** 0.25 if fourth else 0.0)


def _variance(x: Tensor, mean: Tensor) -> Tensor:
    return _blurred(x.square()).sub_(mean.square())


def _blurred(x: Tensor) -> Tensor:
    """A plane (h, w) with zeros around it under the Gaussian."""
    padded = torch.nn.functional.pad(x, (RADIUS - 1,) * 4)
    return _blurred_along(_blurred_along(padded, 0), 1)


def _blurred_along(x: Tensor, dimension: int) -> Tensor:
    first, *others = _gaussian()
    size = x.shape[dimension] - len(others)
    result = x.narrow(dimension, 0, size) * first
    for offset, weight in enumerate(others, 1):
        result.add_(x.narrow(dimension, offset, size), alpha=weight)
    return result


@cache
def _gaussian() -> tuple[float, ...]:
    """What the recursive Gaussian of Charalampidis (2016) makes of one pixel: a sum of three cosines that ends where
    they are all 0, at RADIUS pixels, so that 2 * RADIUS - 1 taps are the whole of it. Equations are the paper's."""
    omega = np.pi / (2 * RADIUS) * np.array([1, 3, 5])
    signs = np.array([1, -1, 1])
    p = signs / np.tan(omega / 2)  # (37)
    r = signs * p**2 / np.sin(omega)  # (44)
    rho = np.exp(-(SIGMA**2) * omega**2 / 2) / RADIUS  # (50)
    zeta = np.cross(p, r)
    zeta /= zeta[2]  # (52)
    gamma = np.array([1.0, RADIUS**2 - SIGMA**2, float(zeta @ rho)])
    beta = np.linalg.solve(np.stack([p, r, zeta]), gamma)  # (53) to (56)
    offsets = np.arange(1 - RADIUS, RADIUS)
    return tuple(float(tap) for tap in beta @ np.cos(np.outer(omega, offsets)))
