"""The networks are the paper's, and the two traps of its re-implementations are not in them."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gencomp.models.compressor import Compressor, ModelConfig, initialise
from gencomp.models.discriminator import Discriminator, PatchDiscriminator
from gencomp.models.encoder import Encoder
from gencomp.models.generator import Generator
from gencomp.models.light import LightConfig
from gencomp.models.quantizer import Quantizer

SMALL = ModelConfig(width=4, blocks=1, channels=4)


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def small_compressor(config: ModelConfig = SMALL) -> Compressor:
    compressor = Compressor(config)
    initialise(compressor, torch.Generator().manual_seed(0))
    return compressor


def test_the_literal_paper_config_has_the_papers_parameter_counts() -> None:
    with torch.device("meta"):
        compressor = Compressor(ModelConfig())
        discriminator = Discriminator()
    assert parameters(compressor.E) == 5_553_244
    assert parameters(compressor.G) == 154_869_723
    assert [parameters(scale) for scale in discriminator.scales] == [2_764_737] * 3


def test_the_light_networks_keep_their_bounds() -> None:
    """At most 6 million weights, 18 kMAC per pixel in E and 40 in G."""
    config = ModelConfig(channels=16, nested=True, light=LightConfig())
    with torch.device("meta"):
        compressor = Compressor(config)
        for network, inputs, bound in ((compressor.E, (1, 3, 512, 768), 18e3), (compressor.G, (1, 16, 32, 48), 40e3)):
            with FlopCounterMode(display=False) as counter:
                network(torch.zeros(inputs))
            assert 10e3 < counter.get_total_flops() / 2 / (512 * 768) <= bound
    assert parameters(compressor.E) + parameters(compressor.G) <= 6_000_000


def test_the_latent_has_stride_16_and_c_channels_and_the_picture_comes_back_in_size_and_range() -> None:
    x = torch.rand(2, 3, 48, 80, generator=torch.Generator().manual_seed(1)) * 2 - 1
    x_hat, w_hat, _ = small_compressor()(x)
    assert w_hat.shape == (2, 4, 3, 5)
    assert x_hat.shape == x.shape
    assert x_hat.abs().max() <= 1


@pytest.mark.parametrize(("downsamplings", "levels", "channels"), [(1, 2, 1), (3, 7, 2), (5, 5, 16)])
def test_depth_levels_and_channels_are_fields(downsamplings: int, levels: int, channels: int) -> None:
    config = ModelConfig(width=2, blocks=0, downsamplings=downsamplings, levels=levels, channels=channels)
    side = 2 * max(config.smallest_side, config.stride)
    x_hat, w_hat, _ = small_compressor(config)(torch.zeros(1, 3, side, side))
    assert w_hat.shape == (1, channels, side // config.stride, side // config.stride)
    assert len(small_compressor(config).q.centers) == levels
    assert x_hat.shape == (1, 3, side, side)


def test_the_smallest_accepted_side_passes_through() -> None:
    side = SMALL.smallest_side
    assert side == 32
    assert small_compressor()(torch.zeros(1, 3, side, side)).x_hat.shape == (1, 3, side, side)


def test_an_untrained_encoder_hits_all_five_centers_because_its_last_layer_is_linear() -> None:
    """A normalisation and ReLU there would leave the centers -2 and -1 unused."""
    encoder = Encoder(width=60, downsamplings=4, channels=4, norm=torch.nn.InstanceNorm2d)
    initialise(encoder, torch.Generator().manual_seed(0))
    x = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        symbols = Quantizer(5, 1.0).symbols(encoder(x))
    assert set(symbols.unique().tolist()) == {0, 1, 2, 3, 4}


def test_the_generator_ends_in_a_bare_convolution_and_tanh() -> None:
    assert isinstance(list(Generator(4, 4, 1, 4, torch.nn.InstanceNorm2d).layers)[-1], torch.nn.Conv2d)


def test_the_gradient_of_the_distortion_reaches_every_weight_of_the_encoder() -> None:
    compressor = small_compressor()
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2)) * 2 - 1
    (compressor(x).x_hat - x).square().mean().backward()
    weights = {name: p for name, p in compressor.E.named_parameters() if name.endswith("weight")}
    assert len(weights) == 6
    for name, weight in weights.items():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name


def test_the_discriminator_judges_three_scales_with_four_feature_maps_each() -> None:
    judgements = Discriminator(3, 4, 3)(torch.zeros(1, 3, 64, 64))
    assert [len(judgement.features) for judgement in judgements] == [4, 4, 4]
    sides = [judgement.scores.shape[-1] for judgement in judgements]
    assert sides == sorted(sides, reverse=True) and len(set(sides)) == 3


def test_the_first_layer_of_the_discriminator_is_not_normalised() -> None:
    first, second = list(PatchDiscriminator(3, 4).layers)[:2]
    assert not any(isinstance(m, torch.nn.InstanceNorm2d) for m in first.modules())
    assert any(isinstance(m, torch.nn.InstanceNorm2d) for m in second.modules())
