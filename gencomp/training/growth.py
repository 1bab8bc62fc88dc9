"""Growth: a trained light compressor goes on with more residual blocks, which change nothing at first, or hands what it
knows of pictures to one of selective compression."""

import msgspec
import torch
from torch import Tensor, nn

from gencomp.models.blocks import Layers
from gencomp.models.compressor import Compressor, ModelConfig, initialise
from gencomp.models.light import ResidualBlock
from gencomp.models.selective import LightSelectiveEncoder


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
        others = {name: t for name, t in theirs.state_dict().items() if not name.startswith("layers.")}
        ours.load_state_dict(others, strict=False)
        _grow(_layers(ours), _layers(theirs))
    return new.state_dict()


def is_heir(model: ModelConfig, old: ModelConfig) -> bool:
    """Whether `model` is of selective compression, `old` is not, and their light networks have the same layers."""
    return model.mode == "sc" and old.mode == "gc" and model.light is not None and model.light == old.light


def inherited(old: Compressor, model: ModelConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """The tensors of a compressor of `model`, of which `is_heir` holds.

    E's layers down to stride 8 and all of G's but the first are those of `old`. The rest, F and what makes and takes
    the latent, is drawn from `generator`.
    """
    new = Compressor(model)
    initialise(new, generator)
    assert isinstance(new.E, LightSelectiveEncoder)
    (_, entry, *analysing), (_, *drawing) = _layers(old.E), _layers(old.G)
    new.E.entry[1].load_state_dict(entry.state_dict())
    for ours, theirs in ((list(new.E.layers)[:-2], analysing), (_layers(new.G)[1:], drawing)):
        for layer, known in zip(ours, theirs, strict=False):
            layer.load_state_dict(known.state_dict())
    return new.state_dict()


def _layers(network: nn.Module) -> list[nn.Module]:
    assert isinstance(network.layers, Layers)
    return list(network.layers)


def _grow(ours: list[nn.Module], theirs: list[nn.Module]) -> None:
    for layer in ours:
        if theirs and type(layer) is type(theirs[0]):
            layer.load_state_dict(theirs.pop(0).state_dict())
        else:
            assert isinstance(layer, ResidualBlock)
            nn.init.zeros_(layer.outer.weight)
    assert not theirs
