"""Between the codec's arrays and the networks' tensors."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gencomp.codec.coder import Symbols
from gencomp.models.quantizer import Quantizer


def image_tensor(pixels: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """An (H, W, 3) picture -> (1, 3, H, W) in [-1, 1]."""
    x = torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None]
    return x.float() / 127.5 - 1


def nearest_symbols(q: Quantizer, w: Tensor) -> Symbols:
    """A latent of any shape -> indices of the nearest centers."""
    found: Symbols = q.symbols(w).to("cpu", torch.uint8).numpy()
    return found
