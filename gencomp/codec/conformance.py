"""Whether this machine decodes as all machines must: the shipped vectors, to the last symbol."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from gencomp.codec.codec import Codec
from gencomp.codec.container import StreamError, describe
from gencomp.references import SHIPPED_MODELS

VECTORS = SHIPPED_MODELS / "vectors.json"
GRID = 4
"""Fields of a picture along each side, of which a vector tells the mean colours."""
TOLERANCE = 1.0
"""Of 255, by which mean colours may differ: networks run in float32, whose sums depend on the machine."""


class Vector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stream of a shipped model, and what it decodes to."""

    model: str
    """Name of the shipped model."""
    stream: str
    """The stream, in base 64."""
    symbols: str
    """SHA-256 (hex) of the symbols (C, h, w), one byte each."""
    colours: list[list[float]]
    """Mean red, green and blue of the picture's fields, row by row, 0 to 255."""

    @property
    def data(self) -> bytes:
        return base64.b64decode(self.stream)


class Verdict(NamedTuple):
    """What one device made of one vector."""

    model: str
    device: str
    entropy: str
    """The coder, or "unknown" where the stream cannot even be taken apart."""
    width: int
    height: int
    symbols_match: bool
    """To the last symbol."""
    largest_difference: float
    """Of mean colours, of 255; infinite where the stream was refused."""

    @property
    def passed(self) -> bool:
        return self.symbols_match and self.largest_difference <= TOLERANCE


def vector(codec: Codec, model: str, stream: bytes) -> Vector:
    """The vector of a stream that `codec`, of the shipped `model`, has written."""
    picture = codec.decompress(stream)
    text = base64.b64encode(stream).decode()
    return Vector(model, text, _digest(codec, stream), np.round(mean_colours(picture), 2).tolist())


def read_vectors(path: Path = VECTORS) -> list[Vector]:
    """The vectors that are shipped."""
    return msgspec.json.decode(path.read_bytes(), type=list[Vector])


def devices() -> list[str]:
    """Where networks can run here: "cpu", and "cuda" and "mps" where PyTorch finds them."""
    import torch

    found = [("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())]
    return ["cpu", *(name for name, available in found if available)]


def verdicts(vectors: list[Vector], device: str) -> Iterator[Verdict]:
    """What a device makes of each vector."""
    codecs: dict[str, Codec] = {}
    for one in vectors:
        if one.model not in codecs:
            codecs[one.model] = Codec.from_reference(one.model, device=device)
        yield _verdict(one, codecs[one.model], device)


def _verdict(one: Vector, codec: Codec, device: str) -> Verdict:
    try:
        found = describe(one.data)
    except StreamError:
        return Verdict(one.model, device, "unknown", 0, 0, False, float("inf"))
    try:
        same = _digest(codec, one.data) == one.symbols
        difference = float(np.abs(mean_colours(codec.decompress(one.data)) - one.colours).max())
    except StreamError:
        same, difference = False, float("inf")
    return Verdict(one.model, device, found.entropy, found.width, found.height, same, difference)


def _digest(codec: Codec, stream: bytes) -> str:
    return hashlib.sha256(codec.decode_symbols(stream).tobytes()).hexdigest()


def mean_colours(picture: Image.Image) -> npt.NDArray[np.float64]:
    """(GRID**2, 3), 0 to 255: of each field of the picture; in small pictures fields overlap."""
    pixels = np.asarray(picture, np.float64)
    rows, columns = (_fields(side) for side in pixels.shape[:2])
    return np.array([pixels[top:bottom, left:right].mean((0, 1)) for top, bottom in rows for left, right in columns])


def _fields(side: int) -> list[tuple[int, int]]:
    starts = [k * side // GRID for k in range(GRID)]
    return [(start, max(start + 1, (k + 1) * side // GRID)) for k, start in enumerate(starts)]
