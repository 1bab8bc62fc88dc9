"""Open Images: image lists, the layout of the bucket, and where the masks are."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from gencomp.data.dataset import ListFilter, MaskSource, OpenImagesSource, Split
from gencomp.data.failure import DataError, Rejected
from gencomp.data.fetch import Fetcher, local_path
from gencomp.data.forecast import foretell
from gencomp.data.lists import filled, named_split, read_table
from gencomp.data.packed import spooled
from gencomp.data.readers import TarImages, UrlReader
from gencomp.data.request import KEY, Reader, Request, Source, file_stamp

SUBSET_NAMES: dict[Split, str] = {"train": "train", "val": "validation", "test": "test"}
ROTATIONS = {0: 1, 90: 8, 180: 3, 270: 6}
"""Degrees counter-clockwise that turn an image upright, as an EXIF orientation."""
DIGITS = "0123456789abcdef"
TABLE = "{split}-annotations-object-segmentation.csv"
ARCHIVE = "{split}-masks-{digit}.zip"
CLASSES = "classes.csv"
SEGMENTED = "segmented.txt"


class OpenImages(Source):
    """The bucket, its lists and its masks, as a source."""

    def __init__(self, source: OpenImagesSource, fetcher: Fetcher, scratch: Path) -> None:
        self._source = source
        self._fetcher = fetcher
        self._scratch = scratch

    def requests(self) -> Iterator[Request]:
        """Every image of the lists that the filter wants, in the lists' order."""
        licenses, showing = self._source.filter.licenses, self._showing()
        for index, url in enumerate(self._source.image_lists):
            path = self._fetcher.local(url, self._scratch / f"list-{index}.csv")
            for request in self._requests_of(path, url):
                licensed = not licenses or any(part in (request.license or "") for part in licenses)
                if licensed and (showing is None or request.id in showing):
                    yield request

    def located(self, requests: Iterable[Request]) -> Iterable[Request]:
        """Where there are packed archives, the requests as members of the tars that their images were put into; those
        that no archive holds have no place."""
        if self._source.archives is None:
            return requests
        wanted: dict[str, set[str]] = {}
        for request in requests:
            for url in self._archives_of(request):
                wanted.setdefault(url, set()).add(request.id)
        found = spooled(wanted, self._fetcher, self._scratch)
        return (
            msgspec.structs.replace(request, place=found[request.id].place if request.id in found else "")
            for request in requests
        )

    def reader(self) -> Reader:
        """Reads the bucket's files, or what was put aside out of the archives."""
        packed = self._source.archives is not None
        return TarImages(self._scratch.absolute()) if packed else UrlReader(self._fetcher)

    def stamp(self, request: Request) -> str:
        """Size and time where the bucket is a local folder, or an archive a local file."""
        places = [request.place] if request.place else self._archives_of(request)
        paths = (local_path(place) for place in places)
        return "".join(file_stamp(path) for path in paths if path)

    def save_annotations(self, requests: Iterable[Request], folder: Path) -> None:
        """The class lists, and for the splits and first digits of these images the mask tables and archives.

        An archive that is not there is taken to hold no masks; a table or class list must be there.
        """
        masks = self._source.masks
        if masks is None:
            return
        needed, archives = {folder / CLASSES: masks.classes}, dict[Path, str]()
        if masks.segmented is not None:
            needed[folder / SEGMENTED] = masks.segmented
        for split, digits in sorted(_digits(requests).items()):
            names = {"split": SUBSET_NAMES[split]}
            needed[folder / filled(TABLE, **names)] = filled(masks.tables, **names)
            for digit in sorted(digits & set(DIGITS)):
                archives[folder / filled(ARCHIVE, **names, digit=digit)] = filled(masks.archives, **names, digit=digit)
        foretell("object masks", needed | archives, self._fetcher)
        for target, url in needed.items():
            self._fetcher.required(url, target)
        for target, url in archives.items():
            self._save_archive(url, target)

    def _archives_of(self, request: Request) -> list[str]:
        """The archives that an image may be in; none for an id that cannot be a key."""
        if self._source.archives is None or request.key is None:
            return []
        return [filled(url, digit=request.id[0].lower()) for url in self._source.archives.of(request.split)]

    def _showing(self) -> set[str] | None:
        """Ids of the images that show one of the filter's classes, None where it names none. Raises DataError."""
        wanted = self._source.filter
        if not wanted.classes:
            return None
        codes = self._codes(wanted)
        return {
            row["ImageID"]
            for index, url in enumerate(wanted.labels)
            for row in read_table(
                self._fetcher.local(url, self._scratch / f"labels-{index}.csv"), url, required=("ImageID", "LabelName")
            )
            if row["LabelName"] in codes and _shown(row.get("Confidence", ""))
        }

    def _codes(self, wanted: ListFilter) -> set[str]:
        """The LabelNames of the filter's classes. Raises DataError for a class that the class list does not know."""
        if not wanted.labels:
            raise DataError("filter: classes need labels, the tables of what images show")
        if wanted.names is None:
            return set(wanted.classes)
        path = self._fetcher.local(wanted.names, self._scratch / "names.csv")
        classes = read_classes(path)
        unknown = [name for name in wanted.classes if name not in {*classes, *classes.values()}]
        if unknown:
            raise DataError(f"{wanted.names}: no class {', '.join(unknown)}")
        return {code for code, name in classes.items() if code in wanted.classes or name in wanted.classes}

    def _save_archive(self, url: str, target: Path) -> None:
        try:
            self._fetcher.file(url, target)
        except Rejected as error:
            if error.reason != "missing":
                raise DataError(f"{url}: {error}") from None

    def _requests_of(self, path: Path, url: str) -> Iterator[Request]:
        for row in read_table(path, url, required=("ImageID", "Subset")):
            yield self._request(row, named_split(row["Subset"], f"{url}: image {row['ImageID']}"))

    def _request(self, row: dict[str, str], split: Split) -> Request:
        id = row["ImageID"]
        check = self._source.checksums
        size = row.get("OriginalSize", "")
        return Request(
            id=id,
            key=id if KEY.fullmatch(id) else None,
            split=split,
            place=filled(self._source.images or "", split=SUBSET_NAMES[split], id=id),
            length=int(size) if check and size.isdecimal() else None,
            md5=(row.get("OriginalMD5") or None) if check else None,
            orientation=_orientation(row.get("Rotation", "")),
            author=row.get("Author") or None,
            license=row.get("License") or None,
            title=row.get("Title") or None,
        )


def _digits(requests: Iterable[Request]) -> dict[Split, set[str]]:
    """First digits of the ids by split."""
    found: dict[Split, set[str]] = {}
    for request in requests:
        found.setdefault(request.split, set()).add(request.id[0].lower())
    return found


def mirror(root: str) -> OpenImagesSource:
    """The source for a bucket under the URL `root` that holds everything, the list and the annotations too."""
    return OpenImagesSource(
        image_lists=(f"{root}/image_ids.csv",),
        images=f"{root}/{{split}}/{{id}}.jpg",
        checksums=True,
        masks=MaskSource(
            tables=f"{root}/annotations/{TABLE}",
            archives=f"{root}/annotations/{ARCHIVE}",
            classes=f"{root}/annotations/class-descriptions-boxable.csv",
        ),
    )


def _shown(confidence: str) -> bool:
    """Whether a Confidence means that the image shows the class; where there is none it does."""
    try:
        return float(confidence or 1) > 0
    except ValueError:
        return True


def read_classes(path: Path) -> dict[str, str]:
    """DisplayName by LabelName, or LabelName where there is no other, in the order of a class list, whatever its line
    ends and with or without header."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    rows = [row for row in csv.reader(io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n"))) if row]
    found = {row[0].strip(): row[-1].strip() for row in rows}
    return {code: name for code, name in found.items() if code not in ("", "LabelName")}


def _orientation(rotation: str) -> int | None:
    """EXIF orientation of the Rotation column: degrees counter-clockwise; None where it is not known."""
    try:
        return ROTATIONS.get(int(float(rotation)))
    except (ValueError, OverflowError):
        return None
