"""The shipped vectors: this machine decodes them, and damage of any kind would show."""

import base64
import json

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gencomp.cli import main
from gencomp.codec import conformance
from gencomp.codec.conformance import Vector, mean_colours, read_vectors, verdicts
from gencomp.codec.container import VERSION, parse
from gencomp.references import shipped


def test_every_shipped_model_has_vectors_of_every_coder() -> None:
    vectors = read_vectors()
    assert {one.model for one in vectors} == {folder.name for folder in shipped()}
    for name in {one.model for one in vectors}:
        ones = [one for one in vectors if one.model == name]
        assert {found.entropy for found in verdicts(ones, "cpu")} == {"context", "static", "raw"}
        assert VERSION in {parse(one.data).header.version for one in ones}


def test_this_machine_finds_the_same_symbols() -> None:
    ran = CliRunner().invoke(main, ["selftest", "--device", "cpu"])
    assert ran.exit_code == 0, ran.output
    *rows, last = ran.output.splitlines()
    assert len(rows) == len(read_vectors()) and all(row.startswith("ok ") for row in rows)
    assert last == f"{len(rows)} vectors, 0 failed"
    as_json = CliRunner().invoke(main, ["selftest", "--json"])
    assert all(row["passed"] and row["symbols_match"] for row in json.loads(as_json.output))


@pytest.fixture
def one() -> Vector:
    return read_vectors()[-4]


def test_other_symbols_and_other_colours_fail(one: Vector, monkeypatch: pytest.MonkeyPatch) -> None:
    other = one.data[:-1] + bytes([one.data[-1] ^ 1])
    wrong = [
        msgspec.structs.replace(one, symbols="0" * 64),
        msgspec.structs.replace(one, colours=(np.array(one.colours) + 2).tolist()),
        msgspec.structs.replace(one, stream=base64.b64encode(other).decode()),
    ]
    found = list(verdicts([one, *wrong], "cpu"))
    assert [verdict.passed for verdict in found] == [True, False, False, False]
    assert [verdict.symbols_match for verdict in found] == [True, False, True, False]
    monkeypatch.setattr(conformance, "read_vectors", lambda: wrong)
    ran = CliRunner().invoke(main, ["selftest"])
    assert ran.exit_code == 1
    assert "SYMBOLS DIFFER" in ran.output and "3 vectors, 3 failed" in ran.output


def test_a_device_that_is_not_here_is_one_line() -> None:
    ran = CliRunner().invoke(main, ["selftest", "--device", "abacus"])
    assert ran.exit_code == 2
    assert ran.output == "gencomp: there is no abacus here; there is " + ", ".join(conformance.devices()) + "\n"


def test_mean_colours_of_small_pictures_are_those_of_their_pixels() -> None:
    assert mean_colours(Image.new("RGB", (1, 1), (1, 2, 3))).tolist() == [[1, 2, 3]] * 16
    wide = np.zeros((8, 8, 3), np.uint8)
    wide[:2, 6:] = 255
    assert mean_colours(Image.fromarray(wide))[:, 0].tolist() == [0, 0, 0, 255, *[0] * 12]
