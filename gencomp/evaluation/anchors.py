"""Classical codecs on the held-out pictures, each over a ladder of rates, with the metrics of the models."""

import io
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gencomp.evaluation.cache import Cache, NoCache, digest, picture_digest
from gencomp.evaluation.classical import CODECS, ClassicalCodec, archived_picture, file_name, in_part, setting_name
from gencomp.evaluation.distribution import Distance, Features, PatchFeatures, SetRow, write_sets
from gencomp.evaluation.held_out import HeldOutImage
from gencomp.evaluation.metrics import Measurer, Original
from gencomp.evaluation.output import whole_folder
from gencomp.evaluation.protocols import protocols, protocols_json
from gencomp.evaluation.rates import ChosenMetric, RateRow, write_rows

Quality = Annotated[int, msgspec.Meta(ge=0, le=100)]
ZooQuality = Annotated[int, msgspec.Meta(ge=1, le=8)]


class AnchorsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The ladder of each classical codec; its lowest rate is always added, and an empty ladder leaves it out."""

    jpeg: tuple[Annotated[int, msgspec.Meta(ge=1, le=100)], ...]
    """Qualities of libjpeg, 1 to 100."""
    webp: tuple[Quality, ...]
    """Qualities, 0 to 100."""
    jpeg2000: tuple[Annotated[float, msgspec.Meta(gt=0, le=24)], ...]
    """Bits per pixel asked of the encoder."""
    avif: tuple[Quality, ...]
    """Qualities, 0 to 100."""
    heic: tuple[Quality, ...] = ()
    """Qualities, 0 to 100; used when pillow-heif is installed."""
    jxl: tuple[Quality, ...] = ()
    """Qualities, 0 to 100; used when pillow-jxl-plugin is installed."""
    vvc: tuple[Annotated[int, msgspec.Meta(ge=0, le=63)], ...] = ()
    """Quantisers, 0 (best) to 63 (smallest), seconds a picture; used when imageio-ffmpeg is installed."""
    bpg: tuple[Annotated[int, msgspec.Meta(ge=0, le=51)], ...]
    """Quantisers, 0 (best) to 51 (smallest); used when bpgenc and bpgdec are on PATH."""
    bmshj2018_factorized: tuple[ZooQuality, ...] = ()
    """Qualities of compressai's zoo, 1 (smallest) to 8; used when it and its weights are there, as the next three."""
    bmshj2018_hyperprior: tuple[ZooQuality, ...] = ()
    mbt2018_mean: tuple[ZooQuality, ...] = ()
    mbt2018: tuple[ZooQuality, ...] = ()
    """The autoregressive one, many seconds a picture."""

    def ladder(self, codec: ClassicalCodec) -> tuple[float, ...]:
        """The settings at which a codec is measured, in ascending order."""
        settings: tuple[float, ...] = getattr(self, codec.name)
        return tuple(sorted({codec.lowest, *settings})) if settings else ()


class Anchors(NamedTuple):
    """What was measured."""

    rows: list[RateRow]
    left_out: dict[str, str]
    """Title of each codec that was asked for and cannot be used here, or takes not every picture, and why."""


class _Encoded(NamedTuple):
    row: RateRow
    files: dict[str, bytes]
    decoded: str
    """Digest of the decoded picture."""


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """What a cache holds of an encoded picture."""

    data: bytes
    png: bytes
    """The decoded picture; empty where Pillow decodes the file."""
    decoded: str
    """Digest of the decoded picture."""


def measure_anchors(
    images: Iterable[HeldOutImage],
    config: AnchorsConfig,
    folder: Path,
    threads: int,
    metrics: Sequence[ChosenMetric] = ("psnr", "ms_ssim"),
    cache: Cache | None = None,
) -> Anchors:
    """Encode and decode every picture at every setting; write `images.csv` and `files.tar` into `folder`.

    A codec whose decoder is not Pillow has its decoded picture beside each file, as PNG. `protocols.json` says how the
    files and the figures were made, and `sets.csv` holds the figures of all pictures at once where `metrics` asks for
    them. The bytes written depend neither on `threads` nor on what the cache holds.
    Raises MissingWeightsError.
    """
    cache = cache or NoCache()
    measurer, features = Measurer(metrics, cache), PatchFeatures(cache) if "kid" in metrics else None
    asked = [codec for codec in CODECS.values() if config.ladder(codec)]
    left_out = {codec.title: reason for codec in asked if (reason := codec.missing())}
    used = [codec for codec in asked if codec.title not in left_out]
    encoder = _Encoder(cache, {codec.name: codec.version() for codec in used})
    ladders = [(codec, setting) for codec in used for setting in config.ladder(codec)]
    rows: list[RateRow] = []
    originals: dict[str, Features] = {}
    decoded: list[str] = []
    not_taken: Counter[str] = Counter()
    with whole_folder(folder) as output:
        with (
            tarfile.open(output / "files.tar", "w", format=tarfile.USTAR_FORMAT) as archive,
            ThreadPoolExecutor(threads) as pool,
        ):
            for image in images:
                original = measurer.beside(image.pixels)
                not_taken.update(codec.name for codec in used if not codec.takes(image.pixels))
                steps = [step for step in ladders if step[0].takes(image.pixels)]
                for encoded in pool.map(lambda step, image=image, x=original: encoder(image, x, *step), steps):
                    rows.append(encoded.row)
                    decoded.append(encoded.decoded)
                    _add_files(archive, encoded.files)
                if features:
                    originals[image.key] = features(image.pixels)
        write_rows(output / "images.csv", rows)
        if features:
            with tarfile.open(output / "files.tar") as archive:
                write_sets(output / "sets.csv", _sets(rows, decoded, originals, features, archive))
        (output / "protocols.json").write_bytes(protocols_json(protocols(metrics, used, config.ladder)))
    return Anchors(rows, left_out | in_part(not_taken))


class _Encoder:
    def __init__(self, cache: Cache, versions: Mapping[str, str]) -> None:
        self.cache, self.versions = cache, versions

    def __call__(self, image: HeldOutImage, original: Original, codec: ClassicalCodec, setting: float) -> _Encoded:
        key = digest("file", original.digest, codec.name, codec.protocol, self.versions[codec.name], str(setting))
        kept = self._kept(key)
        figures = original.known(kept.decoded) if kept else None
        if kept is None or figures is None:
            data, pixels = codec.round_trip(image.pixels, setting)
            kept = _Kept(data, b"" if codec.by_pillow else _png(pixels), picture_digest(pixels))
            figures = original(pixels)
            self.cache.put(key, msgspec.msgpack.encode(kept))
        height, width, _ = image.pixels.shape
        row = RateRow(
            key=image.key,
            codec=codec.name,
            setting=setting_name(setting),
            width=width,
            height=height,
            size=len(kept.data),
            header_bytes=None,
            side_bytes=None,
            **figures._asdict(),
        )
        name = file_name(image.key, codec.name, row.setting)
        files = {name: kept.data} if codec.by_pillow else {name: kept.data, f"{name}.png": kept.png}
        return _Encoded(row, files, kept.decoded)

    def _kept(self, key: str) -> _Kept | None:
        data = self.cache.get(key)
        try:
            return msgspec.msgpack.decode(data, type=_Kept) if data else None
        except (msgspec.DecodeError, msgspec.ValidationError):  # damaged: encoded again
            return None


def _sets(
    rows: Sequence[RateRow],
    decoded: Sequence[str],
    originals: Mapping[str, Features],
    features: PatchFeatures,
    archive: tarfile.TarFile,
) -> Iterator[SetRow]:
    """One codec at one setting after another, so that the features of one alone are in use."""
    for codec, setting in dict.fromkeys((row.codec, row.setting) for row in rows):
        distance = Distance()
        for row, picture in zip(rows, decoded, strict=True):
            if (row.codec, row.setting) == (codec, setting):
                found = features.known(picture)
                found = features(archived_picture(archive, row.key, codec, setting)) if found is None else found
                distance.add(originals[row.key], found)
        yield SetRow(codec, setting, distance.figures())


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _add_files(archive: tarfile.TarFile, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = len(data), 0, 0o644
        archive.addfile(member, io.BytesIO(data))
