"""Manifests written and read row by row are those that are written whole."""

import errno
from pathlib import Path

import msgspec
import pytest

from gencomp.data import manifest
from gencomp.data.failure import DataError
from gencomp.data.manifest import LabelItem, LabelManifest, LabelNetwork, Part


def item(number: int, **fields: object) -> LabelItem:
    known = {"key": f'k"{number}\n "items": [', "split": "train", "outcome": "labelled"}
    return msgspec.convert(known | fields, LabelItem)


def known(items: list[LabelItem]) -> LabelManifest:
    parts = [
        Part(name="a.tar", sha256="0" * 64, bytes=1, count=2),
        Part(name="b.tar", sha256="1" * 64, bytes=3, count=4),
    ]
    network = LabelNetwork(name="]\n  },\n", sha256="2" * 64)
    return LabelManifest(dataset="d", classes=2, items=items, counts={"lost": 1}, parts=parts, network=network)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_rows_one_by_one_are_the_manifest_written_whole(tmp_path: Path, count: int) -> None:
    items = [item(number, part="]" if number else None, objects=number) for number in range(count)]
    whole, streamed = tmp_path / "whole.json", tmp_path / "streamed.json"
    manifest.write(whole, known(items))
    manifest.write_rows(streamed, known([]), "items", iter(items))
    assert streamed.read_bytes() == whole.read_bytes()
    assert list(manifest.read_rows(whole, LabelItem, "items")) == items
    assert manifest.read_head(whole, LabelManifest, "items") == known([])


def test_a_manifest_that_breaks_off_is_not_there_and_one_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"

    def rows() -> "list[LabelItem]":
        raise OSError(errno.EIO, "the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        manifest.write_rows(path, known([]), "items", (row for _ in "a" for row in rows()))
    assert not list(tmp_path.iterdir())
    for read in (manifest.read_head, lambda *what: list(manifest.read_rows(*what))):
        with pytest.raises(DataError, match="no such file; run the stage before"):
            read(path, LabelManifest, "items")
    manifest.write(path, known([item(1)]))
    with pytest.raises(DataError, match=r"manifest.json: Object .*field"):
        list(manifest.read_rows(path, Part, "items"))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"manifest.json: "):
        manifest.read_head(path, LabelManifest, "items")
