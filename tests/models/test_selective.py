"""SC's networks are the paper's, G sees nothing masked, and the light ones read no statistics of the picture."""

import pytest
import torch
from torch import Tensor, nn

from gencomp.models.compressor import initialise
from gencomp.models.latent import draw_noise
from gencomp.models.light import LightConfig, LightEncoder, initialise_light
from gencomp.models.selective import (
    LabelEncoder,
    LightLabelEncoder,
    LightSelectiveEncoder,
    LightSelectiveGenerator,
    SelectiveEncoder,
    SelectiveGenerator,
    mask_to_latent,
)
from gencomp.models.semantics import one_hot

CLASSES, CHANNELS = 5, 3
SEMANTICS = CLASSES + 1
LIGHT = LightConfig(encoder=(8, 12, 16), generator=(16, 12, 8), generator_blocks=(1, 1, 1))
KINDS = ("paper", "light")
Encoders = SelectiveEncoder | LightSelectiveEncoder
Generators = SelectiveGenerator | LightSelectiveGenerator


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoder(kind: str, semantics: int = 0) -> Encoders:
    if kind == "light":
        light = LightSelectiveEncoder(LIGHT, CHANNELS, semantics)
        initialise_light(light, drawn(1))
        return light
    paper = SelectiveEncoder(4, 4, CHANNELS, nn.InstanceNorm2d, semantics)
    initialise(paper, drawn(1))
    return paper


def generator(kind: str, noise: int = 0) -> Generators:
    if kind == "light":
        light = LightSelectiveGenerator(LIGHT, CHANNELS, semantics=SEMANTICS, noise=noise)
        initialise_light(light, drawn(2))
        return light
    paper = SelectiveGenerator(4, 4, 1, CHANNELS, nn.InstanceNorm2d, semantics=SEMANTICS, noise=noise)
    initialise(paper, drawn(2))
    return paper


@pytest.mark.parametrize("kind", KINDS)
def test_a_wall_that_was_not_preserved_repeats_itself_without_noise_and_not_with_it(kind: str) -> None:
    """Away from borders, where F(s) and w_hat are constant, G draws the same 16 pixels again."""
    s, w_hat = one_hot(torch.zeros(1, 384, 384, dtype=torch.int64), None, CLASSES), torch.zeros(1, CHANNELS, 48, 48)
    plain, noisy = generator(kind), generator(kind, noise=2)
    with torch.no_grad():
        pictures = [plain(w_hat, s), *(noisy(w_hat, s, draw_noise(w_hat, 2, seed)) for seed in (0, 1))]
        middles = [picture[..., 160:224, 160:224] for picture in pictures]
        again = [picture[..., 176:240, 160:224] for picture in pictures]
    changes = [float((a - b).abs().max()) for a, b in zip(middles, again, strict=True)]
    assert changes[0] < 1e-4 < 1e-3 < min(changes[1:])
    assert not torch.allclose(middles[1], middles[2], atol=1e-3)


def semantics(height: int, width: int, seed: int = 3) -> Tensor:
    labels = torch.randint(0, CLASSES, (2, height, width), generator=drawn(seed))
    edges = (torch.rand(2, 1, height, width, generator=drawn(seed + 1)) < 0.1).float()
    return one_hot(labels, edges, CLASSES)


def pictures(height: int, width: int) -> Tensor:
    return torch.rand(2, 3, height, width, generator=drawn(5)) * 2 - 1


def latents(h: int, w: int, seed: int = 6) -> Tensor:
    return torch.randint(-2, 3, (2, CHANNELS, h, w), generator=drawn(seed)).float()


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_one_hot_ids_are_followed_by_the_edges_and_unlabelled_pixels_are_zero_in_every_class() -> None:
    labels = torch.tensor([[[0, 2], [255, 1]]])
    edges = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    s = one_hot(labels, edges, 3)
    assert s.dtype == torch.float32
    assert s[0].tolist() == [[[1, 0], [0, 0]], [[0, 0], [0, 1]], [[0, 1], [0, 0]], [[1, 0], [0, 1]]]
    without = one_hot(labels, None, 3)
    assert torch.equal(without[:, :3], s[:, :3])
    assert without.shape == s.shape and not without[:, 3].any()


def test_an_id_of_255_is_a_class_where_there_are_that_many() -> None:
    s = one_hot(torch.full((1, 2, 2), 255), None, 300)
    assert s[:, 255].all() and s.sum() == 4


def test_a_latent_position_is_preserved_where_any_of_its_pixels_is() -> None:
    m = torch.zeros(1, 1, 16, 24)
    m[0, 0, 7, 8] = 1
    assert mask_to_latent(m)[0, 0].tolist() == [[0, 1, 0], [0, 0, 0]]
    assert mask_to_latent(torch.ones(2, 1, 32, 16)).eq(1).all()
    assert mask_to_latent(m, stride=4).sum() == 1


def test_the_papers_sizes_have_the_papers_parameter_counts() -> None:
    """171,423,963 counts the layers of GC's generator (154,869,723) with 960 + 960 instead of 4 channels coming in."""
    with torch.device("meta"):
        G = SelectiveGenerator(60, 4, 9, 4, nn.InstanceNorm2d, semantics=20)
        E = SelectiveEncoder(60, 4, 4, nn.InstanceNorm2d)
    assert parameters(G.merged) == 171_423_963 == 154_869_723 + (1920 - 4) * 960 * 9
    assert parameters(G.F) == 20 * 60 * 49 + 60 + sum(2 * k * k * 9 + 2 * k for k in (60, 120, 240, 480)) == 5_568_660
    assert parameters(G.latent) == 4 * 480 * 9 + 480 + 480 * 960 * 9 + 960 == 4_165_920
    assert parameters(G) == 171_423_963 + 5_568_660 + 4_165_920
    assert parameters(E) == 1_387_804
    assert G.F.outputs == 960


def test_the_decoder_is_one_state_dict_with_f_in_it() -> None:
    parts = {kind: {name.split(".")[0] for name in generator(kind).state_dict()} for kind in KINDS}
    assert parts == {"paper": {"F", "latent", "merged"}, "light": {"F", "latent", "layers", "synthesis"}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seen", [0, SEMANTICS])
def test_e_quantises_at_stride_8_and_the_picture_comes_back_in_size_and_range(kind: str, seen: int) -> None:
    x, s = pictures(48, 80), semantics(48, 80)
    w = encoder(kind, seen)(x, s)
    assert w.shape == (2, CHANNELS, 6, 10)
    x_hat = generator(kind)(w, s)
    assert x_hat.shape == x.shape
    assert x_hat.abs().max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_picture_of_the_codec_passes_through(kind: str) -> None:
    x, s = pictures(32, 32), semantics(32, 32)
    assert generator(kind)(encoder(kind)(x), s).shape == (2, 3, 32, 32)


def test_f_alone_gives_as_many_channels_as_it_says_at_stride_16() -> None:
    for F in (LabelEncoder(SEMANTICS, 4, 4, nn.InstanceNorm2d), LightLabelEncoder(LIGHT, SEMANTICS)):
        assert F(semantics(32, 48)).shape == (2, F.outputs, 2, 3)


def test_depth_moves_both_strides() -> None:
    E = SelectiveEncoder(2, 3, CHANNELS, nn.InstanceNorm2d)
    G = SelectiveGenerator(2, 3, 0, CHANNELS, nn.InstanceNorm2d, semantics=SEMANTICS)
    w = E(pictures(32, 48))
    assert w.shape == (2, CHANNELS, 8, 12)
    assert G(w, semantics(32, 48)).shape == (2, 3, 32, 48)


@pytest.mark.parametrize("kind", KINDS)
def test_e_without_the_flag_does_not_depend_on_s_and_with_it_does(kind: str) -> None:
    x, s, other = pictures(32, 32), semantics(32, 32), semantics(32, 32, seed=20)
    blind, seeing = encoder(kind), encoder(kind, SEMANTICS)
    assert torch.equal(blind(x), blind(x, s)) and torch.equal(blind(x, s), blind(x, other))
    assert not torch.allclose(seeing(x, s), seeing(x, other))
    with pytest.raises(ValueError, match="none were given"):
        seeing(x)


@pytest.mark.parametrize("kind", KINDS)
def test_g_depends_on_s_and_on_what_is_preserved_and_not_on_what_is_masked(kind: str) -> None:
    G, s, w_hat = generator(kind), semantics(32, 48), latents(4, 6)
    m = torch.zeros(2, 1, 32, 48)
    m[:, :, 8:16, 20:40] = 1
    kept = mask_to_latent(m)
    elsewhere = torch.where(kept.bool(), w_hat, latents(4, 6, seed=30))
    within = torch.where(kept.bool(), -2.0 * w_hat.sign() + 1, w_hat)
    x_hat = G(w_hat * kept, s)
    assert not torch.equal(elsewhere, w_hat)
    assert torch.equal(x_hat, G(elsewhere * kept, s))
    assert not torch.allclose(x_hat, G(within * kept, s))
    assert not torch.allclose(x_hat, G(w_hat * kept, semantics(32, 48, seed=40)))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_weight_of_e_f_and_g_and_no_masked_symbol(kind: str) -> None:
    E, G = encoder(kind, SEMANTICS), generator(kind)
    x, s = pictures(64, 64), semantics(64, 64)
    m = torch.zeros(2, 1, 64, 64)
    m[:, :, 5:40, 5:40] = 1
    kept = mask_to_latent(m)
    w = E(x, s)
    w.retain_grad()
    (m * (G(w * kept, s) - x).square()).mean().backward()
    for network in (E, G):
        for name, weight in network.named_parameters():
            if name.endswith("weight"):
                assert weight.grad is not None and weight.grad.abs().max() > 0, name
    assert w.grad is not None
    assert w.grad[(kept == 0).expand_as(w)].eq(0).all()
    assert w.grad[(kept == 1).expand_as(w)].ne(0).any()


def test_the_last_layer_of_the_papers_e_is_linear_so_that_all_centers_are_hit() -> None:
    for kind in KINDS:
        assert isinstance(list(encoder(kind).layers)[-1], nn.Conv2d)
    E = SelectiveEncoder(60, 4, 4, nn.InstanceNorm2d)
    initialise(E, drawn())
    with torch.inference_mode():
        w = E(pictures(64, 64))
    assert w.min() < -1.5 and w.max() > 1.5


def test_the_light_networks_read_no_statistics_of_the_picture() -> None:
    """Far from where two pictures differ in size, what they give is the same."""
    E, G = encoder("light", SEMANTICS), generator("light")
    x, s = pictures(64, 768), semantics(64, 768)
    with torch.inference_mode():
        w = E(x, s)
        cut = E(x[..., :512], s[..., :512])
        assert torch.allclose(w[..., :32], cut[..., :32], atol=1e-5)
        whole, part = G(w, s), G(w[..., :64], s[..., :512])
    assert torch.allclose(whole[..., :128], part[..., :128], atol=1e-5)
    assert not torch.allclose(whole[..., 496:512], part[..., 496:512], atol=1e-5)


def test_the_light_networks_stay_light() -> None:
    with torch.device("meta"):
        E, GC = LightSelectiveEncoder(LightConfig(), 16, 20), LightEncoder(LightConfig(), 16)
        G = LightSelectiveGenerator(LightConfig(), 16, semantics=20)
    assert parameters(E) + parameters(G) <= 6_000_000
    assert parameters(G.F) < parameters(GC) / 3
