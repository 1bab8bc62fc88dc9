"""Files that appear whole, and in the place of none that is there."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from gencomp import files
from gencomp.files import RefusedError, write

WRITERS, ROUNDS = 4, 10


@pytest.mark.parametrize("through", ["file", "link"])
def test_of_many_who_write_the_same_file_at_once_one_does(
    tmp_path: Path, through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of whom has seen, last of all, that there is no such file."""
    together, check = Barrier(WRITERS), files.check_target

    def check_together(target: Path, force: bool) -> None:
        check(target, force)
        together.wait(60)

    monkeypatch.setattr(files, "check_target", check_together)

    def writing(target: Path, data: bytes) -> bool:
        try:
            files.write(target, data, force=False)
        except RefusedError as error:
            assert str(error) == f"{target} exists: add --force to replace it"
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as pool:
        for number in range(ROUNDS):
            file, target = tmp_path / f"{number}.gnc", tmp_path / f"{number}{'.gnc' if through == 'file' else '-link'}"
            if through == "link":
                target.symlink_to(file.name)
            wrote = list(pool.map(writing, [target] * WRITERS, (bytes([writer]) * 5000 for writer in range(WRITERS))))
            assert sum(wrote) == 1
            assert file.read_bytes() == bytes([wrote.index(True)]) * 5000
            assert file.stat().st_nlink == 1
    assert not list(tmp_path.glob(".gencomp-*"))


def test_with_force_the_last_one_stays(tmp_path: Path) -> None:
    for data in (b"old", b"new"):
        write(tmp_path / "out.gnc", data, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out.gnc"]
    assert (tmp_path / "out.gnc").read_bytes() == b"new"


@pytest.mark.parametrize(
    "error", [PermissionError(1, "not permitted"), OSError(95, "not supported"), NotImplementedError()]
)
def test_where_there_are_no_hard_links_files_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise error

    monkeypatch.setattr(os, "link", refuse)
    write(tmp_path / "out.gnc", b"data", force=False)
    assert (tmp_path / "out.gnc").read_bytes() == b"data"
    with pytest.raises(RefusedError, match="exists: add --force"):
        write(tmp_path / "out.gnc", b"other", force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out.gnc"]
    assert (tmp_path / "out.gnc").read_bytes() == b"data"


def test_a_failure_that_has_nothing_to_do_with_links_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(RefusedError, match="is not a file"):
        write(tmp_path / "folder", b"data", force=True)
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "nowhere" / "out.gnc", b"data", force=False)
