"""Rows on disk come in the order in which sorting them in memory would bring them."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gencomp.data.failure import DataError
from gencomp.data.rows import rows

NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=6)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.sets(NAMES, max_size=12), most=st.integers(0, 13), salt=st.text("ab", max_size=2))
def test_order_and_choice_are_those_of_python(tmp_path: Path, names: set[str], most: int, salt: str) -> None:
    with rows(tmp_path / "rows") as listing:
        for name in names:
            assert listing.add("b", name, name.encode())
        assert listing.add("a", "another group", b"1")
        assert [row.decode() for row in listing.sorted("b")] == sorted(names)
        listing.reduce("b", most, salt)
        chosen = sorted(names, key=lambda name: hashlib.sha256((salt + name).encode()).digest())[:most]
        assert [row.decode() for row in listing.sorted("b")] == sorted(chosen)
        assert listing.groups() == ["a", "b"] if chosen else ["a"]
        assert list(listing.sorted("a")) == [b"1"]


def test_a_row_that_is_there_changes_nothing_and_a_name_has_one_row(tmp_path: Path) -> None:
    with rows(tmp_path / "rows") as listing:
        assert listing.add("a", "x", b"1") and listing.add("a", "x", b"1")
        assert not listing.add("a", "x", b"2") and not listing.add("b", "x", b"1")
        assert list(listing.sorted("a")) == [b"1"] and listing.groups() == ["a"]


def test_the_file_goes_with_its_use_and_what_a_killed_process_left_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(b"half a page")
    with pytest.raises(KeyboardInterrupt), rows(path) as listing:
        listing.add("a", "x", b"1")
        raise KeyboardInterrupt
    assert not path.exists()


def test_a_disk_that_is_full_is_an_error_of_the_data_and_nothing_stays(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    with pytest.raises(DataError, match=r"rows: database or disk is full$"), rows(path) as listing:
        listing._database.execute("PRAGMA max_page_count = 20").fetchall()
        for index in range(10_000):
            listing.add("a", str(index), bytes(100))
    assert list(tmp_path.iterdir()) == []
