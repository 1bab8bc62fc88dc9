"""A grown compressor computes what the old one did, and can learn from there; one of selective compression draws as its
GC did."""

import msgspec
import pytest
import torch

from gencomp.models.compressor import Compressor, ModelConfig, initialise
from gencomp.models.light import LightConfig
from gencomp.training.growth import grown, inherited, is_grown, is_heir

LIGHT = LightConfig(encoder=(4, 6, 8), encoder_blocks=(1, 0, 2), generator=(8, 6, 4), generator_blocks=(2, 1, 0))
OLD = ModelConfig(channels=6, nested=True, light=LIGHT)


def larger(encoder: tuple[int, int, int] = (1, 0, 2), generator: tuple[int, int, int] = (2, 1, 0)) -> ModelConfig:
    return msgspec.structs.replace(
        OLD, light=msgspec.structs.replace(LIGHT, encoder_blocks=encoder, generator_blocks=generator)
    )


def trained(model: ModelConfig, seed: int) -> Compressor:
    """A compressor none of whose tensors is as it begins."""
    compressor = Compressor(model)
    initialise(compressor, torch.Generator().manual_seed(seed))
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in compressor.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return compressor.eval()


@pytest.mark.parametrize("model", [larger((1, 1, 3)), larger(generator=(4, 1, 2)), larger((2, 2, 2), (2, 2, 1))])
def test_new_blocks_change_nothing_at_first(model: ModelConfig) -> None:
    old, new = trained(OLD, 1), Compressor(model).eval()
    new.load_state_dict(grown(old, model, torch.Generator().manual_seed(2)))
    x = torch.rand(2, 3, 48, 64) * 2 - 1
    with torch.inference_mode():
        for coded in (None, torch.tensor([2, 5])):
            before, after = old(x, coded=coded), new(x, coded=coded)
            assert torch.equal(before.w, after.w) and torch.equal(before.x_hat, after.x_hat)
    assert sum(p.numel() for p in new.parameters()) > sum(p.numel() for p in old.parameters())


def test_new_blocks_learn() -> None:
    model = larger((2, 0, 2), (3, 1, 0))
    new = Compressor(model)
    new.load_state_dict(grown(trained(OLD, 1), model, torch.Generator().manual_seed(2)))
    new(torch.rand(1, 3, 32, 32)).x_hat.square().mean().backward()
    silent = [
        name for name, p in new.named_parameters() if p.grad is not None and name.endswith("weight") and not p.any()
    ]
    assert len(silent) == 2  # one new block in E and one in G
    assert all(new.get_parameter(name).grad.any() for name in silent)


def test_growth_is_drawn_from_its_generator_alone() -> None:
    old, model = trained(OLD, 1), larger((2, 0, 2))
    one, two, other = (grown(old, model, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_only_more_blocks_are_growth() -> None:
    assert is_grown(larger((1, 1, 2)), OLD)
    assert not is_grown(OLD, OLD)
    assert not is_grown(larger((1, 1, 1)), OLD)  # fewer at one stride
    assert not is_grown(msgspec.structs.replace(larger((2, 0, 2)), channels=5), OLD)
    wider = msgspec.structs.replace(LIGHT, encoder=(4, 6, 9), encoder_blocks=(2, 0, 2))
    assert not is_grown(msgspec.structs.replace(OLD, light=wider), OLD)
    assert not is_grown(ModelConfig(), OLD) and not is_grown(larger((2, 0, 2)), ModelConfig())


HEIR = ModelConfig(mode="sc", classes=3, channels=2, light=LIGHT)


def test_selective_compression_analyses_and_draws_as_its_gc_did() -> None:
    old, new = trained(OLD, 1), Compressor(HEIR).eval()
    new.load_state_dict(inherited(old, HEIR, torch.Generator().manual_seed(2)))
    x, features = torch.rand(1, 3, 48, 64) * 2 - 1, torch.rand(1, 8, 3, 4)
    with torch.inference_mode():
        finest = new.E.layers[:2](new.E.entry(x))  # a block at stride 4, then to stride 8
        assert torch.equal(finest, old.E.layers[1:4](old.E.layers[0](x)))
        assert torch.equal(new.G.layers[1:](features), old.G.layers[1:](features))


def test_what_is_new_in_selective_compression_is_drawn_from_its_generator_alone() -> None:
    old = trained(OLD, 1)
    one, two, other = (inherited(old, HEIR, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert all(torch.equal(one[name], two[name]) for name in one)
    differing = {name.split(".")[1] for name in one if not torch.equal(one[name], other[name])}
    assert "F" in differing and "latent" in differing and "entry" not in differing


def test_only_selective_compression_by_the_same_layers_is_an_heir() -> None:
    assert is_heir(HEIR, OLD)
    assert not is_heir(OLD, OLD) and not is_heir(HEIR, HEIR) and not is_heir(OLD, HEIR)
    wider = msgspec.structs.replace(LIGHT, generator=(8, 6, 5))
    assert not is_heir(msgspec.structs.replace(HEIR, light=wider), OLD)
    assert not is_heir(ModelConfig(mode="sc", classes=3), ModelConfig())
