"""A model evaluated on held-out pictures: real files, decoded from their bytes, compared with the originals."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gencomp.codec.codec import Codec
from gencomp.codec.container import Entropy, describe, packed_bytes
from gencomp.codec.rate import RateError
from gencomp.codec.regions import RegionError
from gencomp.codec.selection import Selection, SelectionError
from gencomp.evaluation.held_out import HeldOutError, HeldOutImage, HeldOutSample, update_digest
from gencomp.evaluation.metrics import Figures, Measurer
from gencomp.evaluation.output import whole_folder
from gencomp.evaluation.rates import METRIC_NAMES, MetricName, RateRow, mean, write_rows
from gencomp.evaluation.selective import (
    Selective,
    SelectiveRow,
    selective_means,
    selective_row,
    write_selective,
)
from gencomp.models.content import content_hash
from gencomp.models.package import load_package


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """The means of an evaluation, and its exactness; what `metrics/<variant>.json` holds."""

    images: int
    """Pictures evaluated."""
    evaluation_digest: str
    """SHA-256 over keys and pixels of the pictures: equal digests, equal pictures."""
    package: str
    """Content hash of the package."""
    fingerprint: str
    """Head of the model's fingerprint, 8 hex digits, as files carry it."""
    bpp: float
    """Bytes of the file x 8 / pixels, mean over pictures."""
    payload_bpp: float
    """Its part in the symbols."""
    header_bpp: float
    """Its part in the header."""
    side_bpp: float
    """Its part in side information, which selective compression alone has."""
    psnr: float
    """dB, mean over pictures."""
    ms_ssim: float | None
    """In [0, 1], mean over the pictures that are large enough; None when none is."""
    lpips_alex: float | None = None
    """LPIPS with AlexNet, mean over pictures; None where it was not measured, as are the three that follow."""
    lpips_vgg: float | None = None
    """LPIPS with VGG16."""
    dists: float | None = None
    """DISTS."""
    ssimulacra2: float | None = None
    """SSIMULACRA2, at most 100."""
    bound_violations: int
    """Files larger than header + side information + log2(L) bits for each symbol."""
    symbol_mismatches: int
    """Symbols that came out of a file other than they went in, and pixels of label maps and edges."""
    max_bpp: float | None
    """The limit that a nested model was asked to keep; none: its rate is its own."""
    selective: Selective | None = None
    """Of models of selective compression: inside and outside the region, and its seam."""


class _Evaluated(NamedTuple):
    row: RateRow
    within_bound: bool
    mismatches: int
    selective: SelectiveRow | None


def evaluate(
    package_folder: Path,
    samples: Iterable[HeldOutSample],
    entropy: Entropy,
    name: str,
    output: Path,
    preserve: str = "all",
    max_bpp: float | None = None,
    metrics: Sequence[MetricName] = ("psnr", "ms_ssim"),
) -> Metrics:
    """Compress every picture to `output/streams/<key>.gnc`, decode it from there to `output/decoded/<key>.png`.

    What selective compression did inside and outside its regions is in `output/selective.csv`.
    `name` is the codec's name in `output/images.csv`; models of selective compression preserve the region `preserve`,
    nested ones keep their files within `max_bpp` bits per pixel (none: the codec's default). Raises PackageError,
    StreamError, HeldOutError when there are no pictures, or none with the label maps that selective compression needs,
    or when the region or the rate does not fit one, MissingWeightsError or MissingPackageError.
    """
    measurer = Measurer(metrics)
    package = load_package(package_folder)
    codec = Codec.from_package(package)
    limit = max_bpp if package.config.nested else None
    seen = hashlib.sha256()
    results: list[_Evaluated] = []
    with whole_folder(output) as folder:
        (folder / "streams").mkdir()
        (folder / "decoded").mkdir()
        for sample in samples:
            update_digest(seen, sample.image)
            given = _given(sample, preserve) if package.config.mode == "sc" else Selection()
            try:
                results.append(_evaluate_image(codec, measurer, sample.image, given, entropy, limit, name, folder))
            except (RateError, RegionError, SelectionError) as error:
                raise HeldOutError(f"{sample.image.key}: {error}") from None
        if not results:
            raise HeldOutError("there are no pictures to evaluate on")
        write_rows(folder / "images.csv", [result.row for result in results])
        if regions := [result.selective for result in results if result.selective is not None]:
            write_selective(folder / "selective.csv", regions)
    identity = seen.hexdigest(), content_hash(package_folder), package.fingerprint[:4].hex()
    return _metrics(results, *identity, limit)


def metrics_json(metrics: Metrics) -> bytes:
    """The canonical JSON of an evaluation's means."""
    return (json.dumps(msgspec.to_builtins(metrics), indent=2) + "\n").encode()


def _given(sample: HeldOutSample, preserve: str) -> Selection:
    """What selective compression takes of a sample."""
    if sample.labels is None:
        raise HeldOutError(
            f"{sample.image.key} has no label map, which selective compression needs: evaluate it on shards with labels"
        )
    return Selection(labels=sample.labels, edges=sample.edges, preserve=preserve)


def _evaluate_image(
    codec: Codec,
    measurer: Measurer,
    image: HeldOutImage,
    given: Selection,
    entropy: Entropy,
    max_bpp: float | None,
    name: str,
    folder: Path,
) -> _Evaluated:
    stream = folder / "streams" / f"{image.key}.gnc"
    picture = Image.fromarray(image.pixels)
    labels, edges, instances, preserve = given
    stream.write_bytes(
        codec.compress(
            picture,
            entropy=entropy,
            max_bpp=max_bpp,
            labels=labels,
            edges=edges,
            instances=instances,
            preserve=preserve,
        )
    )
    data = stream.read_bytes()
    decoded = codec.decompress(data)
    decoded.save(folder / "decoded" / f"{image.key}.png")
    symbols = codec.symbols(picture, labels=labels, edges=edges, instances=instances, preserve=preserve)
    symbols = symbols[: describe(data).channels]
    return _Evaluated(
        row=_row(image.key, data, measurer(image.pixels, np.asarray(decoded)), name, entropy),
        within_bound=len(data) <= _bound(codec, data, symbols.shape),
        mismatches=_mismatches(symbols, codec.decode_symbols(data)) + _side_mismatches(codec, data, given),
        selective=_selective(codec, data, image, np.asarray(decoded)),
    )


def _bound(codec: Codec, data: bytes, shape: tuple[int, ...]) -> int:
    """Bytes that the stream of symbols (C, h, w) may take at most, with the side information that it has."""
    info, (channels, h, w) = describe(data), shape
    positions = int(codec.decode_side(data).mask.sum()) if info.mode == "SC" else h * w
    return info.header_bytes + info.side_bytes + packed_bytes(channels * positions, codec.package.config.levels)


def _side_mismatches(codec: Codec, data: bytes, given: Selection) -> int:
    """How many pixels of the label map and of the edges came out of a stream other than they went in."""
    if given.empty:
        return 0
    side = codec.decode_side(data)
    maps = [(given.labels, side.labels), (given.edges, side.edges)]
    return sum(_mismatches(np.asarray(put_in), came_out) for put_in, came_out in maps if put_in is not None)


def _selective(codec: Codec, data: bytes, image: HeldOutImage, decoded: NDArray[np.uint8]) -> SelectiveRow | None:
    """What selective compression did to a picture; None for global compression."""
    if (info := describe(data)).mode != "SC":
        return None
    region, stride = codec.decode_side(data).mask, codec.package.config.latent_stride
    return selective_row(image.key, image.pixels, decoded, region, stride, info.side_bytes, len(data))


def _row(key: str, data: bytes, figures: Figures, name: str, entropy: Entropy) -> RateRow:
    info = describe(data)
    return RateRow(
        key=key,
        codec=name,
        setting=entropy,
        width=info.width,
        height=info.height,
        size=len(data),
        header_bytes=info.header_bytes,
        side_bytes=info.side_bytes,
        **figures._asdict(),
    )


def _mismatches(encoded: NDArray[np.generic], decoded: NDArray[np.generic]) -> int:
    """How many elements differ; all of them when the shapes do."""
    return int((encoded != decoded).sum()) if encoded.shape == decoded.shape else encoded.size


def _metrics(results: list[_Evaluated], digest: str, package: str, fingerprint: str, max_bpp: float | None) -> Metrics:
    rows = [result.row for result in results]
    regions = [result.selective for result in results if result.selective is not None]
    bpp = _mean([row.bpp for row in rows])
    header = _mean([row.bpp * (row.header_bytes or 0) / row.size for row in rows])
    side = _mean([row.bpp * (row.side_bytes or 0) / row.size for row in rows])
    return Metrics(
        images=len(rows),
        evaluation_digest=digest,
        package=package,
        fingerprint=fingerprint,
        bpp=bpp,
        payload_bpp=bpp - header - side,
        header_bpp=header,
        side_bpp=side,
        psnr=round(_mean([row.psnr for row in rows]), 4),
        **{name: _rounded(mean([row.figure(name) for row in rows])) for name in METRIC_NAMES[1:]},
        bound_violations=sum(not result.within_bound for result in results),
        symbol_mismatches=sum(result.mismatches for result in results),
        max_bpp=max_bpp,
        selective=selective_means(regions) if regions else None,
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
