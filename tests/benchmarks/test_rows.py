"""What benchmarks report, and when they fail."""

import json
import math
from pathlib import Path

import pytest

from benchmarks.rows import Bar, Row, compared, finish, measured, one_line, table, unmeasured


def test_a_ratio_is_over_the_reference_and_judged_by_the_bar() -> None:
    bare = measured("bare", 100.0, "ms")
    assert compared("whole", 130.0, "ms", bare, Bar("<=", 1.4)) == Row(
        "whole", 130.0, "ms", "bare", 1.3, "<= 1.4", True
    )
    assert compared("whole", 150.0, "ms", bare, Bar("<=", 1.4)).met is False
    assert compared("whole", 150.0, "ms", bare).met is None


def test_a_value_alone_is_judged_by_itself() -> None:
    assert measured("speed", 15.0, "1/s", Bar(">=", 15)).met is True
    assert measured("speed", 14.9, "1/s", Bar(">=", 15)).met is False
    assert measured("speed", math.nan, "1/s", Bar(">=", 15)).met is False


def test_what_has_no_reference_is_not_judged_and_says_so() -> None:
    row = compared("bf16", 3.0, "ms", unmeasured("eager", "ms", "fails here"), Bar("<=", 1))
    assert (row.ratio, row.met, row.note) == (None, None, "without its reference")


def test_the_table_is_aligned_and_shows_why_something_was_not_measured() -> None:
    bare = measured("bare", 100.0, "ms")
    lines = table([bare, compared("whole", 150.0, "ms", bare, Bar("<=", 1.4)), unmeasured("bf16", "ms", "no such CPU")])
    assert lines.splitlines() == [
        "name   value  unit  ratio  of    bar",
        "bare   100    ms    -      -     -",
        "whole  150    ms    1.5    bare  <= 1.4  MISSED",
        "bf16   -      ms    -      -     -       no such CPU",
    ]


@pytest.mark.parametrize(("time", "code"), [(130.0, 0), (150.0, 1)])
def test_a_missed_bar_decides_the_exit_code_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], time: float, code: int
) -> None:
    rows = [
        compared("whole", time, "ms", measured("bare", 100.0, "ms"), Bar("<=", 1.4)),
        unmeasured("bf16", "ms", "no"),
    ]
    assert finish(rows, tmp_path / "rows.json") == code
    assert ("missed: whole" in capsys.readouterr().err) == bool(code)
    written = json.loads((tmp_path / "rows.json").read_text())
    assert [Row(**row) for row in written] == rows


def test_an_error_becomes_one_line() -> None:
    assert one_line(RuntimeError("first\nsecond")) == "first"
    assert one_line(RuntimeError()) == "RuntimeError"
