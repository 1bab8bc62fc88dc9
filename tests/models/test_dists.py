"""DISTS is the published distance."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from safetensors.torch import save_file
from skimage import data
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torchmetrics.functional.image import dists as theirs

from gencomp.models.dists import DISTS, load_dists
from gencomp.models.lpips import LPIPS
from gencomp.weights.cache import weights_path
from gencomp.weights.failure import MissingWeightsError

BLOCKS = (2, 2, 3, 3, 3)
"""Convolutions of VGG16's blocks."""


def randomised() -> DISTS:
    torch.manual_seed(0)
    network = DISTS().requires_grad_(False)
    for convolution in network.convolutions:
        torch.nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    network.alpha.uniform_(0, 0.2)
    network.beta.uniform_(0, 0.2)
    return network


def l2_pooled(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """sqrt(g * x^2) at every other position, g the outer product of the inner Hann window of five, zeros outside."""
    hann = np.hanning(5)[1:-1]
    g = np.outer(hann, hann) / np.outer(hann, hann).sum()
    n, c, h, w = x.shape
    padded = np.pad(x**2, ((0, 0), (0, 0), (1, 1), (1, 1)))
    blurred = np.zeros((n, c, (h + 1) // 2, (w + 1) // 2))
    for row in range(3):
        for column in range(3):
            blurred += g[row, column] * padded[:, :, row : row + h : 2, column : column + w : 2]
    return np.sqrt(blurred + 1e-12)


def features(network: DISTS, x: Tensor) -> list[NDArray[np.float64]]:
    """The image in [0, 1], and the last ReLU output of every block, as float64."""
    image = (x.double().numpy() + 1) / 2
    found, convolutions = [image], iter(network.convolutions)
    h = (image - np.reshape([0.485, 0.456, 0.406], (3, 1, 1))) / np.reshape([0.229, 0.224, 0.225], (3, 1, 1))
    for block, size in enumerate(BLOCKS):
        h = l2_pooled(h) if block else h
        for _ in range(size):
            convolution = next(convolutions)
            weight, bias = convolution.weight.double(), convolution.bias.double()
            h = np.maximum(conv2d(torch.from_numpy(h), weight, bias, padding=1).numpy(), 0)
        found.append(h)
    return found


def published(network: DISTS, x: Tensor, y: Tensor) -> NDArray[np.float64]:
    """Eq. 4 to 6 of the paper, with the variances and the covariance as differences of moments."""
    alpha, beta = network.alpha.double().numpy(), network.beta.double().numpy()
    total, start, similarity = alpha.sum() + beta.sum(), 0, np.zeros(len(x))
    for a, b in zip(features(network, x), features(network, y), strict=True):
        part = slice(start, start + a.shape[1])
        start = part.stop
        mean_a, mean_b = a.mean((2, 3)), b.mean((2, 3))
        var_a, var_b = (a**2).mean((2, 3)) - mean_a**2, (b**2).mean((2, 3)) - mean_b**2
        covariance = (a * b).mean((2, 3)) - mean_a * mean_b
        l = (2 * mean_a * mean_b + 1e-6) / (mean_a**2 + mean_b**2 + 1e-6)  # noqa: E741
        s = (2 * covariance + 1e-6) / (var_a + var_b + 1e-6)
        similarity += (alpha[part] * l + beta[part] * s).sum(1) / total
    assert start == len(alpha) == 1475
    return 1 - similarity


def test_the_distance_is_the_published_formula() -> None:
    network = randomised()
    x, y = torch.rand(2, 2, 3, 37, 50) * 2 - 1
    expected = published(network, x, y)
    assert np.allclose(network(x, y), expected, atol=1e-5)
    assert expected.min() > 0.05


def test_equal_images_are_at_distance_zero_and_gradients_reach_the_second_one_alone() -> None:
    network = randomised()
    x, y = torch.rand(1, 3, 32, 32, requires_grad=True), torch.rand(1, 3, 32, 32, requires_grad=True)
    assert network(x, x.clone()).item() == pytest.approx(0, abs=1e-6)
    network(x, y).sum().backward()
    assert x.grad is None
    assert y.grad is not None and torch.isfinite(y.grad).all() and y.grad.abs().max() > 0


def test_it_shares_the_backbone_of_lpips(tmp_path: Path) -> None:
    network, backbone = randomised(), LPIPS("vgg")
    backbone.convolutions.load_state_dict(network.convolutions.state_dict())
    save_file(backbone.state_dict(), tmp_path / "vgg.safetensors")
    save_file({"alpha": network.alpha, "beta": network.beta}, tmp_path / "dists.safetensors")
    x, y = torch.rand(2, 1, 3, 32, 32)
    assert torch.equal(load_dists(tmp_path / "dists.safetensors", tmp_path / "vgg.safetensors")(x, y), network(x, y))


def test_with_the_real_weights_it_is_the_distance_of_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchmetrics has its own alpha and beta and takes VGG16 from torchvision, in whose place stand torch's own layers
    with our weights."""
    try:
        network = load_dists(weights_path("dists"), weights_path("lpips-vgg"))
    except MissingWeightsError as error:
        pytest.skip(str(error))

    def vgg16(weights: object) -> SimpleNamespace:
        """Layers 0 to 29 of torchvision's `features`: convolutions, ReLUs, and the maxima that DISTS replaces."""
        layers, convolutions = nn.Sequential(), iter(network.convolutions)
        for block, size in enumerate(BLOCKS):
            layers.extend([nn.MaxPool2d(2)] if block else [])
            for _ in range(size):
                layers.extend([next(convolutions), nn.ReLU(inplace=False)])
        assert weights == "default" and len(layers) == 30
        return SimpleNamespace(features=layers)

    monkeypatch.setattr(theirs, "_TORCHVISION_AVAILABLE", True)
    monkeypatch.setattr(theirs, "vgg16", vgg16, raising=False)
    monkeypatch.setattr(theirs, "VGG16_Weights", SimpleNamespace(DEFAULT="default"), raising=False)
    image = Image.fromarray(data.coffee()).resize((150, 97))
    pictures = [image, image.filter(ImageFilter.GaussianBlur(2)), image.quantize(8).convert("RGB"), image.rotate(3)]
    x, *distorted = (torch.from_numpy(np.array(one)).permute(2, 0, 1)[None] / 255 for one in pictures)
    for y in distorted:
        expected = theirs.deep_image_structure_and_texture_similarity(x, y).item()
        assert network(2 * x - 1, 2 * y - 1).item() == pytest.approx(expected, abs=1e-5)
        assert expected > 0.05


def test_to_the_real_weights_a_moved_texture_is_nearer_than_a_noisy_one() -> None:
    """What DISTS is for: pixel by pixel it is the other way round."""
    try:
        network = load_dists(weights_path("dists"), weights_path("lpips-vgg"))
    except MissingWeightsError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    texture = torch.nn.functional.avg_pool2d(torch.randn(1, 3, 70, 70), 5, 1, 2).clamp(-1, 1)
    x, shifted = texture[..., :64, :64], texture[..., 3:67, 3:67]
    noisy = (x + 0.25 * torch.randn_like(x)).clamp(-1, 1)
    assert network(x, shifted).item() < 0.7 * network(x, noisy).item()
    assert (x - shifted).square().mean() > (x - noisy).square().mean()
