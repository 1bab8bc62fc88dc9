"""What the entropy tables of a trained compressor are fitted to: its symbols of the training images, counted."""

import itertools
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from gencomp.data.loader import UNLABELLED, Sample, images_to_tensor, stored_samples
from gencomp.models.compressor import Compressor
from gencomp.models.entropy import count_contexts
from gencomp.models.semantics import one_hot


def count_centers(compressor: Compressor, shards: Path, images: int) -> NDArray[np.int64]:
    """How often each center is used per channel and context, (C, L**2, L), over the first `images` training images.

    They are whole, padded by replication to a multiple of the stride and at least the smallest side, as in the codec.
    SC is counted over whole images too, since any part of one may be preserved.
    """
    config, levels = compressor.config, len(compressor.q.centers)
    total = np.zeros((), np.int64)
    with torch.inference_mode():
        for sample in itertools.islice(stored_samples(shards, "train"), images):
            x = images_to_tensor([sample.image])
            height, width = (
                max(-(-side // config.stride) * config.stride, config.smallest_side) for side in x.shape[2:]
            )
            edges = (0, width - x.shape[3], 0, height - x.shape[2])
            x = pad(x, edges, mode="replicate")
            inputs = (x, pad(_semantics(sample, config.classes), edges, mode="replicate")) if config.classes else (x,)
            total = total + count_contexts(compressor.q.symbols(compressor.E(*inputs))[0].numpy(), levels)
    return total


def _semantics(sample: Sample, classes: int) -> Tensor:
    labels = np.full(sample.image.shape[:2], UNLABELLED) if sample.labels is None else sample.labels
    edges = None if sample.edges is None else torch.from_numpy(sample.edges)[None, None].float()
    return one_hot(torch.from_numpy(labels)[None], edges, classes)
