"""Winograd's convolution is the convolution, and networks that use it find the same distances."""

import pytest
import torch
from torch import nn

from gencomp.models.winograd import FEWEST_INPUTS, Winograd, by_winograd
from tests.models.judges import random_judge


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 8), (7, 3), (13, 803), (50, 66)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_convolution_of_any_size(height: int, width: int, bias: bool) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(5, 7, 3, padding=1, bias=bias).double().requires_grad_(False)
    x = torch.randn(2, 5, height, width).double()
    found = Winograd(convolution)(x)
    assert found.shape == (2, 7, height, width)
    assert torch.allclose(found, convolution(x), rtol=0, atol=1e-12)


def test_in_single_precision_it_is_as_close_as_it_says() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(512, 64, 3, padding=1).requires_grad_(False)
    x = torch.randn(1, 512, 32, 48).relu()
    expected = convolution.double()(x.double())
    found = Winograd(convolution.float())(x).double()
    assert float((found - expected).abs().max() / expected.abs().max()) < 3e-5


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 4, 3, padding=1, stride=2),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 5, padding=2),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_other_convolutions_are_refused(convolution: nn.Conv2d) -> None:
    with pytest.raises(ValueError, match="not a 3x3 convolution of stride 1 that keeps its size"):
        Winograd(convolution)


@pytest.mark.parametrize(
    ("which", "replaced"),
    [(0, [False, False, True, True, True]), (1, [False, *12 * [True]]), (2, [False, *12 * [True]])],
    ids=["LPIPS (AlexNet)", "LPIPS (VGG16)", "DISTS"],
)
def test_distances_stay_what_they_are(which: int, replaced: list[bool]) -> None:
    network = random_judge()[which]
    x, y = torch.rand(2, 1, 3, 67, 90) * 2 - 1
    expected = network(x, y)
    by_winograd(network)
    assert [isinstance(convolution, Winograd) for convolution in network.convolutions] == replaced
    assert torch.allclose(network(x, y), expected, rtol=1e-5)


def test_few_inputs_are_left_to_pytorch() -> None:
    network = nn.Sequential(nn.Conv2d(FEWEST_INPUTS - 1, 8, 3, padding=1), nn.Conv2d(FEWEST_INPUTS, 8, 3, padding=1))
    by_winograd(network)
    assert [type(layer) for layer in network] == [nn.Conv2d, Winograd]
