"""VGG19 features for the perceptual loss of pix2pixHD, which the paper adds to its objective."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

CONVOLUTIONS = (64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512)
"""Filters of conv1_1 to conv5_1."""
TAPS = (0, 2, 4, 8, 12)
"""Indices of conv1_1, conv2_1, conv3_1, conv4_1 and conv5_1, whose ReLU outputs are the features."""
POOLED_BEFORE = (2, 4, 8, 12)
"""Indices of the convolutions that stand behind a 2x2 max pooling."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class VGG19(nn.Module):
    """relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of VGG19 (Simonyan & Zisserman 2015).

    (N, 3, H, W) in [-1, 1] -> five feature maps at strides 1, 2, 4, 8, 16; H, W >= 16.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *CONVOLUTIONS)
        self.convolutions = nn.ModuleList(nn.Conv2d(widths[i], widths[i + 1], 3, padding=1) for i in range(13))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = ((x + 1) / 2 - self.mean) / self.std
        features: list[Tensor] = []
        for index, convolution in enumerate(self.convolutions):
            if index in POOLED_BEFORE:
                x = torch.max_pool2d(x, 2)
            x = torch.relu(convolution(x))
            if index in TAPS:
                features.append(x)
        return features


def load_vgg19(path: Path) -> VGG19:
    """VGG19 with weights from a safetensors file, tensors `convolutions.<0..12>.{weight,bias}`, as `gencomp weights`
    makes them; `gencomp.weights.convert` says how the two sets of weights differ. Raises FileNotFoundError."""
    network = VGG19()
    network.load_state_dict(load_file(path))
    return network.eval().requires_grad_(False)
