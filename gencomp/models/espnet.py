"""ESPNet, the segmentation network of Mehta et al. (2018): small enough for a CPU, and a judge of what can still be
recognised in a decoded street scene."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

DILATIONS = (1, 2, 4, 8, 16)
STRIDE = 8
"""Of the coarsest features, pixels."""
BATCH_NORM_EPSILON = 1e-3
RENAMED = (
    (re.compile(r"^encoder\.classifier\."), "coarse_classifier."),
    (re.compile(r"^encoder\."), ""),
    (re.compile(r"\b(c1|d\d+|coarse_classifier|level3_C)\.conv\."), r"\1."),
    (re.compile(r"^((?:level[23]|combine_l2_l3)\.\d+)\.bn\.(bn|act)\."), r"\1.\2."),
)
"""From the names in the authors' files to ours; the rest is named alike."""

Triple = tuple[float, float, float]


class Preset(NamedTuple):
    """What a file of weights was trained on."""

    classes: tuple[str, ...]
    """Of the channels of the logits, in their order; the last one, void, is none of the dataset's."""
    mean: Triple
    """Of the training pictures in [0, 255], blue, green and red."""
    std: Triple
    """Mean over the training pictures of the deviation within each, alike."""
    longest_side: int
    """Pixels; larger pictures are reduced to it, as the network was trained."""


CAMVID = Preset(
    ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist", "void"),
    mean=(110.2156, 108.3432, 104.9626),
    std=(72.0434, 72.6103, 69.8227),
    longest_side=480,
)
"""Its mean and std are those of the 367 training pictures of 480 x 360, by the rule of the authors' `loadData.py`."""
CITYSCAPES = Preset(
    (
        *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
        *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle", "void"),
    ),
    mean=(72.3923111, 82.90893555, 73.15840149),
    std=(45.3192215, 46.15289307, 44.91483307),
    longest_side=1024,
)
"""Its mean and std are those of the authors' `VisualizeResults.py`."""
PRESETS = {len(preset.classes): preset for preset in (CAMVID, CITYSCAPES)}
"""By the channels of the logits."""


class Activation(nn.Module):
    """Batch normalisation and PReLU. (N, k, H, W) -> (N, k, H, W)."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(k, eps=BATCH_NORM_EPSILON)
        self.act = nn.PReLU(k)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.bn(x))
        return y


class Convolved(Activation):
    """A 3x3 convolution before them. (N, inputs, H, W) -> (N, k, H/stride, W/stride)."""

    def __init__(self, inputs: int, k: int, stride: int) -> None:
        super().__init__(k)
        self.conv = _convolution(inputs, k, 3, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.conv(x))


class Pyramid(Activation):
    """ESP: reduced to k/5 channels, split into five dilated 3x3 convolutions, merged; section 3.1.

    (N, inputs, H, W) -> (N, k, H/stride, W/stride). The wider ones are summed up one by one, so that no grid shows.
    """

    def __init__(self, inputs: int, k: int, *, stride: int = 1, residual: bool = False) -> None:
        super().__init__(k)
        self.residual = residual
        n = k // len(DILATIONS)
        self.c1 = _convolution(inputs, n, 3 if stride > 1 else 1, stride=stride)
        for dilation in DILATIONS:
            filters = k - (len(DILATIONS) - 1) * n if dilation == 1 else n
            self.add_module(f"d{dilation}", _convolution(n, filters, 3, dilation=dilation))

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.c1(x)
        narrow, *wide = (self.get_submodule(f"d{dilation}")(reduced) for dilation in DILATIONS)
        for index in range(1, len(wide)):
            wide[index] = wide[index] + wide[index - 1]
        merged = torch.cat([narrow, *wide], 1)  # (N, k, H/stride, W/stride)
        return super().forward(x + merged if self.residual else merged)


class ESPNet(nn.Module):
    """Logits (N, K, H, W) of RGB pictures (N, 3, H, W) in [-1, 1]; H and W multiples of 8.

    p and q are the residual blocks at strides 4 and 8. The last convolution sees, beside what was found, the first
    layer's 16 channels, or with `reduced_skip` those and the reduced picture: the authors' weights are of both kinds.
    The network itself takes BGR, (x - mean) / std / 255 of [0, 255].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, preset: Preset, p: int = 2, q: int = 8, *, reduced_skip: bool = False) -> None:
        super().__init__()
        self.reduced_skip = reduced_skip
        K = len(preset.classes)
        self.level1 = Convolved(3, 16, stride=2)
        self.b1 = Activation(16 + 3)
        self.level2_0 = Pyramid(16 + 3, 64, stride=2)
        self.level2 = nn.Sequential(*(Pyramid(64, 64, residual=True) for _ in range(p)))
        self.b2 = Activation(64 + 64 + 3)
        self.level3_0 = Pyramid(64 + 64 + 3, 128, stride=2)
        self.level3 = nn.Sequential(*(Pyramid(128, 128, residual=True) for _ in range(q)))
        self.b3 = Activation(128 + 128)
        self.coarse_classifier = _convolution(128 + 128, K, 1)
        self.br = nn.BatchNorm2d(K, eps=BATCH_NORM_EPSILON)
        self.up_l3 = nn.Sequential(_doubling(K))
        self.level3_C = _convolution(64 + 64 + 3, K, 1)
        self.combine_l2_l3 = nn.Sequential(Activation(2 * K), Pyramid(2 * K, K))
        self.up_l2 = nn.Sequential(_doubling(K), Activation(K))
        self.conv = Convolved(K + 16 + 3 * reduced_skip, K, stride=1)
        self.classifier = _doubling(K)
        self.register_buffer("mean", torch.tensor(preset.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preset.std).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = (((x + 1) * 127.5).flip(1) - self.mean) / self.std / 255
        half = _halved(x)
        fine = self.level1(x)  # (N, 16, H/2, W/2)
        both = self.b1(torch.cat([fine, half], 1))  # (N, 19, H/2, W/2)
        entered = self.level2_0(both)  # (N, 64, H/4, W/4)
        middle = self.b2(torch.cat([self.level2(entered), entered, _halved(half)], 1))  # (N, 131, H/4, W/4)
        entered = self.level3_0(middle)  # (N, 128, H/8, W/8)
        coarse = self.b3(torch.cat([entered, self.level3(entered)], 1))  # (N, 256, H/8, W/8)
        found = self.up_l3(self.br(self.coarse_classifier(coarse)))  # (N, K, H/4, W/4)
        found = self.up_l2(self.combine_l2_l3(torch.cat([self.level3_C(middle), found], 1)))  # (N, K, H/2, W/2)
        skipped = both if self.reduced_skip else fine
        logits: Tensor = self.classifier(self.conv(torch.cat([found, skipped], 1)))
        return logits


def espnet(tensors: Mapping[str, Tensor]) -> tuple[ESPNet, Preset]:
    """The network of the authors' tensors by name, in evaluation mode, and what it was trained on.

    Raises ValueError for tensors that are not those of ESPNet for CamVid (12 outputs) or Cityscapes (20).
    """
    renamed = {_our_name(name): tensor for name, tensor in tensors.items()}
    outputs = renamed["classifier.weight"].shape[1] if "classifier.weight" in renamed else 0
    if outputs not in PRESETS:
        raise ValueError(f"not ESPNet for CamVid or Cityscapes: it has {outputs} outputs, not 12 or 20")
    p, q = (len({name.split(".")[1] for name in renamed if name.startswith(f"level{level}.")}) for level in (2, 3))
    last = renamed.get("conv.conv.weight")
    reduced_skip = last is not None and last.shape[1:2] == (outputs + 19,)
    network = ESPNet(PRESETS[outputs], p, q, reduced_skip=reduced_skip)
    expected = {name: tensor.shape for name, tensor in network.state_dict().items() if not _is_count(name)}
    found = {name: tensor.shape for name, tensor in renamed.items() if not _is_count(name)}
    if found != expected:
        strange = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise ValueError(f"not ESPNet: {strange[0]} is missing, too much or of another shape")
    network.load_state_dict(renamed, strict=False)
    return network.eval().requires_grad_(False), PRESETS[outputs]


def _is_count(name: str) -> bool:
    """Whether it is a count of batches, which only training reads and the authors' files leave out."""
    return name.endswith("num_batches_tracked")


def _our_name(name: str) -> str:
    for pattern, ours in RENAMED:
        name = pattern.sub(ours, name)
    return name


def _halved(x: Tensor) -> Tensor:
    return avg_pool2d(x, 3, stride=2, padding=1)


def _convolution(inputs: int, k: int, size: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = size // 2 * dilation
    return nn.Conv2d(inputs, k, size, stride=stride, padding=padding, dilation=dilation, bias=False)


def _doubling(k: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(k, k, 2, stride=2, bias=False)
