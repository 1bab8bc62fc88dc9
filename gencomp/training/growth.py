"""Growth: a trained light compressor goes on with more residual blocks, which change nothing at first."""

import msgspec
import torch
from torch import Tensor, nn

from gencomp.models.blocks import Layers
from gencomp.models.compressor import Compressor, ModelConfig, initialise
from gencomp.models.light import ResidualBlock


def is_grown(model: ModelConfig, old: ModelConfig) -> bool:
    """Whether `model` is `old` with more residual blocks somewhere in its light networks, and otherwise the same."""
    if model.light is None or old.light is None:
        return False
    before = (*old.light.encoder_blocks, *old.light.generator_blocks)
    after = (*model.light.encoder_blocks, *model.light.generator_blocks)
    blocks = {"encoder_blocks": old.light.encoder_blocks, "generator_blocks": old.light.generator_blocks}
    alike = msgspec.structs.replace(model, light=msgspec.structs.replace(model.light, **blocks)) == old
    return alike and model != old and all(more >= less for more, less in zip(after, before, strict=True))


def grown(old: Compressor, model: ModelConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """The tensors of a compressor of `model`, of which `is_grown` holds, that computes what `old` does.

    New blocks stand behind the old ones of their stride. Their first convolution is drawn from `generator`, and the
    last is zero, so that they pass on what they get until they learn to add something.
    """
    new = Compressor(model)
    initialise(new, generator)
    for ours, theirs in ((new.E, old.E), (new.G, old.G)):
        assert isinstance(ours.layers, Layers) and isinstance(theirs.layers, Layers)
        others = {name: t for name, t in theirs.state_dict().items() if not name.startswith("layers.")}
        ours.load_state_dict(others, strict=False)
        _grow(ours.layers, list(theirs.layers))
    return new.state_dict()


def _grow(ours: Layers, theirs: list[nn.Module]) -> None:
    for layer in ours:
        if theirs and type(layer) is type(theirs[0]):
            layer.load_state_dict(theirs.pop(0).state_dict())
        else:
            assert isinstance(layer, ResidualBlock)
            nn.init.zeros_(layer.outer.weight)
    assert not theirs
