"""The quantiser q: nearest of L fixed centers forward, soft assignment backward (section 3.1 of the paper)."""

import torch
from torch import Tensor, nn


class Quantizer(nn.Module):
    """q over centers {-(L-1)/2, ..., (L-1)/2}, {-2, -1, 0, 1, 2} for L = 5.

    Forward gives the nearest center exactly; backward differentiates the softmax(-sigma |w - c_j|^2)-weighted mean of
    the centers (Agustsson et al. 2017, Mentzer et al. 2018).
    """

    centers: Tensor

    def __init__(self, levels: int, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma
        centers = torch.arange(levels, device="cpu") - (levels - 1) / 2  # known, so not on a meta device either
        self.register_buffer("centers", centers, persistent=False)

    def forward(self, w: Tensor) -> Tensor:
        """w of any shape -> w_hat of the same shape, each element one of the centers."""
        soft = self._soft(w)
        # The difference is exactly zero, so rounding can neither move w_hat off its center nor stop the gradient.
        return self.values(self.symbols(w)) + (soft - soft.detach())

    def symbols(self, w: Tensor) -> Tensor:
        """w of any shape -> indices of the nearest centers, int64 in [0, L); of two as near, the lower."""
        return (w.unsqueeze(-1) - self.centers).abs().argmin(-1)

    def values(self, symbols: Tensor) -> Tensor:
        """Indices in [0, L) -> their centers, float32."""
        return self.centers[symbols]

    def assign(self, w: Tensor) -> Tensor:
        """w of any shape -> softmax(-sigma |w - c_j|^2), the soft assignment to the centers, (..., L)."""
        return torch.softmax(-self.sigma * (w.unsqueeze(-1) - self.centers).square(), -1)

    def _soft(self, w: Tensor) -> Tensor:
        return (self.assign(w) * self.centers).sum(-1)
