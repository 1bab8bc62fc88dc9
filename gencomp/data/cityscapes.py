"""Cityscapes: the two archives or their unpacked folders, joined by name."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from gencomp.data.archive import ZipReader, write_zip
from gencomp.data.cityscapes_account import VARIABLES, Account, fetch_package
from gencomp.data.dataset import CityscapesSource, Split
from gencomp.data.failure import DataError
from gencomp.data.fetch import Fetcher, local_path
from gencomp.data.forecast import foretell
from gencomp.data.readers import UrlReader, ZipImages
from gencomp.data.request import Reader, Request, Source, file_stamp

IMAGES = "leftImg8bit_trainvaltest.zip"
ANNOTATIONS = "gtFine_trainvaltest.zip"

_NAME = re.compile(
    r"(?:.*/)?(?:leftImg8bit|gtFine)/(?P<split>train|val|test)/[^/]+/(?P<key>[A-Za-z0-9-]+_\d{6}_\d{6})_"
    r"(?P<kind>leftImg8bit|gtFine_labelIds|gtFine_instanceIds)\.png"
)


class View(NamedTuple):
    """One file of the set."""

    split: Split
    key: str
    kind: str


class Cityscapes(Source):
    """The archives, or the folders that they unpack to, as a source; with an `account`, an archive that is not there is
    fetched from the set's site."""

    def __init__(
        self, source: CityscapesSource, fetcher: Fetcher, scratch: Path, license: str, account: Account | None = None
    ) -> None:
        self._root = source.root.rstrip("/")
        self._fetcher = fetcher
        self._scratch = scratch
        self._license = license
        self._account = account
        path = local_path(source.root)
        self._tree = path.absolute() if path and (path / "leftImg8bit").is_dir() else None

    def requests(self) -> list[Request]:
        """Every image, and every annotated one whose image is missing."""
        images = self._views("leftImg8bit", IMAGES)
        annotated = self._views("gtFine", ANNOTATIONS)
        places = {(view.split, view.key): name for view, name in images.items() if view.kind == "leftImg8bit"}
        for view in annotated:
            places.setdefault((view.split, view.key), "")
        return [
            Request(id=key, key=key, split=split, place=self._place(name), license=self._license)
            for (split, key), name in places.items()
        ]

    def reader(self) -> Reader:
        """Reads PNGs, from the folders or out of the archive."""
        return UrlReader(self._fetcher) if self._tree else ZipImages(self._archive(IMAGES).absolute())

    def stamp(self, request: Request) -> str:
        """Size and time of the file or archive that holds the image; empty for a missing file."""
        if self._tree:
            return file_stamp(Path(request.place)) if request.place else ""
        return file_stamp(self._archive(IMAGES))

    def save_annotations(self, requests: Iterable[Request], folder: Path) -> None:
        """`gtFine_trainvaltest.zip`: the set's own, or one made of the unpacked label and instance maps."""
        if not self._tree:
            return self._fetcher.required(str(self._archive(ANNOTATIONS)), folder / ANNOTATIONS)
        tree = self._tree
        kept = {request.key for request in requests}
        views = self._views("gtFine", ANNOTATIONS)
        names = sorted(name for view, name in views.items() if view.key in kept)
        write_zip(folder / ANNOTATIONS, ((name, (tree / name).read_bytes()) for name in names))

    def _place(self, name: str) -> str:
        return str(self._tree / name) if self._tree and name else name

    def _views(self, folder: str, archive: str) -> dict[View, str]:
        if self._tree:
            found = (self._tree / folder).rglob("*.png")
            return dict(views(sorted(path.relative_to(self._tree).as_posix() for path in found)))
        with ZipReader(self._archive(archive)) as reader:
            return dict(views(reader.names))

    def _archive(self, name: str) -> Path:
        """An archive as a local file; a remote one is fetched once per scratch folder, one from the set's site once."""
        url, copy = f"{self._root}/{name}", self._scratch / name
        foretell("Cityscapes", {copy: url}, self._fetcher)
        path = self._fetcher.local(url, copy)
        if not path.exists():
            if self._account is None:
                raise DataError(
                    f"{self._root}: neither {name} nor an unpacked leftImg8bit/ folder is there; put one there, or set "
                    f"{VARIABLES} to have it fetched"
                )
            fetch_package(self._account, name, path, self._fetcher.patience)
        return path


def views(names: Iterable[str]) -> Iterator[tuple[View, str]]:
    """The images, label maps and instance maps among the names of an archive or folder."""
    for name in names:
        match = _NAME.fullmatch(name)
        if match:
            yield View(_split(match["split"]), match["key"], match["kind"]), name


def _split(name: str) -> Split:
    if name == "train":
        return "train"
    return "val" if name == "val" else "test"
