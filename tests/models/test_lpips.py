"""LPIPS is the published distance: its formula, its weights, its example."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, relu

from gencomp.models.lpips import LPIPS, SCALE, SHIFT, Name, load_lpips
from gencomp.weights.cache import weights_path
from gencomp.weights.failure import MissingWeightsError

EXAMPLE = Path(__file__).parents[3] / "shared" / "weights" / "lpips_example"
"""The images of LPIPS' own repository, where they lie beside the checkout."""
ALEX = [(2, 4), "pool3", (2, 1), "pool3", (1, 1), (1, 1), (1, 1)]
"""Padding and stride of the convolutions, and the poolings."""
VGG = [*(2 * [(1, 1)]), "pool2", *(2 * [(1, 1)]), *(2 * ["pool2", *(3 * [(1, 1)])]), "pool2", *(3 * [(1, 1)])]
VGG_COMPARED = (1, 3, 6, 9, 12)


def randomised(backbone: Name) -> LPIPS:
    """Random weights of which no layer dies or explodes, and positive heads."""
    torch.manual_seed(0)
    network = LPIPS(backbone).requires_grad_(False)
    for convolution in network.convolutions:
        torch.nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    for head in network.heads:
        head.weight.abs_()
    return network


def features(network: LPIPS, layers: list[object], x: Tensor) -> list[NDArray[np.float64]]:
    """The ReLU outputs of every convolution, as float64."""
    found = []
    convolutions = iter(network.convolutions)
    x = (x - torch.tensor(SHIFT)[:, None, None]) / torch.tensor(SCALE)[:, None, None]
    for layer in layers:
        if isinstance(layer, str):
            x = max_pool2d(x, int(layer[-1]), 2)
        else:
            padding, stride = layer
            convolution = next(convolutions)
            x = relu(conv2d(x, convolution.weight, convolution.bias, stride=stride, padding=padding))
            found.append(x.double().numpy())
    return found


def unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x / (np.sqrt((x**2).sum(1, keepdims=True)) + 1e-10)


@pytest.mark.parametrize("backbone", get_args(Name))
def test_the_distance_is_the_published_formula(backbone: Name) -> None:
    network = randomised(backbone)
    x, y = torch.rand(2, 2, 3, 67, 50) * 2 - 1
    layers, compared = (ALEX, range(5)) if backbone == "alex" else (VGG, VGG_COMPARED)
    a, b = features(network, layers, x), features(network, layers, y)
    assert len(a) == len(network.convolutions)
    expected = np.zeros(2)
    for index, head in zip(compared, network.heads, strict=True):
        weights = head.weight.double().numpy()[0]  # (C, 1, 1)
        expected += (weights * (unit(a[index]) - unit(b[index])) ** 2).sum(1).mean((1, 2))
    assert np.allclose(network(x, y), expected, rtol=1e-4)
    assert expected.min() > 0.01


@pytest.mark.parametrize("backbone", get_args(Name))
def test_equal_images_are_at_distance_zero_and_gradients_reach_the_second_one_alone(backbone: Name) -> None:
    network = randomised(backbone)
    x, y = torch.rand(1, 3, 32, 32, requires_grad=True), torch.rand(1, 3, 32, 32, requires_grad=True)
    assert network(x, x.clone()).item() == 0
    network(x, y).sum().backward()
    assert x.grad is None
    assert y.grad is not None and y.grad.abs().max() > 0


def test_weights_are_kept_under_stable_names(tmp_path: Path) -> None:
    network = randomised("alex")
    names = [*(f"convolutions.{i}.{part}" for i in range(5) for part in ("weight", "bias"))]
    assert list(network.state_dict()) == names + [f"heads.{i}.weight" for i in range(5)]
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    x, y = torch.rand(2, 1, 3, 32, 32)
    assert torch.equal(load_lpips(tmp_path / "a.safetensors")(x, y), network(x, y))
    with pytest.raises(FileNotFoundError):
        load_lpips(tmp_path / "b.safetensors")


@pytest.mark.parametrize(("backbone", "distances"), [("alex", (0.722, 0.138)), ("vgg", (0.569, 0.422))])
def test_the_official_example_has_its_published_distances(backbone: Name, distances: tuple[float, float]) -> None:
    try:
        network = load_lpips(weights_path(f"lpips-{backbone}"), backbone)
    except MissingWeightsError as error:
        pytest.skip(str(error))
    if not EXAMPLE.is_dir():
        pytest.skip("the example images of LPIPS are not here")
    reference, *distorted = (
        torch.from_numpy(np.array(Image.open(EXAMPLE / f"ex_{name}.png").convert("RGB"))).permute(2, 0, 1)[None] / 127.5
        - 1
        for name in ("ref", "p0", "p1")
    )
    found = [network(reference, x).item() for x in distorted]
    assert found == pytest.approx(distances, abs=0.0006)
