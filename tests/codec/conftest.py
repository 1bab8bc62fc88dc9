"""A small random model that uses all its centers, and pictures with structure."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import cross_entropy

from gencomp.models.compressor import Compressor, ModelConfig, initialise
from gencomp.models.entropy import count_contexts, fit_contexts, fit_frequencies
from gencomp.models.light import LightConfig
from gencomp.models.package import Package, load_package, save_package
from tests.models.context_networks import random_network

settings.register_profile("shared-machine", deadline=None)  # a busy machine is no failure
settings.load_profile("shared-machine")

SMALL_LIGHT = ModelConfig(
    channels=16,
    nested=True,
    light=LightConfig(encoder=(8, 8, 8), encoder_blocks=(0, 0, 0), generator=(8, 8, 8), generator_blocks=(0, 0, 0)),
)


def small_package(folder: Path, config: ModelConfig, seed: int) -> Package:
    """A random model, saved and loaded; E's last layer is scaled so that its latent reaches every center."""
    compressor = Compressor(config)
    initialise(compressor, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for network in (compressor.E, compressor.G):
            last = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)][-1]
            last.weight *= 8
    counts = np.tile(np.array([5, 20, 50, 20, 5]), (config.channels, 25, 1))
    counts[:, np.arange(25), np.arange(25) // 5] += 20  # symbols are like their left neighbours
    save_package(folder, config, compressor, fit_frequencies(counts.sum(1)), fit_contexts(counts))
    return load_package(folder)


def fitted(folder: Path, package: Package, symbols: NDArray[np.uint8], kind: str) -> Package:
    """The same model with tables by context, or with a context network (`kind`), that know `symbols` (C, h, w) so well
    that no other coder has a chance with them."""
    config, network, contexts = package.config, None, None
    if kind == "tables":
        contexts = fit_contexts(count_contexts(symbols, config.levels))
    else:
        network = random_network(config.channels, config.levels, seed=9)
        coded, target = torch.ones(1, 1, *symbols.shape[1:], dtype=torch.bool), torch.from_numpy(symbols).long()
        optimiser = torch.optim.Adam(network.parameters(), 0.02)
        for _ in range(80):
            loss = cross_entropy(network(target[None], coded)[0], target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    weights = None if network is None else network.weights()
    save_package(folder, config, package.compressor, package.frequencies, contexts, weights)
    return load_package(folder)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    config = ModelConfig(width=4, blocks=1, channels=4)
    return small_package(tmp_path_factory.mktemp("packages") / "small", config, seed=1)


@pytest.fixture(scope="session")
def other_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    config = ModelConfig(width=4, blocks=1, channels=4)
    return small_package(tmp_path_factory.mktemp("packages") / "other", config, seed=2)


@pytest.fixture(scope="session")
def nested_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A light model of which 1 to 16 channels can be coded."""
    return small_package(tmp_path_factory.mktemp("packages") / "nested", SMALL_LIGHT, seed=3)


@pytest.fixture(scope="session")
def nested_paper_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A model of the paper's networks of which 1 to 3 channels can be coded."""
    config = ModelConfig(width=4, blocks=1, channels=3, nested=True)
    return small_package(tmp_path_factory.mktemp("packages") / "nested-paper", config, seed=4)


@pytest.fixture(scope="session")
def selective_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A light model of selective compression, of 5 classes and 3 channels."""
    light = msgspec.structs.replace(SMALL_LIGHT.light, generator_blocks=(0, 1, 0))
    config = ModelConfig(channels=3, mode="sc", classes=5, light=light)
    return small_package(tmp_path_factory.mktemp("packages") / "selective", config, seed=5)


@pytest.fixture(scope="session")
def selective_paper_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A model of the paper's selective compression, whose encoder sees the semantics, of 5 classes and 2 channels."""
    config = ModelConfig(width=2, blocks=1, channels=2, mode="sc", classes=5, semantics_to_encoder=True)
    return small_package(tmp_path_factory.mktemp("packages") / "selective-paper", config, seed=6)


@pytest.fixture(scope="session")
def wide_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A light model of selective compression, of 300 classes and 2 channels, that takes noise."""
    config = ModelConfig(channels=2, mode="sc", classes=300, light=SMALL_LIGHT.light, noise=2)
    return small_package(tmp_path_factory.mktemp("packages") / "wide", config, seed=8)


@pytest.fixture(scope="session")
def noisy_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A nested model of 2 channels whose generator takes noise beside the symbols."""
    config = ModelConfig(width=4, blocks=1, channels=2, nested=True, noise=3)
    return small_package(tmp_path_factory.mktemp("packages") / "noisy", config, seed=7)


@pytest.fixture
def picture() -> Image.Image:
    return scene(61, 45)


def scene(width: int, height: int) -> Image.Image:
    """A picture with gradients, edges and noise."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    pixels = np.stack(
        [x * 255 / max(1, width - 1), y * 255 / max(1, height - 1), 128 + 90 * np.sin(x / 7 + y / 11)], -1
    )
    pixels[height // 3 : 2 * height // 3, width // 4 : width // 2] = (220, 40, 30)
    noise = np.random.default_rng(0).normal(0, 6, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8), "RGB")
