"""The multi-scale patch discriminator D of pix2pixHD (Wang et al. 2018), as the paper uses it."""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d


class Judgement(NamedTuple):
    """What one scale of D says of a batch."""

    scores: Tensor
    """One score per patch, (N, 1, h, w)."""
    features: list[Tensor]
    """Outputs of the layers before the scores, for feature matching."""


class PatchDiscriminator(nn.Module):
    """One scale: 4x4 convolutions 64-128-256 (stride 2), 512, 1 (stride 1), LeakyReLU 0.2, instance norm but the first.

    (N, inputs, H, W) -> Judgement; H, W >= 16.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        widths = [inputs, width, 2 * width, 4 * width, 8 * width]
        self.layers = nn.ModuleList(
            _layer(widths[i], widths[i + 1], stride=1 if i == 3 else 2, normalised=i > 0) for i in range(4)
        )
        self.score = nn.Conv2d(widths[-1], 1, 4, padding=2)

    def forward(self, x: Tensor) -> Judgement:
        features: list[Tensor] = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return Judgement(self.score(x), features)


class Discriminator(nn.Module):
    """D: the same patch discriminator at `scales` scales, the image halved by average pooling between them.

    (N, inputs, H, W) in [-1, 1] -> one Judgement per scale, the finest first; H, W >= 16 * 2**(scales - 1).
    """

    def __init__(self, inputs: int = 3, width: int = 64, scales: int = 3) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator(inputs, width) for _ in range(scales))

    def forward(self, x: Tensor) -> list[Judgement]:
        judgements: list[Judgement] = []
        for scale in self.scales:
            judgements.append(scale(x))
            x = avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
        return judgements


def _layer(inputs: int, k: int, stride: int, normalised: bool) -> nn.Sequential:
    norm = [nn.InstanceNorm2d(k)] if normalised else []
    return nn.Sequential(nn.Conv2d(inputs, k, 4, stride=stride, padding=2), *norm, nn.LeakyReLU(0.2, inplace=True))
