"""The report of a repository: one page that shows what its models spend, what they keep, and what codecs do instead."""

import csv
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from PIL import Image

from gencomp.codec.regions import parse_region
from gencomp.data.manifest import read
from gencomp.evaluation.accounts import Account, read_account
from gencomp.evaluation.cache import Cache
from gencomp.evaluation.cells import Table, fixed
from gencomp.evaluation.classical import CODECS, archived_picture
from gencomp.evaluation.distribution import read_sets
from gencomp.evaluation.entry import Entry
from gencomp.evaluation.gallery import Candidates, Pixels, Source, anchor_picture, candidates, gather
from gencomp.evaluation.gate import Verdict
from gencomp.evaluation.held_out import EvaluationConfig, HeldOutSample, evaluation_samples
from gencomp.evaluation.history import read_centers, read_history, training_charts
from gencomp.evaluation.label_picture import label_picture
from gencomp.evaluation.metrics import Record
from gencomp.evaluation.page import (
    Fact,
    ModelPart,
    Page,
    PictureSet,
    SetPart,
    make_part,
    render,
    result,
    versions,
)
from gencomp.evaluation.practicality import Practicality
from gencomp.evaluation.protocols import Protocols
from gencomp.evaluation.published import published
from gencomp.evaluation.rates import METRIC_NAMES, RateRow, cell, mean_points, read_rows
from gencomp.evaluation.recognised import recognise, recognised_table
from gencomp.evaluation.segmentation import Network
from gencomp.evaluation.selective import Selective
from gencomp.evaluation.sets import near
from gencomp.evaluation.summary import sentences
from gencomp.evaluation.tables import costs_table, selective_table, sets_table

GALLERY_BYTES = 38_000_000
"""Bytes of embedded pictures, over all datasets; with the rest of the page under PAGE_BYTES."""
COLOURS = 8
"""Colours of models in the style sheet."""


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
    miou: float | None = None
    selective: Selective | None = None
    protocols: dict[str, Record] = {}


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
    facts: Sequence[Fact]
    """What the provenance says beside hashes of packages, pictures and manifests."""
    costs: Practicality | None = None
    """What models and codecs cost, where it was measured."""
    networks: Mapping[str, Network] = {}
    """Segmentation networks by dataset, those of `evaluation.segmentation`."""
    cache: Cache | None = None
    """Where what networks saw in originals and in the variants' pictures is kept since the evaluation."""

    @property
    def colours(self) -> dict[str, str]:
        """Variant -> name of its colour in the style sheet."""
        return {variant: f"model-{number % COLOURS}" for number, variant in enumerate(self.datasets)}

    def rows(self, variant: str) -> dict[str, RateRow]:
        """Those of its evaluation, by picture."""
        return {row.key: row for row in read_rows(self.root / "evaluation" / variant / "images.csv")}

    def metrics(self, variant: str) -> Metrics:
        """The means of its evaluation."""
        return read(self.root / "metrics" / f"{variant}.json", Metrics)

    def decoded(self, variant: str, key: str) -> Pixels:
        """What a variant made of a picture."""
        with Image.open(self.root / "evaluation" / variant / "decoded" / f"{key}.png") as image:
            return np.asarray(image.convert("RGB"))

    def given(self, sample: HeldOutSample) -> Pixels | None:
        """What selective compression was given of a sample, as a picture; None where it has no label map."""
        if sample.labels is None:
            return None
        pixels, labels = sample.image.pixels, sample.labels
        mask = parse_region(self.config.preserve).mask(labels.shape[0], labels.shape[1], labels=labels)
        return label_picture(pixels, labels, mask)


def build_report(inputs: Inputs) -> Report:
    """The page and the rate points. Raises OSError or ValueError when an input is missing or does not fit."""
    names = list(dict.fromkeys(inputs.datasets.values()))
    accounts = {name: _account(inputs, name) for name in names}
    sets = [_picture_set(inputs, name, accounts[name]) for name in names]
    scenes = gather([_candidates(inputs, pictures, GALLERY_BYTES // len(sets)) for pictures in sets], GALLERY_BYTES)
    parts = [make_part(pictures, shown) for pictures, shown in zip(sets, scenes, strict=True)]
    histories = {name: read_history(inputs.root / "history" / f"{name}.csv") for name in inputs.datasets}
    page = Page(
        title=f"{', '.join(inputs.datasets)}",
        summary=_summary(inputs, parts),
        sets=parts,
        facts=[*inputs.facts, versions(), *_facts(inputs, accounts)],
        models=[_model(inputs, variant) for part in parts for variant in part.colours],
        training=training_charts(histories, inputs.colours),
        accounts=list(accounts.values()),
        tables=_tables(inputs),
        protocols=_protocols(inputs),
    )
    return Report(render(page), rates_csv(sets))


def rates_csv(sets: Sequence[PictureSet]) -> bytes:
    """The points of the rate curves, for `dvc plots`; a codec is named with its set where there are several."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("dataset", "codec", "setting", "bpp", *METRIC_NAMES))
    for pictures in sets:
        rows = [row for entry in pictures.entries for row in entry.rows.values()]
        for point in mean_points([*rows, *pictures.anchors]):
            codec = point.codec if len(sets) == 1 else f"{pictures.name} {point.codec}"
            figures = [cell(name, point.figure(name)) for name in METRIC_NAMES]
            writer.writerow((pictures.name, codec, point.setting, f"{point.bpp:.6f}", *figures))
    return buffer.getvalue().encode()


def _tables(inputs: Inputs) -> list[Table]:
    selective = {name: found for name in inputs.datasets if (found := inputs.metrics(name).selective) is not None}
    tables = [selective_table(selective)] if selective else []
    return [*tables, costs_table(inputs.costs)] if inputs.costs else tables


def _protocols(inputs: Inputs) -> list[Protocols]:
    """As they were when the variants and the codecs were measured, not as they would be now."""
    anchors = (inputs.root / "anchors" / name / "protocols.json" for name in dict.fromkeys(inputs.datasets.values()))
    models = (Protocols(inputs.metrics(variant).protocols) for variant in inputs.datasets)
    return [*models, *(read(path, Protocols) for path in anchors)]


def _account(inputs: Inputs, dataset: str) -> Account:
    return read_account(dataset, inputs.root / "data/raw" / dataset, inputs.root / "data/shards" / dataset)


def _picture_set(inputs: Inputs, dataset: str, account: Account) -> PictureSet:
    variants = [variant for variant, name in inputs.datasets.items() if name == dataset]
    anchors = read_rows(inputs.root / "anchors" / dataset / "images.csv")
    entries = [_entry(inputs, variant) for variant in variants]
    tables = [*_sets(inputs, dataset, entries, anchors), *_recognised(inputs, dataset, entries, anchors)]
    return PictureSet(dataset, entries, anchors, account.credits, tables=tables)


def _sets(inputs: Inputs, dataset: str, entries: Sequence[Entry], anchors: Sequence[RateRow]) -> list[Table]:
    folders = [*(inputs.root / "evaluation" / entry.name for entry in entries), inputs.root / "anchors" / dataset]
    rates = near([row for entry in entries for row in entry.rows.values()], anchors)
    found = [row for folder in folders for row in read_sets(folder / "sets.csv") if (row.codec, row.setting) in rates]
    return [sets_table(found, rates, entries, published())] if found else []


def _recognised(inputs: Inputs, dataset: str, entries: Sequence[Entry], anchors: Sequence[RateRow]) -> list[Table]:
    """What the dataset's network sees, where the evaluation found label maps for it; codecs whose files Pillow cannot
    decode here are left out."""
    network = inputs.networks.get(dataset)
    if network is None or all(inputs.metrics(entry.name).miou is None for entry in entries):
        return []
    blind = {codec.name for codec in CODECS.values() if codec.by_pillow and codec.missing()}
    samples = evaluation_samples(inputs.config, inputs.root / "data/shards" / dataset)
    with tarfile.open(inputs.root / "anchors" / dataset / "files.tar") as archive:

        def picture(row: RateRow) -> Pixels:
            if row.codec in CODECS:
                return archived_picture(archive, row.key, row.codec, row.setting)
            return inputs.decoded(row.codec, row.key)

        decodable = [row for row in anchors if row.codec not in blind]
        return [recognised_table(recognise(network, samples, entries, decodable, picture, inputs.cache), network)]


def _entry(inputs: Inputs, variant: str) -> Entry:
    metrics = inputs.metrics(variant)
    verdict = read(inputs.root / "gate" / f"{variant}.json", Verdict)
    shares = [("payload", metrics.payload_bpp), ("header", metrics.header_bpp), ("side information", metrics.side_bpp)]
    spent = ", ".join(f"{name} {fixed(share, 4)}" for name, share in shares)
    failed = "; ".join(check.reason for check in verdict.checks if not check.passed)
    return Entry(
        name=variant,
        codec=variant,
        colour=inputs.colours[variant],
        group="",
        rows=inputs.rows(variant),
        note=f"{variant}, in bits per pixel: {spent}.{' The gate let it pass.' if verdict.passed else ''}",
        warning="" if verdict.passed else f"The gate refused it: {failed}.",
    )


def _candidates(inputs: Inputs, pictures: PictureSet, budget: int) -> Candidates:
    samples = evaluation_samples(inputs.config, inputs.root / "data/shards" / pictures.name)
    selective = [entry.name for entry in pictures.entries if inputs.metrics(entry.name).side_bpp]
    with tarfile.open(inputs.root / "anchors" / pictures.name / "files.tar") as archive:
        source = Source(
            samples, inputs.decoded, lambda row: anchor_picture(archive, row), inputs.given, selective=selective
        )
        return candidates(pictures.entries, pictures.anchors, source, pictures.primary, budget)


def _summary(inputs: Inputs, parts: Sequence[SetPart]) -> list[str]:
    results = []
    for part in parts:
        for item in part.entries:
            metrics = inputs.metrics(item.name)
            results.append(result(part, item, metrics.bound_violations, metrics.symbol_mismatches))
    return sentences(results)


def _model(inputs: Inputs, variant: str) -> ModelPart:
    centers = read_centers(inputs.root / "history" / f"{variant}-centers.csv")
    return ModelPart(variant, inputs.colours[variant], centers)


def _facts(inputs: Inputs, accounts: Mapping[str, Account]) -> list[Fact]:
    facts = []
    for variant in inputs.datasets:
        metrics = inputs.metrics(variant)
        facts.append(Fact(f"{variant}, package", metrics.package, f"(files carry {metrics.fingerprint})"))
        facts.append(Fact(f"{variant}, pictures", metrics.evaluation_digest))
    for name, account in accounts.items():
        facts.append(Fact(f"{name}, download", account.raw_digest))
        facts.append(Fact(f"{name}, shards", account.shards_digest))
    return facts
