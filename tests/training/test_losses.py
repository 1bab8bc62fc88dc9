"""Each term against its written equation."""

import math

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from gencomp.models.discriminator import Discriminator, Judgement
from gencomp.models.dists import DISTS
from gencomp.models.features import VGG19
from gencomp.models.lpips import LPIPS
from gencomp.models.quantizer import Quantizer
from gencomp.models.transform import LATENT_STD
from gencomp.training.losses import (
    Decoded,
    GeneratorLoss,
    LossConfig,
    Perceptual,
    adversarial_loss,
    discriminator_loss,
    entropy_estimate,
    f,
    feature_matching_loss,
    g,
    generator_loss,
    mean_distance,
    spread_loss,
    vgg_loss,
)


def judgement(score: float, *features: Tensor) -> Judgement:
    return Judgement(torch.full((1, 1, 2, 2), score), list(features))


def test_least_squares_f_and_g_are_the_papers() -> None:
    y = torch.tensor([-1.0, 0.0, 1.0, 3.0])
    assert f(y, "least-squares").tolist() == [4, 1, 0, 4]
    assert g(y, "least-squares").tolist() == [1, 0, 1, 9]


def test_vanilla_f_and_g_are_the_negative_logarithms_of_eq_1() -> None:
    y = torch.tensor([-2.0, 0.0, 2.0], dtype=torch.float64)
    assert torch.allclose(f(y, "vanilla"), -torch.log(torch.sigmoid(y)))
    assert torch.allclose(g(y, "vanilla"), -torch.log(1 - torch.sigmoid(y)))


def test_the_discriminator_pays_for_both_and_over_all_scales() -> None:
    loss = discriminator_loss([judgement(1.0), judgement(0.5)], [judgement(0.0), judgement(2.0)], "least-squares")
    assert loss.item() == pytest.approx(0 + 0 + 0.25 + 4)
    vanilla = discriminator_loss([judgement(0.0)], [judgement(0.0)], "vanilla")
    assert vanilla.item() == pytest.approx(2 * math.log(2))


def test_the_generator_pays_nothing_for_scores_that_look_real() -> None:
    assert adversarial_loss([judgement(1.0), judgement(1.0)], "least-squares").item() == 0
    assert adversarial_loss([judgement(0.0), judgement(1.0)], "least-squares").item() == 1


def test_feature_matching_averages_scales_and_weighs_layers_as_pix2pixhd() -> None:
    """n_layers = 3 strided convolutions, four feature maps: 4 / (3 + 1) = 1 per layer, 1 / num_D per scale."""
    zeros, ones = [torch.zeros(1, 2, 3, 3)] * 4, [torch.ones(1, 2, 3, 3)] * 4
    two_scales = [judgement(0, *zeros)] * 2, [judgement(0, *ones)] * 2
    assert feature_matching_loss(*two_scales).item() == pytest.approx(4.0)


def test_feature_matching_moves_the_reconstruction_only() -> None:
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    x_hat = torch.rand(1, 3, 64, 64, requires_grad=True)
    D = Discriminator(3, 2, 2)
    feature_matching_loss(D(x), D(x_hat)).backward()
    assert x.grad is None
    assert x_hat.grad is not None and x_hat.grad.abs().max() > 0


def test_the_vgg_loss_is_zero_for_equal_images_and_positive_otherwise() -> None:
    torch.manual_seed(0)
    network = VGG19()
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    assert vgg_loss(x, x.clone(), network).item() == 0
    assert vgg_loss(x, -x, network).item() > 0


def test_a_distance_is_the_mean_over_the_images_from_the_origin_on() -> None:
    torch.manual_seed(0)
    network = DISTS().requires_grad_(False)
    x, x_hat = torch.rand(3, 3, 32, 32) * 2 - 1, (torch.rand(3, 3, 32, 32) * 2 - 1).requires_grad_()
    assert torch.allclose(mean_distance(x, x_hat, network), network(x, x_hat).mean())
    shifted = mean_distance(x, x_hat, network, (3, 8))
    assert torch.allclose(shifted, network(x[..., 3:, 8:], x_hat[..., 3:, 8:]).mean())
    shifted.backward()
    assert x_hat.grad is not None and x_hat.grad[..., 3:, 8:].any() and not x_hat.grad[..., :3, :].any()


def test_networks_on_vgg16_see_the_first_images_and_take_turns() -> None:
    torch.manual_seed(0)
    networks = Perceptual(lpips_vgg=LPIPS("vgg").requires_grad_(False), dists=DISTS().requires_grad_(False))
    x, x_hat = torch.rand(3, 3, 32, 32) * 2 - 1, torch.rand(3, 3, 32, 32) * 2 - 1
    config = LossConfig(adversarial=0, feature_matching=0, lpips_vgg=2, dists=3, vgg16_images=2)

    def terms(perceptual: Perceptual) -> tuple[float, float]:
        decoded = Decoded(x, x_hat, torch.zeros(3, 1, 2, 2))
        loss = generator_loss(decoded, [], [], config, perceptual, Quantizer(5, 1.0))
        return loss.lpips_vgg.item(), loss.dists.item()

    lpips, dists = (float(network(x[:2], x_hat[:2]).mean()) for network in (networks.lpips_vgg, networks.dists))
    assert terms(networks) == pytest.approx((2 * lpips, 3 * dists))
    assert terms(networks.taking_turns(4)) == pytest.approx((0, 3 * dists))
    assert terms(networks.taking_turns(5)) == pytest.approx((2 * lpips, 0))


def test_vgg19_taps_are_relu1_1_to_relu5_1() -> None:
    features = VGG19()(torch.zeros(1, 3, 32, 48))
    shapes = [tuple(feature.shape[1:]) for feature in features]
    assert shapes == [(64, 32, 48), (128, 16, 24), (256, 8, 12), (512, 4, 6), (512, 2, 3)]
    assert sum(p.numel() for p in VGG19().convolutions[:2].parameters()) == 3 * 64 * 9 + 64 + 64 * 64 * 9 + 64


def total(
    x: Tensor, x_hat: Tensor, config: LossConfig, D: Discriminator | None = None, **more: Tensor
) -> GeneratorLoss:
    judged = (D(x), D(x_hat)) if D else ([], [])
    decoded = Decoded(x, x_hat, more.get("w", torch.zeros(1, 2, 4, 4)), more.get("m"))
    return generator_loss(decoded, *judged, config, Perceptual(), Quantizer(5, 1.0))


def test_the_total_is_the_sum_of_the_weighted_terms() -> None:
    x, x_hat = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    config = LossConfig(distortion=3.0, adversarial=0.5, feature_matching=2.0, spread=0.1, beta=0.7)
    loss = total(x, x_hat, config, Discriminator(3, 2, 2))
    assert loss.total.item() == pytest.approx(sum(term.item() for term in loss[1:]), rel=1e-5)
    assert loss.vgg.item() == loss.lpips.item() == 0
    assert loss.distortion.item() == pytest.approx(3 * (x - x_hat).square().mean().item())
    assert loss.spread.item() == pytest.approx(0.1 * LATENT_STD**2)
    assert min(loss.adversarial.item(), loss.feature_matching.item(), loss.entropy.item()) > 0


def test_the_mse_baseline_has_no_adversarial_terms() -> None:
    loss = total(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4), LossConfig(adversarial=0, feature_matching=0))
    assert loss.total.item() == loss.distortion.item() == 10


def test_the_distortion_of_sc_sees_the_preserved_pixels_only() -> None:
    x, x_hat, m = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
    x_hat[..., 0, 0], m[..., 0, 0] = 0.5, 1
    loss = total(x, x_hat, LossConfig(adversarial=0, feature_matching=0), m=m)
    assert loss.distortion.item() == pytest.approx(10 * 0.25)


def test_the_entropy_estimate_is_the_entropy_of_hard_assignments() -> None:
    """Two channels: one uses two centers by halves (1 bit), the other all five alike (log2 5 bits)."""
    symbols = torch.stack([torch.arange(20) % 2, torch.arange(20) % 5]).reshape(1, 2, 4, 5)
    assignments = torch.nn.functional.one_hot(symbols, 5).float()
    assert entropy_estimate(assignments).item() == pytest.approx((1 + math.log2(5)) / 2)


def test_the_entropy_estimate_counts_the_channels_that_an_image_codes() -> None:
    """1 bit in the first channel, log2 5 in the second: an image pays for the first alone, or the mean of both."""
    symbols = torch.stack([torch.arange(20) % 2, torch.arange(20) % 5]).reshape(1, 2, 4, 5).expand(2, -1, -1, -1)
    assignments = torch.nn.functional.one_hot(symbols, 5).float()
    both = (1 + math.log2(5)) / 2
    assert entropy_estimate(assignments, torch.tensor([1, 1])).item() == pytest.approx(1)
    assert entropy_estimate(assignments, torch.tensor([1, 2])).item() == pytest.approx((1 + both) / 2)
    assert entropy_estimate(assignments, torch.tensor([2, 2])).item() == pytest.approx(both)


def test_the_entropy_estimate_leaves_out_what_selective_compression_does_not_code() -> None:
    """Of two rows one is kept, with two centers by halves; the other has all five."""
    symbols = torch.stack([torch.arange(10) % 2, torch.arange(10) % 5]).reshape(1, 1, 2, 10)
    assignments = torch.nn.functional.one_hot(symbols, 5).float()
    kept = torch.tensor([1.0, 0.0]).view(1, 1, 2, 1).expand(1, 1, 2, 10)
    assert entropy_estimate(assignments, kept=kept).item() == pytest.approx(1)
    assert entropy_estimate(assignments, kept=torch.ones_like(kept)).item() == entropy_estimate(assignments).item()
    assert entropy_estimate(assignments, kept=torch.zeros_like(kept)).item() == 0


def test_descending_on_the_entropy_lowers_the_rate_of_the_symbols() -> None:
    torch.manual_seed(0)
    q, w = Quantizer(5, 1.0), torch.randn(1, 1, 32, 32, requires_grad=True)
    before = np.bincount(q.symbols(w).flatten(), minlength=5) / 1024
    for _ in range(50):
        entropy_estimate(q.assign(w)).backward()
        with torch.no_grad():
            w -= 30 * w.grad  # type: ignore[operator]
        w.grad = None
    after = np.bincount(q.symbols(w).flatten(), minlength=5) / 1024

    def bits(shares: np.ndarray) -> float:
        return float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum())

    assert bits(after) < 0.7 * bits(before)


def test_the_spread_is_least_for_a_latent_around_zero_with_the_stated_deviation() -> None:
    torch.manual_seed(0)
    w = torch.randn(8, 3, 64, 64)
    assert spread_loss(LATENT_STD * w).item() < 1e-3
    assert spread_loss(3 * w).item() == pytest.approx((3 - LATENT_STD) ** 2, rel=0.02)
    assert spread_loss(LATENT_STD * w + 2).item() == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize(
    "weights",
    [{"vgg_network": "vgg16"}, {"adversarial": 0.0}, {"gan": "wasserstein"}, {"distortion": -1}, {"mse": 1}],
    ids=str,
)
def test_weights_that_cannot_be_are_refused(weights: dict[str, object]) -> None:
    with pytest.raises((ValueError, msgspec.ValidationError)):
        msgspec.convert(weights, LossConfig)
