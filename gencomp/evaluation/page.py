"""The page that shows codecs beside each other on sets of pictures: what is on it, and its HTML.

It loads nothing, so that it opens from a file, and the same parts give the same bytes.
"""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jinja2

from gencomp.evaluation import templates
from gencomp.evaluation.accounts import Account, Credit
from gencomp.evaluation.analysis import Needed, needed
from gencomp.evaluation.bootstrap import Interval
from gencomp.evaluation.cells import Table, fixed
from gencomp.evaluation.charts import Chart
from gencomp.evaluation.classical import CODECS
from gencomp.evaluation.entry import Entry
from gencomp.evaluation.equal_bytes import EqualBytes, intervals, table
from gencomp.evaluation.gallery import Scene
from gencomp.evaluation.history import CenterUse
from gencomp.evaluation.metrics import METRICS, Metric, Record
from gencomp.evaluation.protocols import CodecRecord, Protocols, codecs, methods
from gencomp.evaluation.published import published
from gencomp.evaluation.rates import MetricName, RateRow
from gencomp.evaluation.summary import Result, listed
from gencomp.evaluation.tables import bd_table, needed_table

PACKAGES = ("torch", "numpy", "pillow", "constriction", "torchmetrics", "bjontegaard")
"""Packages whose versions can change a number of the page."""
PAGE_BYTES = 40_000_000
"""Bytes of a page above which it is slow to open, and seldom passes as an attachment."""
PREFERRED: tuple[MetricName, ...] = ("lpips_alex", "dists", "lpips_vgg", "ssimulacra2", "ms_ssim", "psnr")
"""Metrics by which pictures are called best and worst; the first one that was measured."""


class PictureSet(NamedTuple):
    """Pictures, and what models and codecs made of them."""

    name: str
    entries: list[Entry]
    """At least one; all have the same pictures."""
    anchors: list[RateRow]
    credits: Mapping[str, Credit] = {}
    """By picture."""
    public: bool = True
    """Whether figures that others published may stand beside it."""
    tables: Sequence[Table] = ()
    """What else was measured on it."""
    searched: bool = False
    """Whether a codec has one file for a picture, found by halving, and not its whole ladder."""

    @property
    def metrics(self) -> list[Metric]:
        """Those that were measured."""
        rows = [*(row for entry in self.entries for row in entry.rows.values()), *self.anchors]
        return [metric for metric in METRICS.values() if any(row.figure(metric.name) is not None for row in rows)]

    @property
    def primary(self) -> Metric:
        """That by which pictures are called best and worst."""
        measured = {metric.name: metric for metric in self.metrics}
        return next(measured[name] for name in PREFERRED if name in measured)


class EntryPart(NamedTuple):
    """What the page says of an entry."""

    entry: Entry
    table: list[EqualBytes]
    """Its own row first."""

    @property
    def name(self) -> str:
        """Of the entry."""
        return self.entry.name


class SetPart(NamedTuple):
    """What the page says of a set."""

    name: str
    images: int
    metrics: list[Metric]
    primary: Metric
    entries: list[EntryPart]
    chart: Mapping[str, object]
    """The points of the curves, as the script draws them."""
    curves: list[Table]
    """What its curves say; none where no curve was measured."""
    tables: Sequence[Table]
    """What else was measured."""
    scenes: list[Scene]
    credits: Mapping[str, Credit]
    not_measured: str
    """Codecs that were not measured, as words; empty when all were."""
    not_shown: str
    """Codecs that were measured and of which no scene has a picture, as words."""
    searched: bool
    """Whether a codec has one file for a picture, found by halving."""

    @property
    def whole(self) -> bool:
        """Whether every picture has its scene."""
        return len(self.scenes) == self.images

    @property
    def colours(self) -> dict[str, str]:
        """By entry."""
        return {part.name: part.entry.colour for part in self.entries}

    def values(self, key: str) -> dict[str, dict[str, float | None]]:
        """Entry -> metric -> figure of one picture."""
        return {
            part.name: {metric.name: part.entry.rows[key].figure(metric.name) for metric in self.metrics}
            for part in self.entries
        }


class ModelPart(NamedTuple):
    """What is known of a model beside its files."""

    name: str
    colour: str
    centers: list[CenterUse]


class Fact(NamedTuple):
    """A line of the provenance."""

    term: str
    code: str
    """A hash or a command; empty where there is none."""
    text: str = ""
    """What stands behind it."""


class Page(NamedTuple):
    """All that is on the page."""

    title: str
    summary: list[str]
    sets: list[SetPart]
    facts: list[Fact]
    models: Sequence[ModelPart] = ()
    training: Sequence[Chart] = ()
    accounts: Sequence[Account] = ()
    tables: Sequence[Table] = ()
    """Further ones, each a section of its own."""
    protocols: Sequence[Protocols] = ()
    """How its figures and files were made."""

    @property
    def methods(self) -> list[tuple[str, Record]]:
        """Titles of metrics, and how these were computed."""
        return methods(self.protocols)

    @property
    def codecs(self) -> list[CodecRecord]:
        """How codecs made their files."""
        return codecs(self.protocols)


def make_part(pictures: PictureSet, scenes: list[Scene]) -> SetPart:
    """What the page says of a set of pictures, some of which it shows."""
    measured = {row.codec for row in pictures.anchors}
    shown = {picture.codec for scene in scenes for picture in scene.anchors}
    models: dict[str, list[RateRow]] = {}
    for entry in pictures.entries:
        rows = (row._replace(setting=entry.name) for row in entry.rows.values())
        models.setdefault(entry.codec, []).extend(rows)
    curves = [row for row in pictures.anchors if row.codec in _with_curves(pictures.anchors)]
    found = needed(models, curves, pictures.primary.name)
    differences = bd_table(models, curves, pictures.metrics)
    return SetPart(
        name=pictures.name,
        images=len(pictures.entries[0].rows),
        metrics=pictures.metrics,
        primary=pictures.primary,
        entries=[EntryPart(entry, table(entry, pictures.entries, pictures.anchors)) for entry in pictures.entries],
        chart=_chart(pictures, found),
        curves=[table for table in (needed_table(found, pictures.primary), differences) if table is not None],
        tables=pictures.tables,
        scenes=scenes,
        credits=pictures.credits,
        not_measured=listed([codec.title for codec in CODECS.values() if codec.name not in measured]),
        not_shown=listed([codec.title for codec in CODECS.values() if codec.name in measured - shown]),
        searched=pictures.searched,
    )


def result(part: SetPart, item: EntryPart, bound_violations: int, symbol_mismatches: int) -> Result:
    """What the summary needs to know of an entry."""
    return Result(item.name, part.name, item.table, part.primary, bound_violations, symbol_mismatches)


def versions() -> Fact:
    """Of Python and of the packages that can change a number."""
    known = [("python", platform.python_version()), *((name, importlib.metadata.version(name)) for name in PACKAGES)]
    return Fact("Versions", "", ", ".join(f"{name} {version}" for name, version in known))


def render(page: Page) -> bytes:
    """The page as HTML."""
    return _environment().get_template("report.html.jinja").render(page=page).encode()


def too_large(size: int) -> str | None:
    """What is to be said of a page of so many bytes, in one line; None where it is no larger than it should be."""
    if size <= PAGE_BYTES:
        return None
    return f"the page has {size / 1e6:.1f} MB, more than {PAGE_BYTES / 1e6:g} MB: show fewer or smaller pictures"


def _with_curves(anchors: Sequence[RateRow]) -> set[str]:
    """Codecs with more than one setting that some picture shares."""
    settings: dict[tuple[str, str], set[str]] = {}
    for row in anchors:
        settings.setdefault((row.codec, row.key), set()).add(row.setting)
    return {codec for (codec, _), found in settings.items() if len(found) > 1}


def _chart(pictures: PictureSet, found: Sequence[Needed]) -> dict[str, object]:
    models: dict[str, list[Entry]] = {}
    for entry in pictures.entries:
        models.setdefault(entry.codec, []).append(entry)
    curves: list[dict[str, object]] = []
    for name, entries in models.items():
        points = [_point(entry.name, list(entry.rows.values())) for entry in entries]
        curves.append(_curve(name, name, entries[0].colour, points, model=True))
    for codec in CODECS.values():
        ladder: dict[str, list[RateRow]] = {}
        for row in pictures.anchors:
            if row.codec == codec.name:
                ladder.setdefault(row.setting, []).append(row)
        if ladder:
            points = [_point(setting, rows) for setting, rows in ladder.items()]
            curves.append(_curve(codec.name, codec.title, codec.name, points, model=False))
    known = [
        {"name": m.name, "title": m.title, "axis": m.axis, "better": m.better, "decimals": m.decimals}
        for m in pictures.metrics
    ]
    arrows = [
        {
            "model": item.model,
            "codec": item.codec,
            "metric": item.metric,
            "value": round(item.value, 6),
            "from": round(item.model_bpp, 6),
            "to": round(item.bpp, 6),
            "title": f"{CODECS[item.codec].title} needs {'' if item.bound == 'exact' else item.bound + ' '}"
            f"{item.ratio:.2f} times the bytes of {item.setting} for its {METRICS[item.metric].title}",
        }
        for item in found
    ]
    return {"metrics": known, "curves": curves, "arrows": arrows, "published": _published(pictures)}


def _published(pictures: PictureSet) -> list[dict[str, object]]:
    """Figures of others by the metrics of the set; `here` are those on pictures that its name tells of."""
    names = [metric.name for metric in pictures.metrics]
    return [
        {
            "title": " ".join(filter(None, (row.codec, row.setting))),
            "bpp": row.bpp,
            "figures": figures,
            "here": row.dataset == pictures.name.lower(),
            "protocol": f"{row.dataset}, {row.source}; {row.protocol}",
        }
        for row in (published() if pictures.public else ())
        if (figures := {name: value for name in names if (value := row.figure(name)) is not None})
    ]


class _Point(NamedTuple):
    setting: str
    bpp: float
    figures: dict[MetricName, Interval]


def _point(setting: str, rows: Sequence[RateRow]) -> _Point:
    return _Point(setting, sum(row.bpp for row in rows) / len(rows), intervals(rows))


def _curve(name: str, title: str, colour: str, points: Sequence[_Point], *, model: bool) -> dict[str, object]:
    drawn = [
        {
            "setting": point.setting,
            "bpp": round(point.bpp, 6),
            "figures": {metric: [round(value, 6) for value in found] for metric, found in point.figures.items()},
        }
        for point in sorted(points, key=lambda point: point.bpp)
    ]
    return {"name": name, "title": title, "colour": colour, "model": model, "points": drawn}


def _environment() -> jinja2.Environment:
    environment = templates.environment("gencomp.evaluation")
    environment.filters["fixed"] = fixed
    environment.filters["grouped"] = "{:,.0f}".format
    return environment
