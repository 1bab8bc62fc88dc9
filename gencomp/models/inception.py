"""The Inception-v3 of FID (Szegedy et al. 2015, as published by TensorFlow on 2015-12-05): pictures to features."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d, relu
from torch.nn.utils import convert_conv2d_weight_memory_format

SIDE = 299
"""Pixels of the input."""
FEATURES = 2048


class Convolution(NamedTuple):
    """One convolution, with ReLU behind it."""

    filters: int
    size: tuple[int, int] = (1, 1)
    stride: int = 1
    same: bool = True
    """Whether zeros around the input keep its size."""


class Branch(NamedTuple):
    """One of the ways through a block: pooling or none, convolutions, and at the end one more, or two side by side."""

    path: tuple[Convolution, ...] = ()
    pooling: str = ""
    """`average`, `largest` or `halving` (the largest, at stride 2)."""
    split: tuple[Convolution, ...] = ()


def _c(filters: int, height: int = 1, width: int = 1) -> Convolution:
    return Convolution(filters, (height, width))


def _half(filters: int) -> Convolution:
    return Convolution(filters, (3, 3), stride=2, same=False)


STEM = (_half(32), Convolution(32, (3, 3), same=False), _c(64, 3, 3)), (_c(80), Convolution(192, (3, 3), same=False))
"""Before the two poolings."""


def _a(pooled: int) -> tuple[Branch, ...]:
    return (
        Branch((_c(64),)),
        Branch((_c(48), _c(64, 5, 5))),
        Branch((_c(64), _c(96, 3, 3), _c(96, 3, 3))),
        Branch((_c(pooled),), "average"),
    )


def _c7(k: int) -> tuple[Branch, ...]:
    return (
        Branch((_c(192),)),
        Branch((_c(k), _c(k, 1, 7), _c(192, 7, 1))),
        Branch((_c(k), _c(k, 7, 1), _c(k, 1, 7), _c(k, 7, 1), _c(192, 1, 7))),
        Branch((_c(192),), "average"),
    )


def _e(pooling: str) -> tuple[Branch, ...]:
    split = _c(384, 1, 3), _c(384, 3, 1)
    return (
        Branch((_c(320),)),
        Branch((_c(384),), split=split),
        Branch((_c(448), _c(384, 3, 3)), split=split),
        Branch((_c(192),), pooling),
    )


BLOCKS: tuple[tuple[Branch, ...], ...] = (
    *(_a(32), _a(64), _a(64)),
    (Branch((_half(384),)), Branch((_c(64), _c(96, 3, 3), _half(96))), Branch(pooling="halving")),
    *(_c7(128), _c7(160), _c7(160), _c7(192)),
    (
        Branch((_c(192), _half(320))),
        Branch((_c(192), _c(192, 1, 7), _c(192, 7, 1), _half(192))),
        Branch(pooling="halving"),
    ),
    *(_e("average"), _e("largest")),
)
"""Behind the stem. The last one pools by the largest value, as the published graph does."""


class Inception(nn.Module):
    """Pictures (N, 3, 299, 299) in [-1, 1) -> features (N, 2048), at least 0.

    The normalisation behind each convolution is folded into its weights; `convolutions` holds them in the order in
    which `forward` needs them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(_layers())

    def forward(self, x: Tensor) -> Tensor:
        layers = iter(self.convolutions)
        for path in STEM:
            x = max_pool2d(_through(path, layers, x), 3, stride=2)  # (N, 64, 73, 73), (N, 192, 35, 35)
        for block in BLOCKS:
            x = torch.cat([part for branch in block for part in _parts(branch, layers, x)], 1)
        return x.mean((2, 3))  # (N, 2048, 8, 8) -> (N, 2048)


def _through(path: tuple[Convolution, ...], layers: Iterator[nn.Module], x: Tensor) -> Tensor:
    for _ in path:
        x = relu(next(layers)(x), inplace=True)
    return x


def _parts(branch: Branch, layers: Iterator[nn.Module], x: Tensor) -> list[Tensor]:
    if branch.pooling == "average":
        x = avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    elif branch.pooling:
        x = max_pool2d(x, 3, stride=2) if branch.pooling == "halving" else max_pool2d(x, 3, stride=1, padding=1)
    x = _through(branch.path, layers, x)
    return [_through((layer,), layers, x) for layer in branch.split] or [x]


def _layers() -> Iterator[nn.Conv2d]:
    width = 3
    for path in STEM:
        for layer in path:
            yield _convolution(width, layer)
            width = layer.filters
    for block in BLOCKS:
        widths = []
        for branch in block:
            inner = width
            for layer in branch.path:
                yield _convolution(inner, layer)
                inner = layer.filters
            for layer in branch.split:
                yield _convolution(inner, layer)
            widths.append(sum(layer.filters for layer in branch.split) or inner)
        width = sum(widths)
    assert width == FEATURES


def _convolution(inputs: int, layer: Convolution) -> nn.Conv2d:
    padding = (layer.size[0] // 2, layer.size[1] // 2) if layer.same else (0, 0)
    return nn.Conv2d(inputs, layer.filters, layer.size, stride=layer.stride, padding=padding)


def load_inception(path: Path) -> Inception:
    """Inception with weights from a safetensors file, tensors `convolutions.<i>.{weight,bias}`, as `gencomp weights`
    makes them. Raises FileNotFoundError."""
    network = Inception()
    network.load_state_dict(load_file(path))
    convert_conv2d_weight_memory_format(network, torch.channels_last)  # three quarters of the time on CPUs
    return network.eval().requires_grad_(False)
