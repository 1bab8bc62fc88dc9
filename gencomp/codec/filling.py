"""Which symbols of a nested model's latent keep a limit: the most channels that fit, and one more, thinned."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch import Tensor

from gencomp.codec.coder import Symbols, least_payloads
from gencomp.codec.container import HEADER_BYTES, Entropy
from gencomp.codec.context import Coding, ContextModel
from gencomp.codec.pricing import Prices, Pricing, context_pricing, costs, static_pricing
from gencomp.codec.rate import DEFAULT_MAX_BPP, Limit
from gencomp.codec.tensors import nearest_symbols
from gencomp.codec.thinning import thinned
from gencomp.models.package import Package

ENCODER = 2
"""How symbols are chosen, beside the model: figures of the same model by another encoder are not its figures. 0 coded
whole channels, 1 left a little less of a limit and took half as long again."""
SPARE_BYTES = 6
"""What a payload may take beyond the information content of its symbols."""
MOST_THINNED = 1.2
"""One channel more is thinned where all then cost up to so many times what there is room for; beyond that the picture
loses more than the channel brings."""
ROUNDS, NEARLY_FULL, CAUTION = 3, 1.012, 0.994
"""Times that symbols are thinned, since thinned ones are other neighbours to each other, until no more than so much
room is left; each time for so much of what is: without that, the first time misses the limit by half a percent."""
MOST_NUMBERS = 1 << 24
"""Centers times symbols that are thinned, at 20 bytes each while it is done; light: 50 megapixels or more."""


class Request(NamedTuple):
    """What a picture's symbols are chosen for."""

    pixels: int
    """Of the picture."""
    limit: Limit | None
    """None: the default limit, which refuses nothing."""
    entropy: Entropy
    write: Callable[[Symbols, Coding | None], bytes]
    """The stream of symbols (C, h, w), with the coding of them and of more channels where it is there already."""

    @property
    def aim(self) -> Limit:
        """The limit, or the default one."""
        return self.limit or Limit(bpp=DEFAULT_MAX_BPP)


class Chosen(NamedTuple):
    """What an encoder settled on."""

    symbols: Symbols
    """(C, h, w), those that are coded."""
    stream: bytes


class Filling:
    """Chooses symbols with one nested model."""

    def __init__(self, package: Package, context: ContextModel | None) -> None:
        """`context` at work, where the package has such a network."""
        self._package, self._context = package, context

    def __call__(self, w: Tensor, request: Request) -> Chosen:
        """Of a latent w (C, h, w), the most channels that keep the limit, or one more, thinned
        (gencomp/codec/thinning.py), where they cost little more than there is room for.

        Raises RateError where one channel does not keep it.
        """
        q, aim = self._package.compressor.q, request.aim
        symbols = np.stack([nearest_symbols(q, channel) for channel in w])
        coding = self._coding(symbols)
        plain = self._most_channels(symbols, request, coding)
        size, more = len(plain.stream), len(plain.symbols) + 1
        numbers = more * w[0].numel() * len(q.centers)
        if more > len(w) or request.entropy == "raw" or numbers > MOST_NUMBERS or not aim.allows(size, request.pixels):
            return plain
        prices = self._prices(symbols[:more], request.entropy, coding)
        sums = costs(prices, symbols[:more]).cumsum()
        budget = float(sums[-2]) * room(aim, request.pixels, size)
        if sums[-1] > MOST_THINNED * budget:
            return plain
        best = plain
        for _ in range(ROUNDS):
            budget *= CAUTION
            found = thinned(w[:more], q.centers, prices, budget)
            stream = request.write(found, None)
            fits, left = aim.allows(len(stream), request.pixels), room(aim, request.pixels, len(stream))
            if fits and len(stream) >= len(best.stream):
                best = Chosen(found, stream)
            if fits and left < NEARLY_FULL:
                break
            budget *= left
        return best

    def most_channels(self, symbols: Symbols, request: Request) -> Chosen:
        """Of symbols (C, h, w), the most channels that keep the limit. Raises RateError where none do."""
        return self._most_channels(symbols, request, self._coding(symbols))

    def pricing(self, entropy: Entropy) -> Pricing:
        """By the context network where symbols are coded with it, else by the static tables."""
        if entropy == "context" and self._context is not None:
            return context_pricing(self._context)
        return static_pricing(self._package.frequencies)

    def _most_channels(self, symbols: Symbols, request: Request, coding: Coding | None) -> Chosen:
        """Sizes may fall by a byte from one number of channels to the next, so every number that might fit is tried."""
        aim, pixels, counts = request.aim, request.pixels, range(1, len(symbols) + 1)
        least = least_payloads(symbols, self._package.frequencies, self._package.contexts, request.entropy)
        likely = [count for count in counts if aim.allows(HEADER_BYTES + least[count - 1], pixels)]
        if coding is not None and request.entropy == "context":
            fewest = (HEADER_BYTES + _fewest_bytes(coding, count) for count in counts)
            some = len(list(itertools.takewhile(lambda size: aim.allows(size, pixels), fewest)))
            likely = sorted({*likely, *counts[:some]})
        for count in reversed(likely):
            stream = request.write(symbols[:count], coding)
            if aim.allows(len(stream), pixels):
                return Chosen(symbols[:count], stream)
        if request.limit is None:
            return Chosen(symbols[:1], request.write(symbols[:1], coding))
        raise aim.refusal(min(len(request.write(symbols[:count], coding)) for count in counts), pixels)

    def _coding(self, symbols: Symbols) -> Coding | None:
        return None if self._context is None else Coding(self._context, symbols)

    def _prices(self, symbols: Symbols, entropy: Entropy, coding: Coding | None) -> Prices:
        """Of the first channels, which `coding` may know already."""
        if entropy == "context" and coding is not None:
            return coding.prices(len(symbols))
        return static_pricing(self._package.frequencies)(symbols)


def room(limit: Limit, pixels: int, size: int) -> float:
    """How many times the bits of a stream of `size` bytes a limit has room for, whatever its symbols were said to cost:
    tables by neighbours charge less than static prices tell."""
    spent = HEADER_BYTES + SPARE_BYTES
    return max(0.0, limit.most_bytes(pixels) - spent) / max(1, size - spent)


def _fewest_bytes(coding: Coding, channels: int) -> int:
    """A size that a payload by the context network stays below by a chance of 2**-32 at most: its bits, less four bytes
    in case its last ones are zeros."""
    return max(0, int(coding.bits(channels) / 8) - 4)
