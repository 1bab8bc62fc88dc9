"""Training masks of selective compression: random instances and random boxes (section 3.3 of the paper)."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import label as connected
from torch import Tensor

from gencomp.data.loader import UNLABELLED, Batch

SHARE = 0.25
"""Of the instances of an image that a mask preserves, as in the paper."""

Mask = NDArray[np.bool_]
"""(h, w), true where preserved."""


def draw_masks(batch: Batch, draws: Sequence[np.random.Generator]) -> Tensor:
    """m (N, 1, h, w) float32, 1 where preserved, else 0, of a batch on the CPU; one generator per image.

    Each image gets instances or a box with equal chance, a box where nothing of it is labelled. With a generator per
    image, a rank that holds a slice of the batch draws what the whole batch would have.
    """
    height, width = batch.images.shape[-2:]
    masks = []
    for index, draw in zip(range(len(batch.keys)), draws, strict=True):
        labelled = batch.labels is not None and bool((batch.labels[index] != UNLABELLED).any())
        if draw.random() < 0.5 or batch.labels is None or not labelled:
            masks.append(random_box(height, width, draw))
        else:
            edges = None if batch.edges is None else batch.edges[index, 0].numpy() > 0
            masks.append(random_instance(batch.labels[index].numpy(), edges, draw))
    return torch.from_numpy(np.stack(masks)).unsqueeze(1).float()


def random_instance(
    labels: NDArray[np.int64], edges: Mask | None, draw: np.random.Generator, share: float = SHARE
) -> Mask:
    """Preserves a share of the instances of a label map (h, w): as many of them as fit, or one more by a chance that
    makes the mean exact; which ones is uniform, whatever their area."""
    numbers = instances(labels, edges)
    count = int(numbers.max()) + 1
    kept = draw.permutation(count) < int(share * count + draw.random())
    return np.asarray(kept[numbers])


def random_box(height: int, width: int, draw: np.random.Generator) -> Mask:
    """Preserves the box between two pixels drawn uniformly, both within it."""
    top, bottom = np.sort(draw.integers(height, size=2))
    left, right = np.sort(draw.integers(width, size=2))
    mask = np.zeros((height, width), np.bool_)
    mask[top : bottom + 1, left : right + 1] = True
    return mask


def instances(labels: NDArray[np.int64], edges: Mask | None) -> NDArray[np.int64]:
    """Label ids (h, w), and where borders of instances are -> the number of each pixel's instance, from 0 without gaps.

    An instance is connected (4 neighbours), of one id, and not crossed by edges; unlabelled regions and what Cityscapes
    calls stuff count as any other. A pixel on an edge belongs to the nearest instance beside the edge where that has
    its id, else with its like to one that they touch; what is all edge, like a thin pole, is an instance of its own.
    """
    if edges is None or edges.all():
        return _regions(labels)
    inner = _regions(np.where(edges, -1, labels))
    nearest = _nearest_inner(edges)
    found = labels.take(nearest) == labels
    numbers = inner.take(nearest)
    thin = _regions(np.where(found, -1, labels))
    owner = numbers.max() + 1 + np.arange(thin.max() + 1)
    for here, there in _NEIGHBOURS:
        touching = ~found[here] & found[there] & (labels[here] == labels[there])
        owner[thin[here][touching]] = numbers[there][touching]
    numbers[~found] = owner[thin[~found]]
    return _renumbered(numbers)


_NEIGHBOURS = (
    (np.s_[1:], np.s_[:-1]),
    (np.s_[:-1], np.s_[1:]),
    (np.s_[:, 1:], np.s_[:, :-1]),
    (np.s_[:, :-1], np.s_[:, 1:]),
)
"""Pixels that have a neighbour, and those neighbours: the upper, lower, left and right ones."""


def _renumbered(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same regions without gaps."""
    used = np.bincount(numbers.reshape(-1)) > 0
    return np.asarray((np.cumsum(used) - 1)[numbers])


def _regions(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Connected regions of equal ids numbered from 0; -1 where the id is -1."""
    return np.asarray(connected(ids, background=-1, connectivity=1), np.int64) - 1


def _nearest_inner(edges: Mask) -> NDArray[np.int64]:
    """The flat index of the nearest pixel that is no edge, (h, w)."""
    _, owner = cv2.distanceTransformWithLabels(
        edges.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    index_of = np.zeros(int(owner.max()) + 1, np.int64)
    index_of[owner[~edges]] = np.flatnonzero(~edges)
    return np.asarray(index_of[owner])
