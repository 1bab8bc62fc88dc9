"""What G starts from: z = [w_hat, v], the channels that were not coded filled in, noise beside them."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class Fill(nn.Module):
    """Replaces the channels that were not coded by learned constants, zero at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.constants = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, w_hat: Tensor, coded: Tensor | None = None) -> Tensor:
        """w_hat (N, k, h, w), k <= C -> (N, C, h, w), of image i the first `coded[i]` channels kept; None keeps k."""
        channels = len(self.constants)
        if coded is None:
            coded = torch.full((len(w_hat),), w_hat.shape[1], device=w_hat.device)
        kept = torch.arange(channels, device=w_hat.device) < coded[:, None]  # (N, C)
        whole = pad(w_hat, (0, 0, 0, 0, 0, channels - w_hat.shape[1]))
        return torch.where(kept[:, :, None, None], whole, self.constants.to(whole.dtype))


def draw_noise(w_hat: Tensor, channels: int, seed: int) -> Tensor:
    """v for w_hat (N, C, h, w): (N, channels, h, w), standard normal, drawn on the CPU from the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(w_hat), channels, *w_hat.shape[2:])
    return torch.randn(shape, generator=generator).to(w_hat.device)


def assembled(w_hat: Tensor, fill: Fill | None, coded: Tensor | None, v: Tensor | None) -> Tensor:
    """z = [w_hat, v] (section 3.1 of the paper): w_hat filled up where channels are nested, noise where asked for."""
    whole = w_hat if fill is None else fill(w_hat, coded)
    return whole if v is None else torch.cat([whole, v.to(whole.dtype)], 1)
