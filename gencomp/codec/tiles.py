"""Tiles: how a large picture passes through E and G in bounded memory. They are no part of the format.

Where no norm reads the whole picture, E and G compute each cell from a window around it, their reach. A tile is a core
of cells with as much context on each side as the networks reach; what they give for the context is dropped. Where the
picture ends there is no context, and the networks pad as they do for a picture in one piece, so tiles agree with it
but for the rounding of floats.
"""

import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from gencomp.models.compressor import ModelConfig
from gencomp.models.light import PATCH, LightConfig

TILE_BYTES = 1 << 26
"""Of the widest layer's output within one tile; E and G hold seven to ten times as much at once. light-2: 5.6
megapixels. Pictures that fit one tile are passed in one piece."""
LEAST_TILE = 4
"""Margins along the side of the smallest tile of wide networks, lest there be more context than core."""
PICTURE_BYTES = 12
"""Of a pixel in float32."""

Progress = Callable[[int, int], None]
"""Hears of the tiles done, and of all there are."""


class Span(NamedTuple):
    """A tile along one side, in cells, or whatever it was scaled to."""

    start: int
    stop: int
    """Of the core: from `start` to before `stop`."""
    before: int
    after: int
    """The same of the core with its context."""

    @property
    def core(self) -> slice:
        """Within the whole."""
        return slice(self.start, self.stop)

    @property
    def whole(self) -> slice:
        """The core and its context, within the whole."""
        return slice(self.before, self.after)

    @property
    def kept(self) -> slice:
        """The core, within the tile."""
        return slice(self.start - self.before, self.stop - self.before)

    def scaled(self, factor: int) -> "Span":
        """The same where a cell has so many units along a side."""
        return Span(*(factor * end for end in self))


class Tile(NamedTuple):
    """A rectangle of cells."""

    rows: Span
    columns: Span

    def scaled(self, factor: int) -> "Tile":
        """The same where a cell has so many units along a side."""
        return Tile(self.rows.scaled(factor), self.columns.scaled(factor))


class Tiling(NamedTuple):
    """How one network's pictures are cut. A cell is `ModelConfig.stride` pixels along a side."""

    margin: int
    """Cells of context on each side."""
    budget: int
    """Cells of the largest tile, context included."""

    def tiles(self, h: int, w: int) -> list[Tile]:
        """The tiles of h x w cells, row by row: of all grids that keep to the budget, the one with the fewest cells."""
        rows, columns = self._grid(h, w)
        return [Tile(row, column) for row in self._spans(h, rows) for column in self._spans(w, columns)]

    def _grid(self, h: int, w: int) -> tuple[int, int]:
        """Rows and columns; single cells, with their context, where no other grid keeps to the budget."""
        least, found = (h + 2 * self.margin * (h - 1)) * (w + 2 * self.margin * (w - 1)), (h, w)
        for columns in range(1, w + 1):
            height = self.budget // min(w, -(-w // columns) + 2 * self.margin)
            core = h if height >= h else height - 2 * self.margin
            if core < 1:
                continue
            rows = -(-h // core)
            cells = (h + 2 * self.margin * (rows - 1)) * (w + 2 * self.margin * (columns - 1))
            if cells <= least:
                least, found = cells, (rows, columns)
            if rows == 1:
                break  # more columns only add context
        return found

    def _spans(self, side: int, count: int) -> list[Span]:
        ends = [side * i // count for i in range(count + 1)]
        return [
            Span(start, stop, max(0, start - self.margin), min(side, stop + self.margin))
            for start, stop in pairwise(ends)
        ]


class Tilings(NamedTuple):
    """Of both networks."""

    encoder: Tiling
    generator: Tiling


class Reach(NamedTuple):
    """Pixels beyond a cell, on each side, that what a network computes of the cell depends on."""

    encoder: int
    generator: int


def tileable(config: ModelConfig) -> bool:
    """Whether no norm reads statistics of the whole picture."""
    return config.light is not None or config.normalisation == "channel"


def tilings(config: ModelConfig) -> Tilings:
    """How a model's pictures are cut: not at all, unless it is tileable."""
    if not tileable(config):
        return Tilings(Tiling(0, sys.maxsize), Tiling(0, sys.maxsize))
    most = TILE_BYTES // (_bytes_per_pixel(config) * config.stride**2)
    encoder, generator = (_tiling(-(-pixels // config.stride), most) for pixels in reach(config))
    return Tilings(encoder, generator)


def reach(config: ModelConfig) -> Reach:
    """Of a tileable model. Each layer adds what it reaches, times the pixels of a position of its input. G's are summed
    from the picture on, and whole cells of the coarsest input are read."""
    return _light_reach(config, config.light) if config.light else _paper_reach(config)


def reported(tiles: list[Tile], progress: Progress | None) -> Iterator[Tile]:
    """The tiles one by one, each told to `progress` once it is done with."""
    for done, tile in enumerate(tiles):
        if progress is not None:
            progress(done, len(tiles))
        yield tile
    if progress is not None:
        progress(len(tiles), len(tiles))


def _tiling(margin: int, most: int) -> Tiling:
    return Tiling(margin, max(most, (LEAST_TILE * margin) ** 2))


def _bytes_per_pixel(config: ModelConfig) -> int:
    """Of what the widest layer puts out, and of the semantics s beside it."""
    widest = 4 * config.width
    if config.light:
        strides = (PATCH, 2 * PATCH, 4 * PATCH)
        layers = zip(config.light.encoder + config.light.generator[::-1], strides * 2, strict=True)
        widest = max(4 * filters // stride**2 for filters, stride in layers)
    return max(PICTURE_BYTES, widest) + 4 * config.semantics


def _light_reach(config: ModelConfig, light: LightConfig) -> Reach:
    fine, middle, coarse = PATCH, 2 * PATCH, 4 * PATCH
    eighth = _residual(fine, light.encoder_blocks[0]) + fine + _residual(middle, light.encoder_blocks[1])
    sixteenth = eighth + middle + _residual(coarse, light.encoder_blocks[2])
    blocks = light.generator_blocks
    drawn = coarse + _residual(coarse, blocks[0]) + _residual(middle, blocks[1]) + _residual(fine, blocks[2]) + fine
    drawn = _whole(drawn, coarse)
    if config.mode == "gc":
        return Reach(fine + sixteenth + coarse, drawn)
    latent = middle + _residual(middle, blocks[1]) + middle
    return Reach(fine + eighth + middle, max(sixteenth, latent) + drawn)  # F reaches as far as E's layers between


def _residual(stride: int, blocks: int) -> int:
    return 2 * stride * blocks


def _whole(pixels: int, cell: int) -> int:
    return -(-pixels // cell) * cell


def _paper_reach(config: ModelConfig) -> Reach:
    steps = config.downsamplings
    coarse = 2**steps
    drawn = coarse + _residual(coarse, config.blocks) + 2 * coarse  # c3s1, R; 7 x 7 and every u see two positions on
    down = 3 + coarse - 1  # 7 x 7, and d at strides 1, 2, 4, ...
    if config.mode == "gc":
        return Reach(down + coarse, drawn)
    half = coarse // 2
    return Reach(3 + half - 1 + half, max(down, 2 * half) + drawn)
