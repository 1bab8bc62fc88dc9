"""Files of pictures by way of the cache of results: what was coded once is not coded again."""

import importlib.metadata
import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, features

from gencomp.codec.codec import Codec
from gencomp.codec.rate import RateError
from gencomp.evaluation.cache import Cache, code_digest, digest, picture_digest
from gencomp.evaluation.classical import ClassicalCodec, setting_name
from gencomp.evaluation.evaluate import code
from gencomp.evaluation.gallery import webp
from gencomp.evaluation.interruption import go_on
from gencomp.evaluation.metrics import Figures, Original

Pixels = NDArray[np.uint8]
"""(H, W, 3), RGB."""


class Exactness(NamedTuple):
    """How well a model's file keeps what it must."""

    within_bound: bool = True
    mismatches: int = 0
    within_limit: bool = True
    """Whether the file keeps the limit; where even one channel does not, it has one channel."""


class File(NamedTuple):
    """A picture's file, and what its decoder makes of it."""

    data: bytes
    digest: str
    """That of the decoded picture."""
    exactness: Exactness
    pixels: Callable[[], Pixels]
    """The decoded picture."""
    png: Callable[[], bytes]
    """The same as a PNG file."""

    def figures(self, original: Original) -> Figures:
        """What metrics say of it beside its original; it is decoded only where they are not known."""
        return original.known(self.digest) or original(self.pixels())


class AnchorFile(NamedTuple):
    """A picture through a classical codec, at one setting."""

    setting: str
    file: File


class _Made(NamedTuple):
    data: bytes
    decoded: Pixels
    exactness: Exactness = Exactness()


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """A file as it is kept; the PNG of what is decoded lies beside it where decoding takes longer."""

    data: bytes
    decoded: str
    exactness: Exactness


class CachedModel:
    """Codes pictures with one model."""

    def __init__(self, codec: Codec, content: str, cache: Cache, effort: int = 0) -> None:
        """`content` is the content hash of the model's package, `effort` the encoder's."""
        self._codec, self._cache, self._effort = codec, cache, effort
        environment = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
        self._identity = digest(content, environment, code_digest("codec", "models", "evaluation/evaluate.py"))

    def file(self, pixels: Pixels, original: str, limit: float | None) -> File:
        """What it makes of a picture, of that digest, within `limit` bits per pixel."""

        def make() -> _Made:
            try:
                coded, within = code(self._codec, pixels, "context", limit, effort=self._effort), True
            except RateError:
                coded, within = code(self._codec, pixels, "context", channels=1, effort=self._effort), False
            return _Made(coded.data, coded.decoded, Exactness(coded.within_bound, coded.mismatches, within))

        key = digest("model file", original, self._identity, str(limit), str(self._effort))
        return _file(self._cache, key, make, lambda data: np.asarray(self._codec.decompress(data)), keep_picture=True)


class CachedAnchors:
    """Codes pictures with classical codecs."""

    def __init__(self, codecs: Sequence[ClassicalCodec], cache: Cache) -> None:
        self._cache = cache
        self._versions = {codec.name: codec.version() for codec in codecs}

    def file(self, pixels: Pixels, original: str, codec: ClassicalCodec, setting: float) -> AnchorFile:
        """What a codec makes of a picture, of that digest, at one setting."""
        key = digest("anchor", original, codec.name, codec.protocol, self._versions[codec.name], str(setting))
        return AnchorFile(
            setting_name(setting),
            _file(
                self._cache,
                key,
                lambda: _Made(*codec.round_trip(pixels, setting)),
                lambda data: np.asarray(codec.decode(data)),
                keep_picture=not codec.by_pillow,
            ),
        )

    def fitted(
        self, pixels: Pixels, original: str, codec: ClassicalCodec, settings: Sequence[float], most: int
    ) -> AnchorFile:
        """The largest file of a ladder that is not above `most` bytes, found by halving; else that of its lowest rate.

        Where sizes do not follow the settings, it is one of those about as large.
        """
        ordered = sorted(settings, key=lambda setting: abs(setting - codec.lowest))
        found = self.file(pixels, original, codec, ordered[0])
        fitting, above = 0, len(ordered)
        while len(found.file.data) <= most and above - fitting > 1:
            middle = (fitting + above) // 2
            tried = self.file(pixels, original, codec, ordered[middle])
            if len(tried.file.data) <= most:
                fitting, found = middle, tried
            else:
                above = middle
        return found


class CachedWebp:
    """Encodes pictures for a page."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._version = f"Pillow {importlib.metadata.version('pillow')}, webp {features.version('webp')}"

    def __call__(self, pixels: Pixels, lossless: bool) -> bytes:
        key = digest("webp", picture_digest(pixels), str(lossless), self._version)
        found = self._cache.get(key)
        if found is None:
            found = webp(pixels, lossless)
            self._cache.put(key, found)
        return found


def _file(
    cache: Cache, key: str, make: Callable[[], _Made], decode: Callable[[bytes], Pixels], *, keep_picture: bool
) -> File:
    """What the cache has under the key, or what is made, whose decoded picture is kept too where that is asked for."""
    pictures = digest("png of", key)
    kept = _unpacked(cache.get(key))
    if kept is not None:
        data = kept.data

        def png() -> bytes:
            return (cache.get(pictures) if keep_picture else None) or _png(decode(data))

        return File(
            kept.data, kept.decoded, kept.exactness, lambda: _pixels(png()) if keep_picture else decode(data), png
        )
    go_on()
    made = make()
    kept = _Kept(made.data, picture_digest(made.decoded), made.exactness)
    picture = _png(made.decoded) if keep_picture else None
    if picture is not None:
        cache.put(pictures, picture)
    cache.put(key, msgspec.msgpack.encode(kept))
    return File(kept.data, kept.decoded, kept.exactness, lambda: made.decoded, lambda: picture or _png(made.decoded))


def _unpacked(data: bytes | None) -> _Kept | None:
    try:
        return msgspec.msgpack.decode(data, type=_Kept) if data else None
    except (msgspec.DecodeError, msgspec.ValidationError):  # damaged: coded again
        return None


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _pixels(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)
