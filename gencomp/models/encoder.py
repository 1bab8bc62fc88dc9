"""The encoder E of global generative compression (GC), section 5.3 and appendix of the paper."""

from itertools import pairwise

from torch import Tensor, nn

from gencomp.models.blocks import Layers, Norm, c7s1, d, linear


class Encoder(nn.Module):
    """E: c7s1-60, d120, d240, d480, d960, c3s1-C for width 60 and four downsamplings; the last layer is linear.

    (N, 3, H, W) in [-1, 1] -> w (N, channels, H/stride, W/stride), stride = 2**downsamplings;
    H and W are multiples of the stride and at least twice the stride.
    """

    def __init__(self, width: int, downsamplings: int, channels: int, norm: Norm) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(downsamplings + 1)]
        self.layers = Layers(
            c7s1(3, width, norm),
            *(d(inputs, k, norm) for inputs, k in pairwise(widths)),
            linear(widths[-1], channels, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        w: Tensor = self.layers(x)  # (N, C, H/16, W/16)
        return w
