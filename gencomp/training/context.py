"""How a context network learns the symbols of a trained encoder, which stays as it is."""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from gencomp.models.context import ContextNetwork
from gencomp.models.package import MAX_HIDDEN
from gencomp.training.tables import Symbols

WINDOW = 40
"""Positions; of larger latents, each step sees a window of this side at most."""


TOLD_EVERY = 20
"""Steps between reports."""

Hidden = Annotated[int, msgspec.Meta(ge=1, le=MAX_HIDDEN)]


class ContextConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The context network that symbols are coded with, and its training, which begins when that of E has ended."""

    steps: Annotated[int, msgspec.Meta(ge=1)]
    batch: Annotated[int, msgspec.Meta(ge=1)] = 8
    """Latents per step."""
    learning_rate: Annotated[float, msgspec.Meta(gt=0)] = 3e-3
    """Of AdamW at its highest; it rises over the first tenth of the steps and falls to zero by a cosine."""
    hidden: tuple[Hidden, Hidden] = (64, 32)
    """Numbers of each channel's two hidden layers."""


class Batch(NamedTuple):
    """Latents side by side, those smaller than the largest filled up."""

    symbols: Tensor
    """(N, C, h, w), int64."""
    coded: Tensor
    """(N, 1, h, w), true where there is a symbol."""


def fit_context(
    latents: Sequence[Symbols],
    levels: int,
    config: ContextConfig,
    seed: int,
    start: ContextNetwork | None = None,
    *,
    masked: bool = False,
    observe: Callable[[int, float], None] = lambda step, bits: None,
) -> ContextNetwork:
    """A context network fitted to the symbols of images, of L `levels`; from `start`, where given, else from noise.

    With `masked`, for SC, symbols are coded in a random box alone in half of the latents that it sees.
    `observe` gets every so often the steps done and the mean bits per symbol since it was last told. The same
    arguments, threads and version of PyTorch give the same network on a CPU.
    """
    draw = np.random.default_rng(seed)
    network = start or ContextNetwork(len(latents[0]), levels, config.hidden)
    if start is None:
        network.initialise(torch.Generator().manual_seed(int(draw.integers(2**31))))
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.steps, pct_start=0.1, cycle_momentum=False
    )
    told: list[float] = []
    for step in range(1, config.steps + 1):
        loss = cost(network, drawn_batch(latents, config.batch, draw, masked))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        told.append(loss.item() / math.log(2))
        if step % TOLD_EVERY == 0 or step == config.steps:
            observe(step, sum(told) / len(told))
            told.clear()
    return network


def cost(network: ContextNetwork, batch: Batch) -> Tensor:
    """Mean cross-entropy per symbol, nats."""
    logits = network(batch.symbols, batch.coded).transpose(1, 2)  # (N, L, C, h, w)
    entropy = cross_entropy(logits, batch.symbols, reduction="none")
    return (entropy * batch.coded).sum() / (batch.coded.sum() * batch.symbols.shape[1]).clamp(min=1)


def drawn_batch(latents: Sequence[Symbols], count: int, draw: np.random.Generator, masked: bool = False) -> Batch:
    """So many latents at random, of large ones a window; with `masked`, half of them but for a box not coded."""
    batch = batch_of([_window(latents[index], draw) for index in draw.integers(len(latents), size=count)])
    if masked:
        for coded in batch.coded:
            if draw.random() < 0.5:
                (top, bottom), (left, right) = (np.sort(draw.integers(side + 1, size=2)) for side in coded.shape[1:])
                box = torch.zeros_like(coded)
                box[:, top:bottom, left:right] = True
                coded &= box
    return batch


def batch_of(latents: Sequence[Symbols]) -> Batch:
    """Latents of any sizes side by side."""
    h, w = (max(latent.shape[axis] for latent in latents) for axis in (1, 2))
    symbols = torch.zeros(len(latents), len(latents[0]), h, w, dtype=torch.int64)
    coded = torch.zeros(len(latents), 1, h, w, dtype=torch.bool)
    for place, mask, latent in zip(symbols, coded, latents, strict=True):
        inside = (slice(None), slice(latent.shape[1]), slice(latent.shape[2]))
        place[inside] = torch.from_numpy(latent.astype(np.int64))
        mask[inside] = True
    return Batch(symbols, coded)


def _window(latent: Symbols, draw: np.random.Generator) -> Symbols:
    top, left = (int(draw.integers(max(0, side - WINDOW) + 1)) for side in latent.shape[1:])
    return latent[:, top : top + WINDOW, left : left + WINDOW]
