"""The shape of VGG16 (Simonyan & Zisserman 2015), which LPIPS and DISTS look at after its every block."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
"""Filters of conv1_1 to conv5_3, 3x3 each."""
POOLED_BEFORE = (2, 4, 7, 10)
"""Indices of the convolutions that stand behind a pooling of stride 2."""
TAPS = (1, 3, 6, 9, 12)
"""Indices of conv1_2, conv2_2, conv3_3, conv4_3 and conv5_3, whose ReLU outputs are the features."""


def block(x: Tensor, convolutions: Iterable[nn.Module]) -> Tensor:
    """Convolutions one behind the other, each with its ReLU: what stands between two poolings."""
    for convolution in convolutions:
        x = torch.relu_(convolution(x))
    return x
