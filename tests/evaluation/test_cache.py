"""Results are kept by content, found again, and never more than the limit."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp.evaluation.cache import NoCache, ResultCache, code_digest, digest, picture_digest, results_folder


def test_what_was_put_is_got_by_any_cache_on_the_folder(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "results")
    assert cache.get(digest("a")) is None
    cache.put(digest("a"), b"first")
    cache.put(digest("a"), b"second")
    assert ResultCache(tmp_path / "results").get(digest("a")) == b"second"
    assert NoCache().get(digest("a")) is None
    assert [path.name for path in (tmp_path / "results").rglob("*") if path.is_file()] == [digest("a")[2:]]


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_only_equal_parts_have_equal_digests(first: list[str], second: list[str]) -> None:
    assert (digest(*first) == digest(*second)) == (first == second)


def test_a_picture_is_known_by_its_shape_and_pixels_however_they_lie_in_memory() -> None:
    x = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert picture_digest(x) == picture_digest(np.asfortranarray(x))
    assert picture_digest(x) != picture_digest(x.reshape(4, 2, 3))


def test_code_is_known_by_the_names_and_the_text_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_code_again: None
) -> None:
    monkeypatch.setattr("gencomp.evaluation.cache.ROOT", tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("a.py", "b.py", "folder/c.py"):
        (tmp_path / name).write_text(name)
    first = code_digest("a.py", "folder")
    assert len({first, code_digest("b.py", "folder"), code_digest("a.py")}) == 3
    (tmp_path / "folder/c.py").write_text("c.py")
    assert code_digest("a.py", "folder") == first  # once in a process
    code_digest.cache_clear()
    assert code_digest("a.py", "folder") != first


def test_beyond_the_limit_what_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path)
    for age, name in enumerate("abcdef"):
        cache.put(digest(name), bytes(100))
        os.utime(tmp_path / digest(name)[:2] / digest(name)[2:], (1000 + age, 1000 + age))
    cache.get(digest("a"))
    smaller = ResultCache(tmp_path, limit=500)
    assert [name for name in "abcdef" if smaller.get(digest(name))] == ["a", "f"]  # half of the limit is 250 bytes
    assert all(ResultCache(tmp_path, limit=200).get(digest(name)) for name in "af")


def test_a_folder_that_cannot_be_written_keeps_nothing_and_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    cache = ResultCache(tmp_path / "file")
    cache.put(digest("a"), b"lost")
    assert cache.get(digest("a")) is None


def test_the_folder_is_the_chosen_one_or_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENCOMP_RESULTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert results_folder() == tmp_path / "gencomp" / "results"
    monkeypatch.setenv("GENCOMP_RESULTS", str(tmp_path / "chosen"))
    assert results_folder() == tmp_path / "chosen"
