"""A partition that was finished is not made again."""

from pathlib import Path

import msgspec
import pytest

from gencomp.data.archive import write_tar
from gencomp.data.manifest import Part
from gencomp.data.partitions import described, finish, publish, resume_key


class Note(msgspec.Struct, frozen=True, kw_only=True):
    said: str
    part: Part | None


class Maker:
    """Makes partitions, and stops at one of them."""

    def __init__(self, stop: str | None = None) -> None:
        self.stop = stop
        self.made: list[str] = []

    def __call__(self, name: str, tar: Path) -> Note:
        if name == self.stop:
            tar.with_name(f".{tar.name}.unfinished").write_bytes(b"half")
            raise KeyboardInterrupt
        self.made.append(name)
        if name == "c":
            return Note(said=name, part=None)
        write_tar(tar, [(name, name.encode())])
        return Note(said=name, part=described(tar, 1))


def test_a_second_run_makes_only_what_the_first_left_and_ends_in_the_same(tmp_path: Path) -> None:
    whole = list(finish(tmp_path / "whole", list("abcd"), Maker(), Note, "t"))
    with pytest.raises(KeyboardInterrupt):
        list(finish(tmp_path / "parts", list("abcd"), Maker(stop="d"), Note, "t"))
    rest = Maker()
    assert list(finish(tmp_path / "parts", list("abcd"), rest, Note, "t")) == whole
    assert rest.made == ["d"]
    names = [path.name for path in sorted((tmp_path / "parts").iterdir())]
    assert names == ["a.json", "a.tar", "b.json", "b.tar", "c.json", "d.json", "d.tar"]


def test_a_record_without_its_whole_tar_is_made_again(tmp_path: Path) -> None:
    whole = list(finish(tmp_path, list("abcd"), Maker(), Note, "t"))
    (tmp_path / "a.tar").unlink()
    (tmp_path / "b.tar").write_bytes((tmp_path / "b.tar").read_bytes().replace(b"b", b"d"))
    (tmp_path / "d.json").write_bytes(b"{")
    again = Maker()
    assert list(finish(tmp_path, list("abcd"), again, Note, "t")) == whole
    assert again.made == ["a", "b", "d"]


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
