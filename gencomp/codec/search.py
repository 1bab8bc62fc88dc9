"""Symbols searched for one picture: what E says is where gradient descent on the picture itself begins.

E serves the average picture of its training. An encoder with time to spend minimises the training's own objective for
the picture at hand, over the latent instead of the networks' weights (Campos et al. 2019, "Content adaptive
optimization for neural image compression"; Yang et al. 2020, "Improving inference for neural image compression"):

    min over w of  d(x, x_hat) + price * bits(q(w)) / pixels,    x_hat = G(q(w))

with q's straight-through gradient, and bits as the context network prices each center beside its present neighbours.
The price follows the rate, so that the result takes as many bytes as it may. Streams are like any others: neither the
format nor a decoder knows of it.
"""

import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from gencomp.codec.coder import Symbols
from gencomp.codec.pricing import Pricing, costs
from gencomp.codec.tensors import image_tensor, nearest_symbols
from gencomp.codec.tiles import Progress, Tile, Tiling, tileable
from gencomp.models.compressor import Compressor
from gencomp.models.dists import DISTS, load_dists
from gencomp.models.lpips import LPIPS, SMALLEST_SIDE, load_lpips
from gencomp.weights.cache import weights_path

DISTORTION, LPIPS_ALEX, LPIPS_VGG, DISTS_WEIGHT = 5.0, 2.0, 2.0, 2.0
"""Weights of the terms of d: the mean squared error of images in [-1, 1], LPIPS with AlexNet, and in turns LPIPS with
VGG16 and DISTS. Several networks are harder to fool than one: by AlexNet alone LPIPS falls further, and the eye sees
halos."""
WINDOW = 192
"""Pixels along the side of what the networks on VGG16 look at in a step, at another place each time: a pass of theirs
costs three times one of G with AlexNet."""
GRID = 16
"""Pixels within which LPIPS looks from shifting origins, as in training."""
LEARNING_RATE = 0.1
"""Of Adam, in distances of centers, falling by a cosine to a tenth."""
BETAS = (0.9, 0.99)
PRICE = 14.0
"""Of a bit per pixel, at first: what d falls by for it, halfway between the limits that light-4 is measured at."""
PRICE_RANGE = 16.0
"""How many times dearer or cheaper it may become. In each step it is multiplied by what the symbols cost over what they
may."""
CELLS, MARGIN = 2048, 4
"""Of a tile of the search, context included, and of the context on each side: half a megapixel, at 1.1 GB. G reaches
further, but what lies at the edge of a tile's context only sways the search."""
ROUNDS = 12
"""Of the bisection that ends within the limit."""

Fits = Callable[[Symbols], bool]
"""Whether symbols (C, h, w) keep the limit."""


class SearchError(ValueError):
    """A search that a model or a request does not admit; the message is one line."""


class Judge(NamedTuple):
    """The networks that d is measured by."""

    lpips: LPIPS
    lpips_vgg: LPIPS
    dists: DISTS


def load_judge(device: torch.device) -> Judge:
    """Raises MissingWeightsError, which says what to run."""
    vgg = weights_path("lpips-vgg")
    lpips, dists = load_lpips(weights_path("lpips-alex")), load_dists(weights_path("dists"), vgg)
    return Judge(lpips.to(device), load_lpips(vgg, "vgg").to(device), dists.to(device))


class Task(NamedTuple):
    """What a search is about."""

    x: npt.NDArray[np.uint8]
    """The padded picture, (H, W, 3)."""
    w: Tensor
    """Its latent before q, (C, h, w), of the channels that are coded."""
    bits: float
    """What the symbols may cost by the search's pricing."""
    fits: Fits
    """The last word on it."""


class Search:
    """Searches with one model's networks."""

    def __init__(self, compressor: Compressor, pricing: Pricing, judge: Judge) -> None:
        self._compressor, self._pricing, self._judge = compressor, pricing, judge
        self._tiling = Tiling(MARGIN, CELLS) if tileable(compressor.config) else Tiling(0, sys.maxsize)

    def __call__(self, task: Task, steps: int, progress: Progress | None = None) -> Symbols | None:
        """Symbols (C, h, w) that keep the limit, after so many steps for each tile; None where none are found.

        Deterministic for a number of threads on one machine. Tiles see the ones before them as they have become.
        """
        w = task.w.clone()
        tiles = self._tiling.tiles(*w.shape[1:])
        start = self._cost(self._symbols(w))
        for index, tile in enumerate(tiles):
            self._improve(task, w, tile, steps, task.bits / max(start, 1.0), _told(progress, index, len(tiles), steps))
        return self._within(w, task.fits)

    def _improve(
        self, task: Task, w: Tensor, tile: Tile, steps: int, share: float, told: Callable[[int], None]
    ) -> None:
        """Change w (C, h, w) within the core of a tile, whose symbols may cost `share` times what they do."""
        stride = self._compressor.config.stride
        rows, columns = tile.rows, tile.columns
        pixel_rows, pixel_columns = (span.scaled(stride).whole for span in tile)
        x = image_tensor(np.ascontiguousarray(task.x[pixel_rows, pixel_columns]), w.device)
        whole = w[:, rows.whole, columns.whole].clone()
        variable = whole[:, rows.kept, columns.kept].clone().requires_grad_()
        optimiser = torch.optim.Adam([variable], LEARNING_RATE, BETAS)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, LEARNING_RATE / 10)
        places = np.random.default_rng(0)
        budget = max(share * self._cost(self._symbols(whole)), 1.0)
        price = PRICE
        for step in range(steps):
            whole = whole.detach()
            symbols = self._symbols(whole)
            prices = self._pricing(symbols)
            excess = costs(prices, symbols).sum() / budget
            price = float(np.clip(price * excess, PRICE / PRICE_RANGE, PRICE * PRICE_RANGE))
            table = torch.from_numpy(np.array(prices[:, rows.kept, columns.kept])).to(w.device)
            whole[:, rows.kept, columns.kept] = variable
            loss = self._distance(x, self._decoded(whole), places, step)
            rate = (self._compressor.q.assign(variable) * table).sum() / (x.shape[-2] * x.shape[-1])
            (variable.grad,) = torch.autograd.grad(loss + price * rate, [variable])
            optimiser.step()
            schedule.step()
            told(step + 1)
        w[:, rows.core, columns.core] = variable.detach()

    def _distance(self, x: Tensor, x_hat: Tensor, places: np.random.Generator, step: int) -> Tensor:
        """d of pictures (1, 3, H, W) in [-1, 1]."""
        judge = self._judge
        top, left = (int(places.integers(0, min(GRID, side - SMALLEST_SIDE + 1))) for side in x.shape[-2:])
        distance = judge.lpips(x[..., top:, left:], x_hat[..., top:, left:])
        loss: Tensor = DISTORTION * mse_loss(x_hat, x) + LPIPS_ALEX * distance.sum()
        corner = [int(places.integers(0, max(1, side - WINDOW + 1))) for side in x.shape[-2:]]
        high, wide = (slice(start, start + WINDOW) for start in corner)
        if step % 2:
            return loss + LPIPS_VGG * judge.lpips_vgg(x[..., high, wide], x_hat[..., high, wide]).sum()
        return loss + DISTS_WEIGHT * judge.dists(x[..., high, wide], x_hat[..., high, wide]).sum()

    def _decoded(self, w: Tensor) -> Tensor:
        w_hat = self._compressor.q(w[None])
        x_hat: Tensor = self._compressor.G(w_hat)
        return x_hat

    def _symbols(self, w: Tensor) -> Symbols:
        return nearest_symbols(self._compressor.q, w)

    def _cost(self, symbols: Symbols) -> float:
        return float(costs(self._pricing(symbols), symbols).sum())

    def _within(self, w: Tensor, fits: Fits) -> Symbols | None:
        """The symbols nearest to w that keep the limit: of each the one with the least (w - c)^2 + mu bits, mu by
        bisection, 0 where all nearest ones keep it."""
        nearest = self._symbols(w)
        if fits(nearest):
            return nearest
        found = None
        squares = (w.unsqueeze(-1) - self._compressor.q.centers).square().cpu().numpy()
        prices = self._pricing(nearest)
        low, high = 0.0, 1.0
        for _ in range(ROUNDS):
            mu = (low + high) / 2
            symbols = (squares + mu * prices).argmin(-1).astype(np.uint8)
            if fits(symbols):
                found, high = symbols, mu
            else:
                low = mu
        return found


def _told(progress: Progress | None, tile: int, tiles: int, steps: int) -> Callable[[int], None]:
    """What a tile tells of its steps."""
    if progress is None:
        return lambda _done: None
    return lambda done: progress(tile * steps + done, tiles * steps)
