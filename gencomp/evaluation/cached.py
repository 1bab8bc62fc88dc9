"""Files and figures of pictures by way of a content cache: what was coded or measured once is not again."""

import hashlib
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
from gencomp.evaluation.classical import ClassicalCodec, setting_name
from gencomp.evaluation.content_cache import ContentCache, code_digest, key_of
from gencomp.evaluation.evaluate import code
from gencomp.evaluation.gallery import webp
from gencomp.evaluation.metrics import METRICS, Figures, Measurer, Original
from gencomp.evaluation.rates import MetricName

Pixels = NDArray[np.uint8]
"""(H, W, 3), RGB."""
ENCODERS = ("jpg", "webp", "jpg_2000", "avif")
"""Libraries inside Pillow."""


def digest_of(pixels: Pixels) -> str:
    """SHA-256 (hex) of shape and pixels."""
    return hashlib.sha256(f"{pixels.shape}\n".encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


class File(NamedTuple):
    """A picture's file, and what its decoder makes of it."""

    data: bytes
    digest: str
    """That of the decoded pixels."""
    png: Callable[[], bytes]
    """The decoded picture as a PNG file."""

    def pixels(self) -> Pixels:
        """The decoded picture."""
        return _pixels(self.png())


class Exactness(NamedTuple):
    """How well a model's file keeps what it must."""

    within_bound: bool
    mismatches: int
    within_limit: bool
    """Whether the file keeps the limit; where even one channel does not, it has one channel."""


class ModelFile(NamedTuple):
    """A picture through a model."""

    file: File
    exactness: Exactness


class AnchorFile(NamedTuple):
    """A picture through a classical codec, at one setting."""

    setting: str
    file: File


class _Kept(msgspec.Struct, frozen=True):
    """A file as it is kept; the PNG of what is decoded lies beside it."""

    data: bytes
    digest: str
    exactness: Exactness | None = None


class CachedModel:
    """Codes pictures with one model."""

    def __init__(self, codec: Codec, content: str, cache: ContentCache) -> None:
        """`content` is the content hash of the model's package."""
        self._codec, self._content, self._cache = codec, content, cache
        self._code = code_digest("codec", "models", "evaluation/evaluate.py")

    def file(self, pixels: Pixels, digest: str, limit: float | None) -> ModelFile:
        """What it makes of a picture within `limit` bits per pixel."""
        environment = [f"torch {torch.__version__}", f"threads {torch.get_num_threads()}", self._code]
        key = key_of("model", picture=digest, package=self._content, limit=limit, environment=environment)

        def make() -> _Made:
            try:
                coded, within = code(self._codec, pixels, "context", limit), True
            except RateError:
                coded, within = code(self._codec, pixels, "context", channels=1), False
            return _Made(coded.data, coded.decoded, Exactness(coded.within_bound, coded.mismatches, within))

        kept, file = _kept_file(self._cache, key, make, lambda data: np.asarray(self._codec.decompress(data)))
        assert kept.exactness is not None
        return ModelFile(file, kept.exactness)


class CachedAnchors:
    """Codes pictures with classical codecs."""

    def __init__(self, cache: ContentCache) -> None:
        self._cache = cache
        libraries = [f"{name} {features.version(name)}" for name in ENCODERS]
        self._environment = [f"pillow {Image.__version__}", *libraries, code_digest("evaluation/classical.py")]

    def file(self, pixels: Pixels, digest: str, codec: ClassicalCodec, setting: float) -> AnchorFile:
        """What a codec makes of a picture at one setting."""
        name = setting_name(setting)
        key = key_of("anchor", picture=digest, codec=codec.name, setting=name, environment=self._environment)

        def make() -> _Made:
            return _Made(*codec.round_trip(pixels, setting))

        _, file = _kept_file(self._cache, key, make, lambda data: np.asarray(codec.decode(data)))
        return AnchorFile(name, file)

    def ladder(self, pixels: Pixels, digest: str, codec: ClassicalCodec, settings: Sequence[float]) -> list[AnchorFile]:
        """The files at all settings."""
        return [self.file(pixels, digest, codec, setting) for setting in settings]

    def fitted(
        self, pixels: Pixels, digest: str, codec: ClassicalCodec, settings: Sequence[float], most: int
    ) -> AnchorFile:
        """The largest file of a ladder that is not above `most` bytes, found by halving; else that of its lowest rate.

        Where sizes do not follow the settings, it is one of those about as large.
        """
        ordered = sorted(settings, key=lambda setting: abs(setting - codec.lowest))
        found = self.file(pixels, digest, codec, ordered[0])
        fitting, above = 0, len(ordered)
        while len(found.file.data) <= most and above - fitting > 1:
            middle = (fitting + above) // 2
            tried = self.file(pixels, digest, codec, ordered[middle])
            if len(tried.file.data) <= most:
                fitting, found = middle, tried
            else:
                above = middle
        return found


class CachedMeasurer:
    """Measures pairs of pictures by the metrics named, and PSNR always."""

    def __init__(self, names: Sequence[MetricName], cache: ContentCache) -> None:
        """Raises MissingWeightsError or MissingPackageError."""
        self._measurer, self._cache = Measurer(names), cache
        packages = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "torchmetrics")]
        sources = code_digest("evaluation/metrics.py", "evaluation/perceptual.py", "models/lpips.py", "models/dists.py")
        self._protocols = {
            name: [METRICS[name].protocol, *METRICS[name].hashes.values(), *packages, sources]
            for name in self._measurer.names
        }

    def beside(self, pixels: Pixels, digest: str) -> Callable[[File], Figures]:
        """What measures files of a picture, whose features are computed when they are first needed."""
        prepared: dict[MetricName, Original] = {}

        def measure(file: File) -> Figures:
            keys = {
                name: key_of("figure", picture=digest, decoded=file.digest, metric=name, protocol=protocol)
                for name, protocol in self._protocols.items()
            }
            kept = {name: self._cache.get(key) for name, key in keys.items()}
            known = {name: msgspec.json.decode(data, type=float | None) for name, data in kept.items() if data}
            if missing := [name for name in keys if name not in known]:
                decoded = file.pixels()
                for name in missing:
                    if name not in prepared:
                        prepared[name] = self._measurer.beside(pixels, [name])
                    known[name] = prepared[name].figure(name, decoded)
                    self._cache.put(keys[name], msgspec.json.encode(known[name]))
            return Figures(**known)

        return measure


class CachedWebp:
    """Encodes pictures for a page."""

    def __init__(self, cache: ContentCache) -> None:
        self._cache = cache
        self._version = f"pillow {Image.__version__}, webp {features.version('webp')}"

    def __call__(self, pixels: Pixels, lossless: bool) -> bytes:
        key = key_of("webp", picture=digest_of(pixels), lossless=lossless, version=self._version)
        return self._cache.made(key, lambda: webp(pixels, lossless))


class _Made(NamedTuple):
    data: bytes
    decoded: Pixels
    exactness: Exactness | None = None


def _kept_file(
    cache: ContentCache, key: str, make: Callable[[], _Made], decode: Callable[[bytes], Pixels]
) -> tuple[_Kept, File]:
    """What the cache has under the key, or what is made; the PNG is read when it is asked for."""
    pictures = key_of("png", of=key)

    def record() -> bytes:
        made = make()
        cache.put(pictures, _png(made.decoded))
        return msgspec.msgpack.encode(_Kept(made.data, digest_of(made.decoded), made.exactness))

    kept = msgspec.msgpack.decode(cache.made(key, record), type=_Kept)
    return kept, File(kept.data, kept.digest, lambda: cache.made(pictures, lambda: _png(decode(kept.data))))


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _pixels(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)
