"""One channel more than a limit has room for, thinned until it fits.

Whole channels fill a limit in steps of a twentieth to a half, and what they leave is lost. So where one more would cost
little more than there is room for, of each symbol the encoder takes the center that is worth its bits,

    argmin over c of  (w - c)^2 + mu a_k bits(c),    a_k proportional to (k + 1)^1.5 in channel k = 0, 1, ...,

with the least mu that keeps the limit, as encoders of classical codecs do with their coefficients (rate-distortion
optimised quantisation). The first channels say what the picture is and are thinned the least.
"""

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gencomp.codec.coder import Symbols
from gencomp.codec.pricing import Prices, costs

POWER = 1.5
MILDEST, HARSHEST = 2.0**-12, 2.0**4
"""Between which mu is looked for: from what changes hardly a symbol to what leaves next to nothing."""
HALVINGS = 12
"""Of the bisection of log mu."""


def thinned(w: Tensor, centers: Tensor, prices: Prices, budget: float) -> Symbols:
    """Symbols (C, h, w) of a latent w (C, h, w), at `prices` (C, h, w, L) within `budget` bits, where that can be."""
    squares = (w.unsqueeze(-1) - centers).square().cpu().numpy()
    weighted = prices * _weights(len(w))
    low, high = np.log2(MILDEST), np.log2(HARSHEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if costs(prices, _least(squares, weighted, middle)).sum() <= budget:
            high = middle
        else:
            low = middle
    return _least(squares, weighted, high)


def _least(squares: npt.NDArray[np.float32], weighted: Prices, log_mu: float) -> Symbols:
    found: Symbols = (squares + np.float32(2**log_mu) * weighted).argmin(-1).astype(np.uint8)
    return found


def _weights(channels: int) -> npt.NDArray[np.float32]:
    """a_k, 1 on the average, (C, 1, 1, 1)."""
    weights = np.arange(1, channels + 1, dtype=np.float32) ** np.float32(POWER)
    return (weights / weights.mean())[:, None, None, None]
