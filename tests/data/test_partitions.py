"""A partition that was finished is not made again."""

import functools
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gencomp.data.archive import write_tar
from gencomp.data.manifest import Part
from gencomp.data.partitions import described, finish, publish, resume_key


class Note(msgspec.Struct, frozen=True, kw_only=True):
    said: str
    part: Part | None
    images: int = 1
    rejected: int = 0


def makers(stop: str | None = None) -> dict[str, Callable[[Path], Note]]:
    """Partitions a to d, of which c comes out empty and one may be interrupted."""
    return {name: functools.partial(make, name, stop) for name in "abcd"}


def make(name: str, stop: str | None, tar: Path) -> Note:
    if name == stop:
        tar.with_name(f".{tar.name}.1.unfinished").write_bytes(b"half")
        raise KeyboardInterrupt
    if name == "c":
        return Note(said=name, part=None)
    write_tar(tar, [(name, name.encode())])
    return Note(said=name, part=described(tar, 1))


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_second_run_makes_only_what_the_first_left_and_ends_in_the_same(tmp_path: Path) -> None:
    whole = list(finish(tmp_path / "whole", makers(), Note, "t", 4))
    seen: list[Note] = []
    with pytest.raises(KeyboardInterrupt):
        finish(tmp_path / "parts", makers(stop="d"), Note, "t", 4, seen.append)
    assert seen == whole[:3]
    before = times(tmp_path / "parts")
    seen.clear()
    assert list(finish(tmp_path / "parts", makers(), Note, "t", 4, seen.append)) == whole == seen
    after = times(tmp_path / "parts")
    assert sorted(after) == ["a.json", "a.tar", "b.json", "b.tar", "c.json", "d.json", "d.tar"]
    assert {name: after[name] for name in after if name[0] != "d"} == {
        name: before[name] for name in before if name[0] != "." and name[0] != "d"
    }


def test_a_record_without_its_whole_tar_is_made_again(tmp_path: Path) -> None:
    whole = list(finish(tmp_path, makers(), Note, "t", 4))
    (tmp_path / "a.tar").unlink()
    (tmp_path / "b.tar").write_bytes((tmp_path / "b.tar").read_bytes().replace(b"b", b"d"))
    (tmp_path / "d.json").write_bytes(b"{")
    before = times(tmp_path)
    assert list(finish(tmp_path, makers(), Note, "t", 4)) == whole
    after = times(tmp_path)
    assert {name for name in after if before.get(name) != after[name]} == {
        f"{n}.{e}" for n in "abd" for e in ("tar", "json")
    }


def test_publishing_replaces_what_was_there(tmp_path: Path) -> None:
    for name in ("new", "data/raw/x"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / name[0]).write_text(name)
    publish(tmp_path / "new", tmp_path / "data" / "raw" / "x")
    assert [path.name for path in (tmp_path / "data" / "raw" / "x").iterdir()] == ["n"]
    assert not (tmp_path / "new").exists()


def test_the_resume_key_depends_on_every_input_and_on_where_one_ends() -> None:
    keys = {resume_key(b"ab", b"c"), resume_key(b"a", b"bc"), resume_key(b"abc"), resume_key(b"c", b"ab")}
    assert len(keys) == 4 and resume_key(b"ab", b"c") in keys
