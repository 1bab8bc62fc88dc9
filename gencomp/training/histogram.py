"""Histograms of the centers of the quantiser, one per latent channel, as a picture."""

import math

import numpy as np
from numpy.typing import NDArray

BAR = 8
"""Width of a bar, pixels."""
HEIGHT = 48
"""Of a bar that holds all symbols of its channel, pixels."""
GAP = 8
"""Around each histogram, pixels."""
COLUMNS = 8
"""Histograms in a row."""
GROUND, UNUSED, USED = (255, 255, 255), (226, 232, 240), (29, 78, 216)


def draw_usage(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(C, L) counts -> a picture (H, W, 3): a histogram per channel, in reading order, its centers from left to right
    in ascending order. A full bar is the share 1, and none is 0."""
    channels, levels = counts.shape
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = np.array([HEIGHT + GAP, levels * BAR + GAP])
    rows, columns = -(-channels // COLUMNS), min(channels, COLUMNS)
    picture = np.full((*(side * (rows, columns) + GAP), 3), GROUND, dtype=np.uint8)
    for channel, row in enumerate(shares):
        top, left = side * divmod(channel, COLUMNS) + GAP
        for level, share in enumerate(row):
            bar = picture[top : top + HEIGHT, left + level * BAR : left + (level + 1) * BAR - 1]
            bar[:] = UNUSED
            bar[HEIGHT - math.ceil(share * HEIGHT) :] = USED
    return picture
