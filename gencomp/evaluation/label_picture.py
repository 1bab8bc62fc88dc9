"""What selective compression is given, as a picture: the preserved region, and the colours of classes around it."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gencomp.codec.regions import Mask

GOLDEN_ANGLE = 137.5
"""Degrees of hue between the colours of two ids that follow each other."""
OUTLINE = (255, 255, 255)


def label_picture(pixels: NDArray[np.uint8], labels: NDArray[np.integer], mask: Mask) -> NDArray[np.uint8]:
    """(H, W, 3) picture, (H, W) class ids and (H, W) mask, true where preserved -> (H, W, 3), the region outlined."""
    drawn = np.where(mask[..., None], pixels, _coloured(labels))
    drawn[_outline(mask)] = OUTLINE
    return drawn.astype(np.uint8)


def _coloured(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    ids, where = np.unique(labels, return_inverse=True)
    hues = np.round(255 * (ids.astype(np.int64) * GOLDEN_ANGLE % 360) / 360).astype(np.uint8)
    hsv = np.stack([hues, np.full_like(hues, 150), np.full_like(hues, 215)], -1)[None]  # (1, ids, 3)
    table = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))[0]
    return np.asarray(table[where.reshape(labels.shape)])


def _outline(mask: Mask) -> Mask:
    """Pixels outside of the mask that touch it."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return np.asarray(grown & ~mask)
