"""Archives are written the same each time, and hostile ones are refused before anything is read."""

import hashlib
import io
import os
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gencomp.data.archive import ArchiveError, ZipReader, read_samples, read_tar, write_tar, write_zip

MEMBERS = [("a.jpg", b"\xff\xd8"), ("a.json", b"{}"), ("b-0.png", b""), ("b-0.json", bytes(1500))]


def test_equal_members_give_equal_tars_whenever_and_by_whomever_they_are_written(tmp_path: Path) -> None:
    write_tar(tmp_path / "one.tar", MEMBERS)
    os.utime(tmp_path, (1, 1))
    write_tar(tmp_path / "sub" / "two.tar", iter(MEMBERS))
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "sub" / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        for entry in tar:
            assert (entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname, entry.mode) == (0, 0, 0, "", "", 0o644)
            assert not entry.pax_headers


def test_a_tar_is_pinned_to_its_bytes(tmp_path: Path) -> None:
    write_tar(tmp_path / "golden.tar", MEMBERS)
    digest = hashlib.sha256((tmp_path / "golden.tar").read_bytes()).hexdigest()
    assert digest == "bf4f0f6c4ea12399710a0dffa9868c44805fff65d1616aebefd4adf17d26dffc"


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9_-]{1,120}\.(jpg|json)", fullmatch=True), st.binary(max_size=700), max_size=6
    )
)
def test_tars_and_zips_return_what_was_put_in(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("round")
    assert write_tar(folder / "x.tar", members.items()) == len(members)
    assert dict(read_tar(folder / "x.tar")) == members
    write_zip(folder / "x.zip", members.items())
    with ZipReader(folder / "x.zip") as reader:
        assert {name: reader.read(name) for name in reader.names} == members


def test_samples_are_grouped_at_the_first_dot(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", [("k.jpg", b"1"), ("k.labels.png", b"2"), ("m.json", b"3")])
    assert list(read_samples(tmp_path / "s.tar")) == [("k", {"jpg": b"1", "labels.png": b"2"}), ("m", {"json": b"3"})]


def test_a_tar_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="twice"):
        write_tar(tmp_path / "x.tar", [("a", b"1"), ("a", b"2")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.png", "a/../../up.png", "C:\\up.png", "..", "a\\..\\b"])
def test_a_zip_with_a_name_that_leads_out_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    with zipfile.ZipFile(inner / "x.zip", "w") as archive:
        archive.writestr("fine.png", b"1")
        archive.writestr(name, b"2")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ArchiveError, match="leads out"):
        ZipReader(inner / "x.zip")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("link.png")
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(ArchiveError, match="no plain file"):
        ZipReader(tmp_path / "x.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a.png", "./a.png"])
def test_a_zip_with_a_name_twice_is_refused(tmp_path: Path, second: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", b"1")
        archive.writestr(second, b"2")
    with pytest.raises(ArchiveError, match="twice"):
        ZipReader(tmp_path / "x.zip")


def test_bombs_are_refused_by_ratio_by_size_and_by_total(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ratio.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(3_000_000))
    with pytest.raises(ArchiveError, match="unpacks to 3000000 bytes"):
        ZipReader(tmp_path / "ratio.zip")
    with zipfile.ZipFile(tmp_path / "large.zip", "w") as archive:
        archive.writestr("a.png", bytes(600))
        archive.writestr("b.png", bytes(600))
    with pytest.raises(ArchiveError, match="above 500"):
        ZipReader(tmp_path / "large.zip", member_limit=500)
    with pytest.raises(ArchiveError, match="total above 1000"):
        ZipReader(tmp_path / "large.zip", total_limit=1000)
    with ZipReader(tmp_path / "large.zip", member_limit=600, total_limit=1200) as reader:
        assert reader.read("b.png") == bytes(600)


def test_a_member_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(2_000_000))
    data = bytearray((tmp_path / "x.zip").read_bytes())
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<I", 1000)
    (tmp_path / "x.zip").write_bytes(data)
    with ZipReader(tmp_path / "x.zip") as reader, pytest.raises(ArchiveError, match="a.png"):
        reader.read("a.png")


def test_truncated_damaged_and_foreign_zips_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", bytes(range(256)) * 8)
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"<html>"):
        path.write_bytes(broken)
        with pytest.raises(ArchiveError) as error:
            ZipReader(path)
        assert "\n" not in str(error.value)
    flipped = bytearray(whole)
    flipped[100] ^= 1
    path.write_bytes(flipped)
    with ZipReader(path) as reader, pytest.raises(ArchiveError, match=r"a\.png"):
        reader.read("a.png")


def test_folders_in_a_tar_are_passed_over(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("a")
    entry.type = tarfile.DIRTYPE
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(entry)
        tar.addfile(tarfile.TarInfo("a/b"), io.BytesIO())
    assert list(read_tar(tmp_path / "x.tar")) == [("a/b", b"")]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_a_tar_with_anything_but_plain_files_is_refused(tmp_path: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("a")
    entry.type = kind
    entry.linkname = "/etc/passwd"
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(entry)
    with pytest.raises(ArchiveError, match="no plain file"):
        list(read_tar(tmp_path / "x.tar"))


def test_a_tar_that_ends_early_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        entry = tarfile.TarInfo("a")
        entry.size = 5000
        tar.addfile(entry, io.BytesIO(bytes(5000)))
    (tmp_path / "x.tar").write_bytes(file.getvalue()[:2000])
    with pytest.raises(ArchiveError):
        list(read_tar(tmp_path / "x.tar"))


def test_what_a_tar_takes_in_memory_does_not_grow_by_its_members(tmp_path: Path) -> None:
    """But by their names, each of which may occur once."""
    taken = []
    for count in (100, 2000):
        tracemalloc.start()
        write_tar(tmp_path / "x.tar", ((f"{index}.json", b"{}") for index in range(count)))
        assert sum(1 for _ in read_tar(tmp_path / "x.tar")) == count
        taken.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert taken[1] - taken[0] < 1900 * 300  # tarfile's own list has 1 kB for each
