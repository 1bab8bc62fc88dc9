"""Nested channels: one network for every C, of which the first channels are coded and the others filled in."""

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
