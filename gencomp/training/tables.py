"""What the entropy models of a trained compressor are fitted to: its symbols of the training images."""

import itertools
from collections.abc import Iterable, Iterator
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

Symbols = NDArray[np.uint8]
"""Indices of centers, (C, h, w)."""


def training_latents(compressor: Compressor, shards: Path, images: int, *, mirrored: bool = False) -> Iterator[Symbols]:
    """The symbols (C, h, w) of the first `images` training images, each of them from right to left if `mirrored`.

    Images are whole, padded by replication to a multiple of the stride and at least the smallest side, as in the codec.
    Those of SC are whole too, since any part of one may be preserved.
    """
    config = compressor.config
    for sample in itertools.islice(stored_samples(shards, "train"), images):
        x = images_to_tensor([sample.image])
        height, width = (max(-(-side // config.stride) * config.stride, config.smallest_side) for side in x.shape[2:])
        edges = (0, width - x.shape[3], 0, height - x.shape[2])
        s = (_semantics(sample, config.classes),) if config.classes else ()
        inputs = [pad(part.flip(3) if mirrored else part, edges, mode="replicate") for part in (x, *s)]
        with torch.inference_mode():
            symbols = compressor.q.symbols(compressor.E(*inputs))[0]
        yield symbols.numpy().astype(np.uint8)


def count_centers(latents: Iterable[Symbols], levels: int) -> NDArray[np.int64]:
    """How often each center is used per channel and context, (C, L**2, L), over symbols (C, h, w) of images."""
    return np.sum([count_contexts(latent, levels) for latent in latents], 0)


def _semantics(sample: Sample, classes: int) -> Tensor:
    labels = np.full(sample.image.shape[:2], UNLABELLED) if sample.labels is None else sample.labels
    edges = None if sample.edges is None else torch.from_numpy(sample.edges)[None, None].float()
    return one_hot(torch.from_numpy(labels)[None], edges, classes)
