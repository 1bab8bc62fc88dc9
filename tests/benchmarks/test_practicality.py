"""What the benchmark of practicality measures of processes, and the rows that it makes of a table."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from benchmarks.practicality import in_child, rows, typical
from benchmarks.watched import watched
from gencomp.evaluation.practicality import Cost, Point, Practicality


def test_a_process_holds_its_own_memory_not_that_of_the_one_that_started_it() -> None:
    held = bytearray(b"1") * 200_000_000
    light = watched([sys.executable, "-I", "-S", "-c", "print('done')"])
    heavy = watched([sys.executable, "-I", "-S", "-c", "x = bytearray(b'1') * 100_000_000; print(len(x))"])
    assert light.output == "done\n" and heavy.output == "100000000\n"
    assert light.peak < 60 and 100 < heavy.peak < 160
    assert light.milliseconds > 0 and len(held) == 200_000_000


def test_a_process_that_fails_says_which_and_why() -> None:
    with pytest.raises(RuntimeError, match=r"no luck$"):
        watched([sys.executable, "-c", "import sys; sys.exit('no luck')"])


def test_a_codecs_process_times_every_file(tmp_path: Path) -> None:
    picture = Image.fromarray(data.coffee()).resize((64, 48))
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "a.jpg")
    encode = in_child("encode", "jpeg", "2", "1", "20", str(tmp_path / "a.png"), str(tmp_path / "a.png"))
    decode = in_child("decode", "jpeg", "2", "1", "20", str(tmp_path / "a.jpg"))
    for found in (encode, decode):
        assert 0 < found.milliseconds < found.first and found.peak < 150  # torch alone would take more


def test_the_typical_time_is_the_median_of_the_fastest_rounds() -> None:
    assert typical([5, 50, 7, 4, 60, 9], 3) == 7
    assert typical([8, 6], 1) == 6


def test_rows_say_what_is_saved_and_when_it_is_paid_for_or_why_not() -> None:
    times = {"encode_ms": 1.0, "decode_ms": 2.0, "first_ms": 3.0, "encode_peak": 4.0, "decode_peak": 5.0}
    curve = tuple(Point(setting=str(size), size=size, lpips=far) for size, far in ((900.0, 0.6), (1800.0, 0.4)))
    common = {"setting": "1", "bpp": 0.1, "lpips": 0.4, **times}
    model = Cost(codec="m", is_model=True, size=800.0, weights=65_100_000, **common)
    found = Practicality(
        hardware="CPU",
        images=1,
        protocol="",
        costs=(
            model,
            Cost(codec="BPG", is_model=False, size=900.0, weights=0, curve=curve, **common),
            Cost(codec="AVIF", is_model=False, size=900.0, weights=0, curve=curve[:1], **common),
        ),
    )
    table = {row.name: row for row in rows(found)}
    assert table["m: weights of the decoder"].ratio == pytest.approx(0.1)
    assert table["m: saved beside BPG at equal LPIPS"].value == pytest.approx(1000)
    assert table["m: paid for beside BPG after"].value == 65_100
    assert table["m: saved beside AVIF at equal LPIPS"].value is None
    assert "not within" in table["m: saved beside AVIF at equal LPIPS"].note
    assert "BPG: weights of the decoder" not in table and json.dumps([row._asdict() for row in table.values()])
