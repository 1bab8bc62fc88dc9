"""What a server takes on, and how long it waits. Standard library only, so that `gencomp serve --help` starts fast."""

from dataclasses import dataclass

MEGABYTE = 1 << 20
HELD_BODIES = 8
"""Bodies of the largest size that may lie in memory at once, whoever sends how many at what speed."""
PADDED_TO = 32
"""Pixels; a side counts as the next multiple, as the networks see it."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one server."""

    workers: int = 1
    """Pictures that are worked on at once."""
    queue: int = 16
    """Requests that may wait for a worker; one more is refused."""
    seconds: float = 60.0
    """From the last byte of a request to its answer."""
    receive_seconds: float = 15.0
    """For a client to send the head of a request, to send its body, and to take a piece of the answer."""
    body_bytes: int = 32 * MEGABYTE
    """Largest body of a request."""
    pixels: int = 1 << 24
    """Largest picture, each side counted as the next multiple of 32."""
    connections: int = 256
    """Open connections; further ones are answered with 503, and from twice as many on closed unanswered."""

    @property
    def capacity(self) -> int:
        """Requests that are worked on or wait."""
        return self.workers + self.queue

    @property
    def held_bytes(self) -> int:
        """Bytes of all bodies together that may lie in memory."""
        return HELD_BODIES * self.body_bytes


def padded_pixels(width: int, height: int) -> int:
    """Pixels of a picture whose sides are rounded up to multiples of 32."""
    across, down = (-(-side // PADDED_TO) * PADDED_TO for side in (width, height))
    return across * down
