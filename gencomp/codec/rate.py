"""How large a stream may be, and the refusal of one that would be larger. Standard library only."""

import math
from typing import NamedTuple

DEFAULT_MAX_BPP = 0.036
"""Bits per pixel, header included, that nested models keep to where no rate is asked for. A picture too small for it,
of which the header alone takes more, is coded with one channel instead of being refused."""


class RateError(ValueError):
    """A rate that cannot be had; the message is one line that says which can."""


class Limit(NamedTuple):
    """The largest stream that is asked for; of the two limits, infinity stands for none."""

    bpp: float = math.inf
    """Bits per pixel, header included."""
    size: float = math.inf
    """Bytes, header included."""

    def allows(self, size: int, pixels: int) -> bool:
        """Whether a stream of `size` bytes for so many pixels keeps both limits."""
        return size <= self.size and bits_per_pixel(size, pixels) <= self.bpp

    def most_bytes(self, pixels: int) -> float:
        """The size in bytes that both limits allow for so many pixels; infinity without any."""
        return min(self.size, math.floor(self.bpp * pixels / 8) if self.bpp < math.inf else math.inf)

    def refusal(self, smallest: int, pixels: int) -> RateError:
        """What to raise when the smallest stream, in bytes, is over the limit; its rate is rounded up."""
        asked = f"{self.size} bytes" if self.size < math.inf else f"{self.bpp:g} bits per pixel"
        bpp = math.ceil(bits_per_pixel(smallest, pixels) * 1e4) / 1e4
        return RateError(f"this picture does not fit {asked}: it takes at least {smallest} bytes, {bpp:.4f} bpp")


def bits_per_pixel(size: int, pixels: int) -> float:
    """The rate of a stream of `size` bytes."""
    return size * 8 / pixels


def asked_limit(channels: int | None, max_bpp: float | None, max_bytes: int | None) -> Limit | None:
    """The limit among what was asked for, if any. Raises RateError where more than one rate is asked for."""
    if sum(value is not None for value in (channels, max_bpp, max_bytes)) > 1:
        raise RateError("the number of channels and the limits in bits per pixel and in bytes exclude each other")
    if max_bpp is not None:
        return Limit(bpp=max_bpp)
    return None if max_bytes is None else Limit(size=max_bytes)
