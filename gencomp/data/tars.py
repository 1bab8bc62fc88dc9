"""Tars of images: the output of img2dataset, WebDataset shards, any tar of photographs."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from gencomp.data.archive import ArchiveError, checked_members, opened_tar
from gencomp.data.dataset import SPLITS, Split, TarSource
from gencomp.data.failure import DataError
from gencomp.data.folder import LABEL_SUFFIX, hashed_splits, write_labels
from gencomp.data.photograph import EXTENSIONS
from gencomp.data.readers import Member, TarImages
from gencomp.data.request import Request, Source, file_stamp, keys_of


class About(msgspec.Struct, frozen=True):
    """What is read of a sample's JSON, where there is one. A value of another type counts as none."""

    caption: object = None
    author: object = None
    license: object = None


class Tars(Source):
    """All tars below a folder as a source, read in place; an image's id is its tar's path and its own name."""

    def __init__(self, source: TarSource) -> None:
        self._source = source
        self._root = Path(source.root).absolute()
        self._members: dict[str, Member] = {}

    def requests(self) -> list[Request]:
        """Every member that is named like an image, hidden ones and label maps apart."""
        if not self._root.is_dir():
            raise DataError(f"{self._root}: no such folder")
        tars = sorted(path.relative_to(self._root).as_posix() for path in self._root.rglob("*.tar") if path.is_file())
        if not tars:
            raise DataError(f"{self._root}: no *.tar below it; compressed tars cannot be read in place")
        self._members = {f"{tar}/{name}": member for tar in tars for name, member in self._listed(tar)}
        ids = [id for id in self._members if _is_image(id)]
        keys, splits = keys_of(ids), self._splits(ids)
        return [self._request(id, keys[id], splits[id]) for id in ids]

    def reader(self) -> TarImages:
        """Reads members in place."""
        return TarImages(self._root)

    def stamp(self, request: Request) -> str:
        """Size and time of the tar."""
        return file_stamp(self._root / Member.at(request.place).tar)

    def save_annotations(self, requests: Iterable[Request], folder: Path) -> None:
        """`labels.zip`: `<key>.png` for each of these images that has a label map."""
        if self._source.classes:
            found = {request.key: self._beside(request.id, LABEL_SUFFIX) for request in requests}
            write_labels(folder, {key: member for key, member in found.items() if member}, self._label)

    def _label(self, member: Member) -> bytes:
        return member.read(self._root)

    def _listed(self, tar: str) -> Iterator[tuple[str, Member]]:
        path = self._root / tar
        with opened_tar(path) as opened:
            for entry in checked_members(path, opened):
                if not entry.name.isprintable():  # bytes that are no UTF-8 among them
                    raise ArchiveError(f"{path}: member {entry.name!a} has a name that is no text")
                yield entry.name, Member(tar, entry.offset_data, entry.size)

    def _splits(self, ids: Sequence[str]) -> dict[str, Split]:
        named = {id: next((split for split in SPLITS if _split_name(id) == split), None) for id in ids}
        if any(named.values()):
            return {id: split or "train" for id, split in named.items()}
        return hashed_splits(ids, self._source.validation_share)

    def _request(self, id: str, key: str, split: Split) -> Request:
        about = self._about(id)
        author, license, title = (
            value if isinstance(value, str) and value else None
            for value in (about.author, about.license, about.caption)
        )
        return Request(
            id=id, key=key, split=split, place=self._members[id].place, author=author, license=license, title=title
        )

    def _about(self, id: str) -> About:
        member = self._beside(id, ".json")
        if member is None:
            return About()
        try:
            return msgspec.json.decode(member.read(self._root), type=About)
        except (msgspec.DecodeError, RecursionError):
            return About()

    def _beside(self, id: str, suffix: str) -> Member | None:
        """The member of the same sample with another suffix: samples are told apart up to the first dot of a name."""
        folder, _, name = id.rpartition("/")
        return self._members.get(f"{folder}/{name.partition('.')[0]}{suffix}")


def _is_image(id: str) -> bool:
    name = id.rpartition("/")[2].lower()
    shown = not name.startswith(".") and not name.endswith((LABEL_SUFFIX, ".edges.png"))
    return shown and PurePosixPath(name).suffix in EXTENSIONS


def _split_name(id: str) -> str:
    """The folder at the top, or what the tar's name begins with: `val/3.tar`, `val-000003.tar`."""
    return id.partition("/")[0].removesuffix(".tar").partition("-")[0].lower()
