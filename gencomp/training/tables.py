"""Static entropy tables of a trained compressor, counted over the training images."""

import itertools
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

from gencomp.data.loader import images_to_tensor, stored_samples
from gencomp.models.compressor import Compressor
from gencomp.models.entropy import count_symbols


def count_centers(
    compressor: Compressor, stride: int, smallest_side: int, shards: Path, images: int
) -> NDArray[np.int64]:
    """How often each center is used per channel, (C, L), over the first `images` whole training images.

    Images are padded by replication to a multiple of `stride` and at least `smallest_side` pixels, as the codec does.
    """
    levels = len(compressor.q.centers)
    counts: list[NDArray[np.int64]] = []
    with torch.inference_mode():
        for sample in itertools.islice(stored_samples(shards, "train"), images):
            x = images_to_tensor([sample.image])
            height, width = (max(-(-side // stride) * stride, smallest_side) for side in x.shape[2:])
            x = pad(x, (0, width - x.shape[3], 0, height - x.shape[2]), mode="replicate")
            counts.append(count_symbols(compressor.q.symbols(compressor.E(x))[0].numpy(), levels))
    return np.sum(counts, axis=0)
