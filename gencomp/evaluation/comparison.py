"""A model beside classical codecs on pictures at hand: coded, measured, and put on a page."""

import functools
import hashlib
import io
import re
import tarfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gencomp.codec.codec import Codec
from gencomp.evaluation import segmentation
from gencomp.evaluation.anchors import AnchorsConfig
from gencomp.evaluation.cache import Cache
from gencomp.evaluation.cached import CachedAnchors, CachedModel, CachedWebp, Exactness, File
from gencomp.evaluation.cells import Table
from gencomp.evaluation.classical import CODECS, ClassicalCodec, archived_picture, file_name, in_part
from gencomp.evaluation.distribution import PatchFeatures, write_sets
from gencomp.evaluation.entry import Entry
from gencomp.evaluation.evaluate import row
from gencomp.evaluation.gallery import Candidates, Source, anchor_picture, candidates, gather
from gencomp.evaluation.held_out import HeldOutError, HeldOutImage, HeldOutSample, update_digest
from gencomp.evaluation.interruption import ends_with, go_on
from gencomp.evaluation.metrics import Figures, Measurer, Original
from gencomp.evaluation.page import Fact, Page, PictureSet, make_part, render, result, versions
from gencomp.evaluation.practicality import Practicality
from gencomp.evaluation.protocols import Protocols, protocols, protocols_json
from gencomp.evaluation.provenance import machine
from gencomp.evaluation.published import published
from gencomp.evaluation.rates import ChosenMetric, RateRow, write_rows
from gencomp.evaluation.recognised import recognise, recognised_table, true_labels
from gencomp.evaluation.report import GALLERY_BYTES, rates_csv
from gencomp.evaluation.segmentation import Network
from gencomp.evaluation.sets import measure_sets, near, nearest
from gencomp.evaluation.summary import sentences
from gencomp.evaluation.tables import costs_table, sets_table
from gencomp.models.content import content_hash
from gencomp.models.package import load_package

Pixels = NDArray[np.uint8]
"""(H, W, 3), RGB."""
Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Label -> a context that gives a function of the parts done and of all."""


class Pictures(NamedTuple):
    """A set of pictures."""

    name: str
    """Of letters, digits, `_` and `-`."""
    number: int
    images: Callable[[], Iterator[HeldOutImage]]
    """Goes through them, one at a time."""
    named: bool = True
    """Whether the name tells a reader anything."""


class Plan(NamedTuple):
    """What is compared."""

    package: Path
    """Folder of the model."""
    label: str
    """What the page calls the model."""
    limits: tuple[float, ...]
    """Bits per pixel within which a nested model keeps its files; others have one rate, their own."""
    anchors: AnchorsConfig
    """The ladder of each codec."""
    whole_ladders: bool
    """Measure all of each ladder, for curves; otherwise what halving finds as the largest file that is not above the
    model's."""
    metrics: tuple[ChosenMetric, ...]
    threads: int
    segmentation: Network | None = None
    """A network that looks at the pictures."""
    labels: Path | None = None
    """Folder of the true label maps, `<key>.png`, for that network."""
    effort: int = 0
    """The model's encoder's: steps that search the symbols."""
    costs: Practicality | None = None
    """What models and codecs cost, where it was measured."""
    all_sets: bool = False
    """KID of all settings within reach of the model's rates; otherwise of one of each codec."""


class _Measured(NamedTuple):
    """A set, and what the page says of it."""

    pictures: PictureSet
    digest: str
    """SHA-256 over keys and pixels."""
    bound_violations: dict[str, int]
    """By entry."""
    symbol_mismatches: dict[str, int]
    """By entry."""
    not_taken: Mapping[str, int]
    """Pictures that are too large for the files of a codec, by its name."""


class _Coded(NamedTuple):
    """A file and what was found out about it."""

    setting: str
    data: bytes
    figures: Figures
    exactness: Exactness
    png: bytes
    """The decoded picture; empty where it was not asked for."""


class _Picture(NamedTuple):
    """A picture, and all of its files."""

    image: HeldOutImage
    own: list[_Coded]
    """The model's, by limit."""
    beside: list[list[_Coded]]
    """By codec."""


class _Begun(NamedTuple):
    """A picture that is being worked on."""

    image: HeldOutImage
    own: "Future[list[_Coded]]"
    beside: "list[Future[list[_Coded]]]"

    def done(self) -> _Picture:
        """What became of it, when all of it is there."""
        return _Picture(self.image, self.own.result(), [files.result() for files in self.beside])


class Comparison:
    """Works through a plan, and keeps every part of it in the cache, so that a run that was broken off goes on."""

    def __init__(self, plan: Plan, cache: Cache) -> None:
        """Raises PackageError, HeldOutError for a model that needs label maps, MissingWeightsError."""
        self._plan, self._cache = plan, cache
        package = load_package(plan.package)
        if package.config.mode == "sc":
            raise HeldOutError(
                f"{plan.label} compresses selectively, which needs label maps: evaluate it in the pipeline, on shards"
            )
        self._content, self._fingerprint = content_hash(plan.package), package.fingerprint[:4].hex()
        self._limits: tuple[float | None, ...] = plan.limits if package.config.nested else (None,)
        self._model = CachedModel(Codec.from_package(package), self._content, cache, plan.effort)
        asked = [codec for codec in CODECS.values() if plan.anchors.ladder(codec)]
        self.left_out = {codec.title: reason for codec in asked if (reason := codec.missing())}
        """Title of each codec that was asked for and cannot be used here, and why."""
        self._codecs = [codec for codec in asked if codec.title not in self.left_out]
        self._anchors = CachedAnchors(self._codecs, cache)
        self._measurer, self._webp = Measurer(plan.metrics, cache), CachedWebp(cache)
        self._features = PatchFeatures(cache) if "kid" in plan.metrics else None
        how = protocols(plan.metrics, self._codecs, plan.anchors.ladder)
        seen = segmentation.records(plan.segmentation) if plan.segmentation else {}
        self._protocols = Protocols(how.metrics | seen, how.codecs)

    @property
    def described(self) -> dict[str, object]:
        """The plan, as JSON has it."""
        plan = self._plan
        return {
            "model": plan.label,
            "package": self._content,
            "max_bpp": self._limits,
            "effort": plan.effort,
            "metrics": plan.metrics,
            "anchors": plan.anchors,
            "segmentation": plan.segmentation and plan.segmentation.sha256,
            "all_sets": plan.all_sets,
        }

    def run(self, sets: Sequence[Pictures], output: Path, progress: Progress) -> None:
        """Write `index.html`, `rates.csv` and `protocols.json` into the folder `output`, and by set files, decoded
        pictures and tables.

        Raises HeldOutError for pictures that cannot be used.
        """
        measured = [self._measure(pictures, output / pictures.name, progress) for pictures in sets]
        offered = []
        for pictures, found in zip(sets, measured, strict=True):
            with progress(f"{pictures.name}: page") as step:
                share = GALLERY_BYTES // len(sets)
                offered.append(self._candidates(pictures, found.pictures, output / pictures.name, share, step))
        parts = []
        for pictures, found, scenes in zip(sets, measured, gather(offered, GALLERY_BYTES), strict=True):
            tables = self._tables(pictures, found.pictures, output / pictures.name)
            parts.append(make_part(found.pictures._replace(tables=tables), scenes))
        results = [
            result(part, item, found.bound_violations[item.name], found.symbol_mismatches[item.name])._replace(
                pictures=pictures.name if pictures.named else ""
            )
            for pictures, part, found in zip(sets, parts, measured, strict=True)
            for item in part.entries
        ]
        page = Page(
            title=f"{self._plan.label} on {', '.join(part.name for part in parts)}",
            summary=sentences(results, focus=(len(self._limits) - 1) // 2),
            sets=parts,
            facts=self._facts(measured),
            tables=[costs_table(self._plan.costs)] if self._plan.costs else [],
            protocols=[self._protocols],
        )
        (output / "protocols.json").write_bytes(protocols_json(self._protocols))
        (output / "rates.csv").write_bytes(rates_csv([found.pictures for found in measured]))
        (output / "index.html").write_bytes(render(page))

    def _measure(self, pictures: Pictures, output: Path, progress: Progress) -> _Measured:
        names = [self._entry_name(limit) for limit in self._limits]
        folders = {name: output / _slug(name) for name in names}
        for folder in folders.values():
            (folder / "streams").mkdir(parents=True)
            (folder / "decoded").mkdir()
        (output / "anchors").mkdir()
        seen = hashlib.sha256()
        rows: dict[str, dict[str, RateRow]] = {name: {} for name in names}
        violations, mismatches, above = dict.fromkeys(names, 0), dict.fromkeys(names, 0), dict.fromkeys(names, 0)
        anchors: list[RateRow] = []
        not_taken: Counter[str] = Counter()
        with (
            tarfile.open(output / "anchors" / "files.tar", "w", format=tarfile.USTAR_FORMAT) as archive,
            progress(pictures.name) as step,
        ):
            for number, (image, own, beside) in enumerate(self._coded(pictures.images())):
                update_digest(seen, image)
                not_taken.update(codec.name for codec in self._codecs if not codec.takes(image.pixels))
                for name, coded in zip(names, own, strict=True):
                    (folders[name] / "streams" / f"{image.key}.gnc").write_bytes(coded.data)
                    (folders[name] / "decoded" / f"{image.key}.png").write_bytes(coded.png)
                    rows[name][image.key] = row(image.key, coded.data, coded.figures, self._plan.label, name)
                    violations[name] += not coded.exactness.within_bound
                    mismatches[name] += coded.exactness.mismatches
                    above[name] += not coded.exactness.within_limit
                for codec, files in zip(self._codecs, beside, strict=True):
                    for coded in files:
                        anchors.append(_anchor_row(image, codec, coded))
                        name = file_name(image.key, codec.name, coded.setting)
                        _add(archive, name, coded.data)
                        if coded.png:
                            _add(archive, f"{name}.png", coded.png)
                step(number + 1, pictures.number)
        for name in names:
            write_rows(folders[name] / "images.csv", rows[name].values())
        write_rows(output / "anchors" / "images.csv", anchors)
        entries = [
            Entry(name, self._plan.label, "model-0", name, rows[name], _spent(rows[name]), _above(above[name]))
            for name in names
        ]
        searched = not self._plan.whole_ladders
        known = PictureSet(pictures.name, entries, anchors, public=pictures.named, searched=searched)
        return _Measured(known, seen.hexdigest(), violations, mismatches, not_taken)

    def _coded(self, images: Iterable[HeldOutImage]) -> Iterator[_Picture]:
        """What became of each picture; the next one is worked on while one is waited for, so that no thread idles.

        Where no more of them are taken, threads end after the part that they are at, and are not waited for: a part may
        take a minute.
        """
        left = threading.Event()

        def prepare() -> None:
            torch.set_num_threads(1)  # oneDNN does not hear of the number of threads that another thread has set
            ends_with(left)

        pool = ThreadPoolExecutor(self._plan.threads, initializer=prepare)
        try:
            begun: deque[_Begun] = deque()
            for image in images:
                begun.append(self._begin(image, pool))
                if len(begun) > 1:
                    yield begun.popleft().done()
            while begun:
                yield begun.popleft().done()
        finally:
            left.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _begin(self, image: HeldOutImage, pool: ThreadPoolExecutor) -> _Begun:
        """Hand out the work on a picture: first the model's, which others may wait for, then the slow codecs'."""
        original = self._measurer.beside(image.pixels)
        own = pool.submit(self._model_files, image.pixels, original)
        beside = {
            codec.name: pool.submit(self._anchor_files, image.pixels, original, codec, own)
            for codec in reversed(self._codecs)
        }
        return _Begun(image, own, [beside[codec.name] for codec in self._codecs])

    def _model_files(self, pixels: Pixels, original: Original) -> list[_Coded]:
        """One file for each limit."""
        files = ((limit, self._model.file(pixels, original.digest, limit)) for limit in self._limits)
        return [_figured(self._entry_name(limit), file, original, picture=True) for limit, file in files]

    def _anchor_files(
        self, pixels: Pixels, original: Original, codec: ClassicalCodec, own: "Future[list[_Coded]]"
    ) -> list[_Coded]:
        settings = self._plan.anchors.ladder(codec)
        if not codec.takes(pixels):
            return []
        if self._plan.whole_ladders:
            found = [self._anchors.file(pixels, original.digest, codec, setting) for setting in settings]
        else:
            most = max(len(coded.data) for coded in own.result())
            found = [self._anchors.fitted(pixels, original.digest, codec, settings, most)]
        return [_figured(setting, file, original, picture=not codec.by_pillow) for setting, file in found]

    def _candidates(
        self, pictures: Pictures, found: PictureSet, output: Path, budget: int, step: Callable[[int, int], None]
    ) -> Candidates:
        def samples() -> Iterator[HeldOutSample]:
            for number, image in enumerate(pictures.images()):
                step(number, pictures.number)
                yield HeldOutSample(image)

        with tarfile.open(output / "anchors" / "files.tar") as archive:
            source = Source(
                samples(),
                functools.partial(_decoded, output),
                functools.partial(anchor_picture, archive),
                encode=self._webp,
                threads=self._plan.threads,
            )
            return candidates(found.entries, found.anchors, source, found.primary, budget)

    def _tables(self, pictures: Pictures, found: PictureSet, output: Path) -> list[Table]:
        """What all pictures of a set say together, and what a network sees in them."""
        tables = []
        models = [row for entry in found.entries for row in entry.rows.values()]
        with tarfile.open(output / "anchors" / "files.tar") as archive:

            def picture(row: RateRow) -> Pixels:
                if row.codec in CODECS:
                    return archived_picture(archive, row.key, row.codec, row.setting)
                return _decoded(output, row.setting, row.key)

            if self._features:
                rates = (near if self._plan.all_sets else nearest)(models, found.anchors)
                everything, threads = [*models, *found.anchors], self._plan.threads
                sets = measure_sets(pictures.images(), everything, rates, self._features, picture, threads)
                write_sets(output / "sets.csv", sets)
                if any(row.figures.kid is not None for row in sets):
                    told = published() if found.public else ()
                    tables.append(sets_table(sets, rates, found.entries, told, one_each=not self._plan.all_sets))
            if (network := self._plan.segmentation) and (labels := self._plan.labels):
                samples = (HeldOutSample(x, true_labels(labels, x.key)) for x in pictures.images())
                seen = recognise(network, samples, found.entries, found.anchors, picture, self._cache)
                tables.append(recognised_table(seen, network))
        return tables

    def _entry_name(self, limit: float | None) -> str:
        return self._plan.label if limit is None else f"{self._plan.label} within {limit:g} bpp"

    def _facts(self, measured: Sequence[_Measured]) -> list[Fact]:
        network = self._plan.segmentation
        not_taken = sum((Counter(found.not_taken) for found in measured), Counter())
        return [
            *machine(self._plan.threads),
            versions(),
            Fact(f"{self._plan.label}, package", self._content, f"(files carry {self._fingerprint})"),
            *(Fact(f"{found.pictures.name}, pictures", found.digest) for found in measured),
            *([Fact(f"{network.name}, segmentation", network.sha256)] if network else []),
            *(Fact(title, "", f"left out: {reason}") for title, reason in (self.left_out | in_part(not_taken)).items()),
        ]


def _figured(setting: str, file: File, original: Original, *, picture: bool) -> _Coded:
    go_on()
    png = file.png() if picture else b""
    return _Coded(setting, file.data, file.figures(original), file.exactness, png)


def _anchor_row(image: HeldOutImage, codec: ClassicalCodec, coded: _Coded) -> RateRow:
    height, width, _ = image.pixels.shape
    size = len(coded.data)
    return RateRow(image.key, codec.name, coded.setting, width, height, size, None, None, **coded.figures._asdict())


def _spent(rows: Mapping[str, RateRow]) -> str:
    """Where a model's bits per pixel go."""
    shares = {
        "header": sum(row.bpp * (row.header_bytes or 0) / row.size for row in rows.values()) / len(rows),
        "payload": sum(row.bpp * (1 - (row.header_bytes or 0) / row.size) for row in rows.values()) / len(rows),
    }
    return f"In bits per pixel: {', '.join(f'{name} {share:.4f}' for name, share in shares.items())}."


def _above(count: int) -> str:
    return f"{count} pictures cannot go that low, and have one channel." if count else ""


def _decoded(output: Path, entry: str, key: str) -> Pixels:
    with Image.open(output / _slug(entry) / "decoded" / f"{key}.png") as image:
        return np.asarray(image)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(data), 0, 0o644
    archive.addfile(member, io.BytesIO(data))
