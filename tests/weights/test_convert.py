"""Converted weights compute what the networks they come from compute."""

import numpy as np
import torch
from torch.nn.functional import conv2d, pad

from gencomp.models.features import CONVOLUTIONS, VGG19
from gencomp.weights.arrays import Arrays
from gencomp.weights.convert import converted

ADAIN_LAYERS = (2, 5, 9, 12, 16, 19, 22, 25, 29, 32, 35, 38, 42, 45)
"""conv1_1 to conv5_2 in AdaIN's sequence of paddings, convolutions, ReLUs and poolings."""
TORCHVISION_LAYERS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30)


def convolutions(random: np.random.Generator, names: list[str]) -> Arrays:
    """VGG19's convolutions, random in the first block and full of their index behind it."""
    widths = (3, *CONVOLUTIONS, 512)
    found: Arrays = {}
    for index, (name, inputs, filters) in enumerate(zip(names, widths[:-1], widths[1:], strict=True)):
        shape = (filters, inputs, 3, 3)
        found[f"{name}.weight"] = (
            random.normal(size=shape).astype(np.float32) if index < 2 else np.full(shape, index, "f4")
        )
        found[f"{name}.bias"] = random.normal(size=filters).astype(np.float32)
    return found


def loaded(arrays: Arrays) -> VGG19:
    network = VGG19()
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return network


def test_adains_vgg19_has_the_same_features_away_from_the_border() -> None:
    random = np.random.default_rng(0)
    arrays = convolutions(random, [str(layer) for layer in ADAIN_LAYERS])
    arrays["2.weight"] /= 255  # as its input is that much larger
    arrays["0.weight"] = 255 * np.eye(3, dtype=np.float32)[::-1, :, None, None].copy()
    arrays["0.bias"] = np.array([-103.939, -116.779, -123.68], np.float32)
    x = torch.from_numpy(random.random((1, 3, 64, 64), np.float32))
    z = conv2d(x, torch.from_numpy(arrays["0.weight"]), torch.from_numpy(arrays["0.bias"]))
    # reflecting, as in AdaIN
    first = conv2d(pad(z, (1, 1, 1, 1), "reflect"), *(torch.from_numpy(arrays[f"2.{p}"]) for p in ("weight", "bias")))
    network = loaded(converted("adain-vgg19", arrays))
    features = network(2 * x - 1)
    assert torch.allclose(features[0][..., 1:-1, 1:-1], first.relu()[..., 1:-1, 1:-1], atol=1e-4)
    second = network.convolutions[1]
    assert np.array_equal(second.weight.detach().numpy(), arrays["5.weight"])
    assert np.array_equal(network.convolutions[12].bias.detach().numpy(), arrays["42.bias"])


def test_torchvisions_vgg19_keeps_its_tensors_up_to_conv5_1() -> None:
    arrays = convolutions(np.random.default_rng(0), [f"features.{layer}" for layer in TORCHVISION_LAYERS])
    arrays["classifier.0.weight"] = np.zeros((2, 2), np.float32)
    network = loaded(converted("torchvision-vgg19", arrays))
    for index, layer in enumerate(TORCHVISION_LAYERS[:13]):
        assert np.array_equal(network.convolutions[index].weight.detach().numpy(), arrays[f"features.{layer}.weight"])


def test_alpha_and_beta_of_dists_become_rows() -> None:
    arrays = {name: np.full((1, 1475, 1, 1), i, np.float32) for i, name in enumerate(("alpha", "beta"))}
    found = converted("dists", arrays)
    assert {name: array.shape for name, array in found.items()} == {"alpha": (1475,), "beta": (1475,)}
    assert found["beta"].min() == 1


def test_inceptions_normalisation_is_folded_into_its_convolutions() -> None:
    random = np.random.default_rng(0)
    shapes = {"weight": (4, 3, 3, 1), "beta": (4,), "mean": (4,), "var": (4,)}
    arrays = {
        f"net/layers/{layer}/{part}": random.random(shape, np.float32) + 0.1
        for layer in ("conv", "mixed/tower/conv_1")
        for part, shape in shapes.items()
    }
    found = converted("inception-script", arrays)
    assert list(found) == [f"convolutions.{i}.{part}" for i in range(2) for part in ("weight", "bias")]
    x = torch.from_numpy(random.random((2, 3, 9, 9), np.float32))
    weight, beta, mean, variance = (
        torch.from_numpy(arrays[f"net/layers/mixed/tower/conv_1/{part}"]) for part in shapes
    )
    plain = torch.nn.functional.batch_norm(conv2d(x, weight), mean, variance, bias=beta, eps=1e-3)
    folded = conv2d(x, *(torch.from_numpy(found[f"convolutions.1.{part}"]) for part in ("weight", "bias")))
    assert torch.allclose(plain, folded, atol=1e-5)
