"""Convolutions of 3x3 by a quarter of the multiplications: Winograd's F(4x4, 3x3), after Lavin & Gray (2016).

Every tile of 4 x 4 outputs is A^T ((G g G^T) * (B^T d B)) A for a filter g (3, 3) and its inputs d (6, 6), so that
36 products for each pair of an input's and a filter's channel take the place of 144, and those of many tiles are one
matrix product. PyTorch's CPU convolutions multiply directly, about as fast as the cores can, so this is what is left
to be had for networks that look at large pictures (docs/log.md has by how much). In float32 the outputs differ from a
direct convolution's by some 1e-5 of the largest.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

OUTPUTS, SIDE = 4, 6
"""Pixels along a tile of outputs, and along that of its inputs."""
INPUT = (
    (4.0, 0.0, -5.0, 0.0, 1.0, 0.0),
    (0.0, -4.0, -4.0, 1.0, 1.0, 0.0),
    (0.0, 4.0, -4.0, -1.0, 1.0, 0.0),
    (0.0, -2.0, -1.0, 2.0, 1.0, 0.0),
    (0.0, 2.0, -1.0, -2.0, 1.0, 0.0),
    (0.0, 4.0, 0.0, -5.0, 0.0, 1.0),
)
"""B^T, of the points 0, 1, -1, 2, -2 and infinity."""
FILTER = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
"""G."""
OUTPUT = (
    (1.0, 1.0, 1.0, 1.0, 1.0, 0.0),
    (0.0, 1.0, -1.0, 2.0, -2.0, 0.0),
    (0.0, 1.0, 1.0, 4.0, 4.0, 0.0),
    (0.0, 1.0, -1.0, 8.0, -8.0, 1.0),
)
"""A^T."""
FEWEST_INPUTS = 64
"""Channels; below, moving the tiles costs more than is saved."""
TILES = 192
"""That are worked on at once, so that they stay in a core's cache."""


class Winograd(nn.Module):
    """What a 3x3 convolution of stride 1 with zeros around makes of (N, C, H, W): (N, K, H, W).

    For inference: its weights are a copy, already transformed, and outputs lie in memory with channels last.
    """

    filters: Tensor
    bias: Tensor
    input_transform: Tensor
    output_transform: Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        """Raises ValueError for any other convolution."""
        super().__init__()
        if not suits(convolution):
            raise ValueError(f"not a 3x3 convolution of stride 1 that keeps its size: {convolution}")
        g, filters = torch.tensor(FILTER, dtype=torch.float64), convolution.weight.detach()
        transformed = torch.einsum("ij,kcjl,ml->imck", g, filters.double(), g)  # (6, 6, C, K)
        bias = torch.zeros(len(filters)) if convolution.bias is None else convolution.bias.detach()
        self.register_buffer("filters", transformed.flatten(0, 1).to(filters.dtype).contiguous())
        self.register_buffer("bias", bias.to(filters.dtype))
        for name, matrix in (("input_transform", INPUT), ("output_transform", OUTPUT)):
            along = torch.tensor(matrix, dtype=filters.dtype)
            self.register_buffer(name, torch.kron(along, along), persistent=False)  # rows and columns in one product

    def forward(self, x: Tensor) -> Tensor:
        number, _, height, width = x.shape
        rows, columns = -(-height // OUTPUTS), -(-width // OUTPUTS)
        found = x.new_empty(number, rows, OUTPUTS, columns, OUTPUTS, len(self.bias))
        for picture, outputs in zip(x.permute(0, 2, 3, 1), found, strict=True):
            right, below = OUTPUTS * columns + 1 - width, OUTPUTS * rows + 1 - height
            self._convolve(pad(picture, (0, 0, 1, right, 1, below)).contiguous(), outputs)
        found = found.view(number, OUTPUTS * rows, OUTPUTS * columns, -1)
        return found[:, :height, :width].permute(0, 3, 1, 2)

    def _convolve(self, x: Tensor, into: Tensor) -> None:
        """(4 rows + 2, 4 columns + 2, C), with zeros around -> `into`, (rows, 4, columns, 4, K)."""
        rows, _, columns, _, filters = into.shape
        down, right, _ = x.stride()
        step = max(1, TILES // columns)
        for top in range(0, rows, step):
            number = min(step, rows - top)
            shape = SIDE, SIDE, number, columns, x.shape[2]
            tiles = x[OUTPUTS * top :].as_strided(shape, (down, right, OUTPUTS * down, OUTPUTS * right, 1))
            inputs = self.input_transform @ tiles.reshape(SIDE**2, -1)
            products = inputs.view(SIDE**2, number * columns, -1) @ self.filters
            outputs = self.output_transform @ products.view(SIDE**2, -1)
            outputs = outputs.view(OUTPUTS, OUTPUTS, number, columns, filters).permute(2, 0, 3, 1, 4)
            torch.add(outputs, self.bias, out=into[top : top + number])


def suits(convolution: nn.Conv2d) -> bool:
    """Whether `Winograd` can take a convolution's place."""
    plain = convolution.groups == 1 and convolution.dilation == (1, 1) and convolution.padding_mode == "zeros"
    shape = convolution.kernel_size, convolution.stride, convolution.padding
    return plain and shape == ((3, 3), (1, 1), (1, 1))


def by_winograd(network: nn.Module) -> None:
    """Replace a network's convolutions that `Winograd` suits and that have `FEWEST_INPUTS`, for inference."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d) and suits(child) and child.in_channels >= FEWEST_INPUTS:
                setattr(module, name, Winograd(child))
