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
from gencomp.codec.filling import ENCODER
from gencomp.codec.rate import RateError
from gencomp.codec.regions import RegionError
from gencomp.codec.selection import Selection, SelectionError
from gencomp.evaluation import segmentation
from gencomp.evaluation.bootstrap import interval
from gencomp.evaluation.cache import Cache
from gencomp.evaluation.distribution import Distance, PatchFeatures, SetFigures, SetRow, write_sets
from gencomp.evaluation.held_out import HeldOutError, HeldOutImage, HeldOutSample, update_digest
from gencomp.evaluation.metrics import Figures, Measurer, Record, records
from gencomp.evaluation.output import whole_folder
from gencomp.evaluation.perceptual import MapPreparing, lpips_map
from gencomp.evaluation.rates import METRIC_NAMES, ChosenMetric, RateRow, mean, write_rows
from gencomp.evaluation.segmentation import Confusion, Network, Scores, SegmentationError, Sight
from gencomp.evaluation.selective import (
    Selective,
    SelectiveRow,
    selective_means,
    selective_records,
    selective_row,
    write_selective,
)
from gencomp.models.content import content_hash
from gencomp.models.package import load_package

NOTHING = Selection()
"""What models of global compression are given beside a picture."""


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
    encoder: int
    """How symbols were chosen, `ENCODER` of gencomp/codec/filling.py."""
    miou: float | None = None
    """Mean IoU of what a segmentation network sees in the decoded pictures, over all of them; None where none was named
    or no pixel has a label."""
    miou_of_originals: float | None = None
    """The same of the originals: what no codec can be asked to exceed."""
    pixel_accuracy: float | None = None
    """Share of the labelled pixels of the decoded pictures that the network draws right, in [0, 1]."""
    pixel_accuracy_of_originals: float | None = None
    """The same of the originals."""
    kid: float | None = None
    """Kernel Inception distance of the set; None where it was not measured, or too few pictures hold a patch."""
    fid: float | None = None
    """Fréchet Inception distance, without an interval; None also below 10,000 patches."""
    intervals: dict[str, tuple[float, float]] = {}
    """95 % intervals of bpp and of the metrics above: by the bootstrap over pictures, of KID by the jackknife. FID has
    none, nor have the shares of the rate and what is said of originals."""
    protocols: dict[str, Record] = {}
    """How each metric was computed, those of `selective` and of the segmentation network too."""
    segmentation: str | None = None
    """SHA-256 of the network behind mIoU."""
    selective: Selective | None = None
    """Of models of selective compression: inside and outside the region, and its seam, with intervals of their own."""


class Recognition:
    """What a network sees in originals and in their reconstructions, against the true labels."""

    def __init__(self, network: Network, cache: Cache | None = None) -> None:
        self.network, self.cache = network, cache
        self.originals, self.decoded = Confusion(len(network.classes)), Confusion(len(network.classes))

    def add(self, image: HeldOutImage, labels: NDArray[np.integer], decoded: NDArray[np.uint8]) -> None:
        """A picture with its true label ids (H, W). Raises HeldOutError."""
        sight = Sight(self.network, labels, self.cache)
        try:
            self.originals.pictures.append(sight(image.pixels))
            self.decoded.pictures.append(sight(decoded))
        except SegmentationError as error:
            raise HeldOutError(f"{image.key}: {error}") from None

    def scores(self) -> tuple[Scores, Scores] | None:
        """Of the reconstructions and of the originals; None where no pixel has a label."""
        try:
            return self.decoded.scores(), self.originals.scores()
        except SegmentationError:
            return None

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % intervals of the reconstructions' scores. Raises SegmentationError where no pixel has a label."""
        return {
            "miou": segmentation.interval(self.decoded.resampled_miou()),
            "pixel_accuracy": segmentation.interval(self.decoded.resampled_pixel_accuracy()),
        }


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
    metrics: Sequence[ChosenMetric] = ("psnr", "ms_ssim"),
    cache: Cache | None = None,
    network: Network | None = None,
) -> Metrics:
    """Compress every picture to `output/streams/<key>.gnc`, decode it from there to `output/decoded/<key>.png`.

    `network` looks at originals and decoded pictures that have label maps. What selective compression did inside and
    outside its regions is in `output/selective.csv`.
    `name` is the codec's name in `output/images.csv`; models of selective compression preserve the region `preserve`,
    nested ones keep their files within `max_bpp` bits per pixel (none: the codec's default). Raises PackageError,
    StreamError, HeldOutError when there are no pictures, or none with the label maps that selective compression needs,
    or when the region or the rate does not fit one, or MissingWeightsError.
    """
    measurer, features = Measurer(metrics, cache), PatchFeatures(cache) if "kid" in metrics else None
    distance = Distance()
    package = load_package(package_folder)
    outside = lpips_map("alex") if package.config.mode == "sc" and "lpips_alex" in metrics else None
    codec = Codec.from_package(package)
    limit = max_bpp if package.config.nested else None
    seen, recognition = hashlib.sha256(), Recognition(network, cache) if network else None
    results: list[_Evaluated] = []
    with whole_folder(output) as folder:
        (folder / "streams").mkdir()
        (folder / "decoded").mkdir()
        for sample in samples:
            update_digest(seen, sample.image)
            given = _given(sample, preserve) if package.config.mode == "sc" else NOTHING
            try:
                result, decoded = _evaluate_image(
                    codec, measurer, outside, sample.image, given, entropy, limit, name, folder
                )
            except (RateError, RegionError, SelectionError) as error:
                raise HeldOutError(f"{sample.image.key}: {error}") from None
            results.append(result)
            if features:
                distance.add(features(sample.image.pixels), features(decoded))
            if recognition and sample.labels is not None:
                recognition.add(sample.image, sample.labels, decoded)
        if not results:
            raise HeldOutError("there are no pictures to evaluate on")
        write_rows(folder / "images.csv", [result.row for result in results])
        sets = distance.figures()
        if features:
            write_sets(folder / "sets.csv", [SetRow(name, entropy, sets)])
        if regions := [result.selective for result in results if result.selective is not None]:
            write_selective(folder / "selective.csv", regions)
    identity = seen.hexdigest(), content_hash(package_folder), package.fingerprint[:4].hex()
    how = records(metrics)
    how |= segmentation.records(network) if network else {}
    how |= selective_records(metrics) if package.config.mode == "sc" else {}
    return _metrics(results, sets, *identity, limit, how, recognition)


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


class Coded(NamedTuple):
    """A picture through a codec and back."""

    data: bytes
    """The whole file."""
    decoded: NDArray[np.uint8]
    """(H, W, 3), from the bytes of the file."""
    within_bound: bool
    """The file is no larger than header + side information + log2(L) bits for each symbol."""
    mismatches: int
    """Symbols that came out of the file other than they went in, and pixels of label maps and edges."""


def code(
    codec: Codec,
    pixels: NDArray[np.uint8],
    entropy: Entropy,
    max_bpp: float | None = None,
    given: Selection = NOTHING,
    channels: int | None = None,
    effort: int = 0,
) -> Coded:
    """Compress an (H, W, 3) picture, decode the file, and compare what went in with what came out.

    Raises RateError, RegionError and SelectionError as `Codec.compress` does.
    """
    picture = Image.fromarray(pixels)
    labels, edges, instances, preserve = given
    coded: list[NDArray[np.uint8]] = []
    data = codec.compress(
        picture,
        entropy=entropy,
        max_bpp=max_bpp,
        channels=channels,
        labels=labels,
        edges=edges,
        instances=instances,
        preserve=preserve,
        effort=effort,
        coded=coded.append,
    )
    found = codec.decode_symbols(data)
    mismatches = _mismatches(coded[0], found) + _side_mismatches(codec, data, given)
    return Coded(
        data=data,
        decoded=np.asarray(codec.decompress(data)),
        within_bound=len(data) <= _bound(codec, data, found.shape),
        mismatches=mismatches,
    )


def row(key: str, data: bytes, figures: Figures, name: str, setting: str) -> RateRow:
    """The row of a stream, `name` being the codec's."""
    info = describe(data)
    return RateRow(
        key=key,
        codec=name,
        setting=setting,
        width=info.width,
        height=info.height,
        size=len(data),
        header_bytes=info.header_bytes,
        side_bytes=info.side_bytes,
        **figures._asdict(),
    )


def _evaluate_image(
    codec: Codec,
    measurer: Measurer,
    outside: MapPreparing | None,
    image: HeldOutImage,
    given: Selection,
    entropy: Entropy,
    max_bpp: float | None,
    name: str,
    folder: Path,
) -> tuple[_Evaluated, NDArray[np.uint8]]:
    coded = code(codec, image.pixels, entropy, max_bpp, given)
    (folder / "streams" / f"{image.key}.gnc").write_bytes(coded.data)
    Image.fromarray(coded.decoded).save(folder / "decoded" / f"{image.key}.png")
    figures = measurer(image.pixels, coded.decoded)
    measured = row(image.key, coded.data, figures, name, entropy)
    selective = _selective(codec, coded.data, image, coded.decoded, outside)
    return _Evaluated(measured, coded.within_bound, coded.mismatches, selective), coded.decoded


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


def _selective(
    codec: Codec, data: bytes, image: HeldOutImage, decoded: NDArray[np.uint8], outside: MapPreparing | None
) -> SelectiveRow | None:
    """What selective compression did to a picture; None for global compression."""
    if (info := describe(data)).mode != "SC":
        return None
    region, stride = codec.decode_side(data).mask, codec.package.config.latent_stride
    lpips = outside(image.pixels)(decoded) if outside else None
    return selective_row(image.key, image.pixels, decoded, region, stride, info.side_bytes, len(data), lpips)


def _mismatches(encoded: NDArray[np.generic], decoded: NDArray[np.generic]) -> int:
    """How many elements differ; all of them when the shapes do."""
    return int((encoded != decoded).sum()) if encoded.shape == decoded.shape else encoded.size


def _metrics(
    results: list[_Evaluated],
    sets: SetFigures,
    digest: str,
    package: str,
    fingerprint: str,
    max_bpp: float | None,
    protocols: dict[str, Record],
    recognition: "Recognition | None",
) -> Metrics:
    rows = [result.row for result in results]
    regions = [result.selective for result in results if result.selective is not None]
    bpp = _mean([row.bpp for row in rows])
    scores = recognition.scores() if recognition else None
    seen, of_originals = scores or (None, None)
    intervals = _intervals(rows, sets) | (recognition.intervals() if recognition and scores else {})
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
        encoder=ENCODER,
        miou=_rounded(seen.miou if seen else None),
        miou_of_originals=_rounded(of_originals.miou if of_originals else None),
        pixel_accuracy=_rounded(seen.pixel_accuracy if seen else None),
        pixel_accuracy_of_originals=_rounded(of_originals.pixel_accuracy if of_originals else None),
        kid=_rounded(sets.kid),
        fid=_rounded(sets.fid),
        intervals={name: (round(low, 6), round(high, 6)) for name, (low, high) in intervals.items()},
        protocols=protocols,
        segmentation=recognition.network.sha256 if recognition else None,
        selective=selective_means(regions) if regions else None,
    )


def _intervals(rows: list[RateRow], sets: SetFigures) -> dict[str, tuple[float, float]]:
    values = {"bpp": [row.bpp for row in rows]}
    values |= {name: [f for row in rows if (f := row.figure(name)) is not None] for name in METRIC_NAMES}
    found = {name: interval(figures)[1:] for name, figures in values.items() if figures}
    if sets.kid_low is not None and sets.kid_high is not None:
        found["kid"] = sets.kid_low, sets.kid_high
    return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
