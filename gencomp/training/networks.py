"""The networks and optimisers of a run: how they begin, become a state, and come back from one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from gencomp.data.loader import derived_seed
from gencomp.models.blocks import Layers
from gencomp.models.compressor import Compressor, ModelConfig, initialise
from gencomp.models.discriminator import Discriminator
from gencomp.models.dists import load_dists
from gencomp.models.features import load_vgg19
from gencomp.models.lpips import load_lpips
from gencomp.training.losses import LossConfig, Perceptual
from gencomp.training.resume import TrainingState
from gencomp.weights.cache import weights_path


class Networks(NamedTuple):
    """What a step changes."""

    compressor: Compressor
    discriminator: Discriminator
    ema: AveragedModel
    optimiser_G: Optimizer
    optimiser_D: Optimizer

    def state(self, step: int, history: list[dict[str, float]]) -> TrainingState:
        return TrainingState(
            step=step,
            compressor=self.compressor.state_dict(),
            discriminator=self.discriminator.state_dict(),
            ema=self.ema.state_dict(),
            optimiser_G=self.optimiser_G.state_dict(),
            optimiser_D=self.optimiser_D.state_dict(),
            history=history,
        )

    def restore(self, state: TrainingState | None) -> tuple[int, list[dict[str, float]]]:
        """(steps done, history) of a state, after loading it; (0, []) of none."""
        if state is None:
            return 0, []
        self.compressor.load_state_dict(state["compressor"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser_G.load_state_dict(state["optimiser_G"])
        self.optimiser_D.load_state_dict(state["optimiser_D"])
        return state["step"], state["history"]

    def result(self, averaged: bool) -> Compressor:
        """The compressor that a run leaves, on the CPU, in evaluation mode."""
        chosen = self.ema.module if averaged else self.compressor
        assert isinstance(chosen, Compressor)
        return chosen.cpu().eval().requires_grad_(False)


def initial_networks(
    model: ModelConfig, discriminator: Discriminator, seed: int, initial: dict[str, Tensor] | None
) -> Compressor:
    """The compressor of `model`, and `discriminator`, with weights drawn from the seed.

    `initial`, the tensors of a trained compressor of the same config, replaces the compressor's.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, "weights"))
    compressor = Compressor(model)
    initialise(compressor, generator)
    initialise(discriminator, generator)
    if initial is not None:
        compressor.load_state_dict(initial)
    return compressor


def perceptual_networks(
    losses: LossConfig, device: torch.device, layout: torch.memory_format, *, half: bool
) -> Perceptual:
    """The networks of the terms that are on; with `half` their filters, which never change, are rounded to bf16 once.

    Raises MissingWeightsError.
    """
    vgg = load_vgg19(weights_path(losses.vgg_network)).to(device) if losses.vgg else None
    lpips = load_lpips(weights_path("lpips-alex")).to(device) if losses.lpips else None
    lpips_vgg = load_lpips(weights_path("lpips-vgg"), "vgg").to(device) if losses.lpips_vgg else None
    dists = load_dists(weights_path("dists"), weights_path("lpips-vgg")).to(device) if losses.dists else None
    for network in (vgg, lpips, lpips_vgg, dists):
        if network:
            arrange(layout, network)
            if half:
                network.convolutions.to(torch.bfloat16)
    return Perceptual(vgg, lpips, lpips_vgg, dists)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """No gradients for the network's weights, so that the pass for G costs no more than it must."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def arrange(layout: torch.memory_format, *networks: nn.Module) -> None:
    """Put the convolutions' weights into a memory layout."""
    for network in networks:
        for parameter in network.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=layout)


def set_checkpointing(network: nn.Module) -> None:
    """Make every stack of layers compute its activations again in the backward pass instead of keeping them."""
    for module in network.modules():
        if isinstance(module, Layers):
            module.checkpointing = True


def fix_statistics(network: nn.Module) -> None:
    """Let instance normalisations that track statistics use those, from now on, as inference does."""
    for module in network.modules():
        if isinstance(module, nn.InstanceNorm2d) and module.track_running_stats:
            module.eval()
