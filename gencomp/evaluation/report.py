"""The report: one page that shows what the models spend, what they keep, and what the classical codecs do instead.

The page loads nothing, so that it opens from a file, and the same inputs give the same bytes.
"""

import csv
import importlib.metadata
import io
import platform
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
import msgspec

from gencomp.data.manifest import read
from gencomp.evaluation.accounts import Account, read_account
from gencomp.evaluation.charts import Chart, Line, rate_chart
from gencomp.evaluation.classical import CODECS
from gencomp.evaluation.equal_bytes import EqualBytes, match_all, table
from gencomp.evaluation.gallery import LOSSLESS_PIXELS, Scene, make_scene, matched
from gencomp.evaluation.gate import Verdict
from gencomp.evaluation.held_out import EvaluationConfig, evaluation_images
from gencomp.evaluation.history import CenterUse, read_centers, read_history, training_charts
from gencomp.evaluation.rates import RatePoint, RateRow, mean_points, read_rows
from gencomp.evaluation.summary import VariantResult, listed, sentences

GALLERY_BYTES = 36_000_000
"""Bytes of embedded pictures, over all datasets; with the rest of the page under 40 MB."""
PACKAGES = ("torch", "numpy", "pillow", "constriction", "torchmetrics")
"""Packages whose versions can change a number of the report."""


class Metrics(msgspec.Struct, frozen=True):
    """What the page shows of `metrics/<variant>.json`; its other keys are passed over."""

    images: int
    evaluation_digest: str
    package: str
    fingerprint: str
    payload_bpp: float
    header_bpp: float
    side_bpp: float
    bound_violations: int
    symbol_mismatches: int


class VariantPart(NamedTuple):
    """One variant on the page."""

    variant: str
    dataset: str
    colour: str
    metrics: Metrics
    table: list[EqualBytes]
    centers: list[CenterUse]
    verdict: Verdict


class DatasetPart(NamedTuple):
    """One dataset on the page."""

    account: Account
    variants: list[VariantPart]
    charts: list[Chart]
    scenes: list[Scene]
    images: int
    not_measured: str
    """Codecs that were not measured, as words; empty when all were."""

    @property
    def dataset(self) -> str:
        """Its name."""
        return self.account.dataset


class Report(NamedTuple):
    """What the stage writes."""

    html: bytes
    rates_csv: bytes


class Inputs(NamedTuple):
    """Where the report reads."""

    root: Path
    """The repository's folder, which holds data, models, metrics and so on."""
    datasets: Mapping[str, str]
    """Variant -> name of its dataset, in the order of the page."""
    config: EvaluationConfig
    digests: Mapping[str, str]
    """Name of a section of the parameters -> its SHA-256 (hex), for the provenance."""

    @property
    def colours(self) -> dict[str, str]:
        """Variant -> name of its colour in the style sheet."""
        return {variant: f"model-{number % 4}" for number, variant in enumerate(self.datasets)}

    def variants_of(self, dataset: str) -> list[str]:
        """The variants trained on a dataset."""
        return [variant for variant, name in self.datasets.items() if name == dataset]

    def models_of(self, dataset: str) -> dict[str, dict[str, RateRow]]:
        """Variant -> picture -> row of its evaluation."""
        folders = {variant: self.root / "evaluation" / variant for variant in self.variants_of(dataset)}
        return {variant: {row.key: row for row in _rows(folder)} for variant, folder in folders.items()}

    def anchors_of(self, dataset: str) -> list[RateRow]:
        """The rows of the classical codecs."""
        return _rows(self.root / "anchors" / dataset)


def build_report(inputs: Inputs) -> Report:
    """The page and the rate points. Raises OSError or ValueError when an input is missing or does not fit."""
    names = list(dict.fromkeys(inputs.datasets.values()))
    parts = [_dataset_part(inputs, name, GALLERY_BYTES // len(names)) for name in names]
    variants = [variant for part in parts for variant in part.variants]
    histories = {name: read_history(inputs.root / "history" / f"{name}.csv") for name in inputs.datasets}
    page = _environment().get_template("report.html.jinja")
    html = page.render(
        summary=sentences([_result(variant) for variant in variants]),
        parts=parts,
        variants=variants,
        colours=inputs.colours,
        training=training_charts(histories, inputs.colours),
        versions=_versions(),
        digests=inputs.digests,
    )
    return Report(html.encode(), _rates_csv(inputs, names))


def _dataset_part(inputs: Inputs, dataset: str, budget: int) -> DatasetPart:
    models, anchors = inputs.models_of(dataset), inputs.anchors_of(dataset)
    measured = {row.codec for row in anchors}
    return DatasetPart(
        account=read_account(dataset, inputs.root / "data/raw" / dataset, inputs.root / "data/shards" / dataset),
        variants=[_variant_part(inputs, variant, table(variant, models, anchors)) for variant in models],
        charts=_rate_charts(models, anchors, inputs.colours),
        scenes=_scenes(inputs, dataset, models, anchors, budget),
        images=len(next(iter(models.values()))),
        not_measured=listed([codec.title for codec in CODECS.values() if codec.name not in measured]),
    )


def _variant_part(inputs: Inputs, variant: str, beside: list[EqualBytes]) -> VariantPart:
    return VariantPart(
        variant=variant,
        dataset=inputs.datasets[variant],
        colour=inputs.colours[variant],
        metrics=read(inputs.root / "metrics" / f"{variant}.json", Metrics),
        table=beside,
        verdict=read(inputs.root / "gate" / f"{variant}.json", Verdict),
        centers=read_centers(inputs.root / "history" / f"{variant}-centers.csv"),
    )


def _rate_charts(
    models: Mapping[str, Mapping[str, RateRow]], anchors: Sequence[RateRow], colours: Mapping[str, str]
) -> list[Chart]:
    points = mean_points([*(row for rows in models.values() for row in rows.values()), *anchors])
    charts = []
    for title, unit, value in (("PSNR", "dB", _psnr), ("MS-SSIM", "", _ms_ssim)):
        lines = [_rate_line(name, points, colours, value, unit) for name in (*CODECS, *models)]
        present = [line for line in lines if line.points]
        if present:
            charts.append(rate_chart(title, f"{title}, {unit}" if unit else title, present))
    return charts


def _rate_line(
    name: str,
    points: Sequence[RatePoint],
    colours: Mapping[str, str],
    value: Callable[[RatePoint], float | None],
    unit: str,
) -> Line:
    title = CODECS[name].title if name in CODECS else name
    dots = [
        (point.bpp, quality, f"{title} {point.setting}: {point.bpp:.4f} bpp, {f'{quality:.4g} {unit}'.strip()}")
        for point in points
        if point.codec == name and (quality := value(point)) is not None
    ]
    return Line(name, title, colours.get(name, name), name in colours, dots)


def _psnr(point: RatePoint) -> float:
    return point.psnr


def _ms_ssim(point: RatePoint) -> float | None:
    return point.ms_ssim


def _scenes(
    inputs: Inputs,
    dataset: str,
    models: Mapping[str, Mapping[str, RateRow]],
    anchors: Sequence[RateRow],
    budget: int,
) -> list[Scene]:
    """One scene per held-out picture, until `budget` bytes of pictures are embedded; the first always."""
    matches = {variant: match_all(rows, anchors) for variant, rows in models.items()}
    pixels = sum(row.width * row.height for row in next(iter(models.values())).values())
    lossless = pixels * len(CODECS) <= LOSSLESS_PIXELS
    scenes: list[Scene] = []
    with tarfile.open(inputs.root / "anchors" / dataset / "files.tar") as archive:
        for image in evaluation_images(inputs.config, inputs.root / "data/shards" / dataset):
            decoded = {name: (rows[image.key], _decoded(inputs, name, image.key)) for name, rows in models.items()}
            beside = matched({variant: by_key[image.key] for variant, by_key in matches.items()})
            scene = make_scene(image, decoded, beside, archive, lossless)
            budget -= scene.embedded
            if scenes and budget < 0:
                break
            scenes.append(scene)
    return scenes


def _decoded(inputs: Inputs, variant: str, key: str) -> Path:
    return inputs.root / "evaluation" / variant / "decoded" / f"{key}.png"


def _rows(folder: Path) -> list[RateRow]:
    return read_rows(folder / "images.csv")


def _result(part: VariantPart) -> VariantResult:
    exactness = part.metrics.bound_violations, part.metrics.symbol_mismatches
    return VariantResult(part.variant, part.dataset, part.table, *exactness)


def _versions() -> list[tuple[str, str]]:
    return [("python", platform.python_version()), *((name, importlib.metadata.version(name)) for name in PACKAGES)]


def _rates_csv(inputs: Inputs, names: Sequence[str]) -> bytes:
    """The points of the rate curves, for `dvc plots`; a codec is named with its dataset where there are several."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("dataset", "codec", "setting", "bpp", "psnr", "ms_ssim"))
    for dataset in names:
        rows = [row for by_key in inputs.models_of(dataset).values() for row in by_key.values()]
        for point in mean_points([*rows, *inputs.anchors_of(dataset)]):
            codec = point.codec if len(names) == 1 else f"{dataset} {point.codec}"
            similarity = "" if point.ms_ssim is None else f"{point.ms_ssim:.6f}"
            writer.writerow((dataset, codec, point.setting, f"{point.bpp:.6f}", f"{point.psnr:.4f}", similarity))
    return buffer.getvalue().encode()


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gencomp.evaluation", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["fixed"] = _fixed
    environment.filters["grouped"] = "{:,.0f}".format
    return environment


def _fixed(value: float | None, digits: int) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.{digits}f}"
