"""Perceptual distances between a picture and its reconstruction: LPIPS and DISTS.

Each is prepared once for an original, whose features serve every reconstruction of it.
"""

import threading
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from gencomp.models.dists import DISTS, load_dists
from gencomp.models.lpips import LPIPS, SMALLEST_SIDE, Name, load_lpips
from gencomp.models.winograd import by_winograd
from gencomp.weights.cache import weights_path

Pixels = NDArray[np.uint8]
Prepared = Callable[[Pixels], float | None]
"""(H, W, 3) reconstruction of a known original -> its figure; None where the picture is too small for it."""
Preparing = Callable[[Pixels], Prepared]
"""(H, W, 3) original -> what measures its reconstructions."""
MapPreparing = Callable[[Pixels], Callable[[Pixels], NDArray[np.float32] | None]]
"""(H, W, 3) original -> what gives the figure of its reconstructions by pixel, (H, W)."""
SMALLEST_DISTS_SIDE = 16
"""Pixels."""


def lpips(backbone: Name) -> Preparing:
    """LPIPS 0.1 at full size. Raises MissingWeightsError."""
    network = _lpips(backbone)
    return _prepared_by(network, SMALLEST_SIDE, _FirstBlock(network) if backbone == "vgg" else None)


def lpips_map(backbone: Name) -> MapPreparing:
    """LPIPS 0.1 by pixel, (H, W): each layer's map enlarged to the picture (bilinear), the layers summed.

    Its mean over a picture is LPIPS but for what enlarging weighs differently. Raises MissingWeightsError.
    """
    network = _lpips(backbone)

    def prepare(x: Pixels) -> Callable[[Pixels], NDArray[np.float32] | None]:
        if min(x.shape[:2]) < SMALLEST_SIDE:
            return lambda y: None
        with torch.inference_mode():
            targets = network.features(_tensor(x))

        def measure(y: Pixels) -> NDArray[np.float32] | None:
            with torch.inference_mode():
                pairs = zip(network.heads, targets, network.features(_tensor(y)), strict=True)
                maps = [head((a - b).square()) for head, a, b in pairs]  # (1, 1, h, w) each
                enlarged = [interpolate(layer, x.shape[:2], mode="bilinear") for layer in maps]
                return np.asarray(torch.stack(enlarged).sum(0)[0, 0].numpy())

        return measure

    return prepare


def dists() -> Preparing:
    """DISTS at full size. Raises MissingWeightsError."""
    backbone = weights_path("lpips-vgg")
    network, first = load_dists(weights_path("dists"), backbone), load_lpips(backbone, "vgg")
    by_winograd(network)
    first.convolutions = network.convolutions  # of the same weights
    return _prepared_by(network, SMALLEST_DISTS_SIDE, _FirstBlock(first))


def _lpips(backbone: Name) -> LPIPS:
    network = load_lpips(weights_path(f"lpips-{backbone}"), backbone)
    by_winograd(network)
    return network


class _FirstBlock:
    """What VGG16's first block makes of a picture, of which each thread remembers the last one: LPIPS and DISTS both
    begin with it, an eighth of their work."""

    _last = threading.local()

    def __init__(self, network: LPIPS) -> None:
        self._network = network

    def __call__(self, x: Pixels, tensor: torch.Tensor) -> torch.Tensor:
        if getattr(self._last, "picture", None) is not x:
            self._last.picture, self._last.block = x, self._network.first_block(tensor)
        block: torch.Tensor = self._last.block
        return block


def _prepared_by(network: LPIPS | DISTS, smallest: int, first: _FirstBlock | None) -> Preparing:
    def features(x: Pixels) -> list[torch.Tensor]:
        tensor = _tensor(x)
        return network.features(tensor, first(x, tensor) if first else None)

    def prepare(x: Pixels) -> Prepared:
        if min(x.shape[:2]) < smallest:
            return lambda y: None
        with torch.inference_mode():
            targets = features(x)

        def measure(y: Pixels) -> float | None:
            with torch.inference_mode():
                return float(network.distance(targets, features(y)))

        return measure

    return prepare


def _tensor(x: Pixels) -> torch.Tensor:
    return torch.from_numpy(np.array(x)).permute(2, 0, 1)[None].float() / 127.5 - 1  # (1, 3, H, W), channels last
