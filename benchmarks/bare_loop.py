"""A training step with nothing around it: the trainer's networks, losses and optimisers on one batch of noise.

No loader, no random draws, no logging, no Accelerate: what is left is what the device has to do.
"""

import torch
from torch import nn
from torch.optim import Adam
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.flop_counter import FlopCounterMode

from gencomp.models.compressor import ModelConfig
from gencomp.models.discriminator import Discriminator
from gencomp.training.losses import Decoded, discriminator_loss, generator_loss
from gencomp.training.networks import arrange, frozen, initial_networks, perceptual_networks
from gencomp.training.trainer import TrainingConfig, has_bf16


class BareLoop:
    """Steps of one model on noise of a given size, (N, 3, H, W), as `config` asks for them."""

    def __init__(
        self, model: ModelConfig, config: TrainingConfig, size: tuple[int, int, int], device: torch.device
    ) -> None:
        """`size`: images, height and width. Raises MissingWeightsError when a perceptual term lacks its network."""
        self.config, self.device = config, device
        images, height, width = size
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.half = config.precision == "bf16" and has_bf16()
        self.perceptual = perceptual_networks(config.losses, device, layout, half=self.half)
        shape = config.discriminator
        self.D = Discriminator(3, shape.width, shape.scales)
        self.compressor = initial_networks(model, self.D, 0, None)
        arrange(layout, self.compressor, self.D)
        self.compressor.to(device)
        self.D.to(device)
        self.ema = AveragedModel(self.compressor, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
        self.step_G = Adam(self.compressor.parameters(), config.learning_rate, config.betas, fused=True)
        rate, betas = shape.learning_rate or config.learning_rate, shape.betas or config.betas
        self.step_D = Adam(self.D.parameters(), rate, betas, fused=True)
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(images, 3, height, width, generator=generator) * 2 - 1
        self.x = x.to(device, memory_format=layout)
        coded = torch.arange(images, device=device) % model.channels + 1
        self.coded = coded if model.nested else None

    def flops(self) -> int:
        """Floating point operations of the matrix products and convolutions of one step, which it takes.

        To be called before `compile`, since nothing can be counted inside compiled networks.
        """
        with FlopCounterMode(display=False) as counter:
            self.step()
        return int(counter.get_total_flops())

    def compile(self) -> None:
        """Compile the networks that the trainer compiles, for shapes that stay, as it does."""
        costly = (self.perceptual.lpips_vgg, self.perceptual.dists)
        for network in (self.compressor.E, self.compressor.G, self.D, *costly):
            if network is not None:
                network.compile(dynamic=False)

    def step(self) -> None:
        """One update of E and G, and of D where it takes part."""
        config, x = self.config, self.x
        adversarial = config.losses.adversarial > 0
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            x_hat, _, w = self.compressor(x, coded=self.coded)
            real = self.D(x) if adversarial else []
            fake = self.D(x_hat.detach()) if adversarial else []
            with frozen(self.D):
                seen = self.D(x_hat) if adversarial else []
            loss_G = generator_loss(
                Decoded(x, x_hat, w, coded=self.coded), real, seen, config.losses, self.perceptual, self.compressor.q
            ).total
            loss_D = discriminator_loss(real, fake, config.losses.gan) if adversarial else None
        self.step_G.zero_grad()
        loss_G.backward()
        if config.gradient_norm:
            nn.utils.clip_grad_norm_(self.compressor.parameters(), config.gradient_norm)
        self.step_G.step()
        if loss_D is not None:
            self.step_D.zero_grad()
            loss_D.backward()
            self.step_D.step()
        self.ema.update_parameters(self.compressor)
