"""Further tables of the page."""

import numpy as np
import pytest

from gencomp.evaluation.analysis import Needed, bd_rate
from gencomp.evaluation.bootstrap import interval
from gencomp.evaluation.distribution import SetFigures, SetRow
from gencomp.evaluation.metrics import METRICS
from gencomp.evaluation.practicality import Cost, Point, Practicality
from gencomp.evaluation.published import published
from gencomp.evaluation.rates import RateRow
from gencomp.evaluation.selective import Selective, selective_means, selective_row
from gencomp.evaluation.tables import bd_table, costs_table, needed_table, selective_table, sets_table


def cost(codec: str, size: float, lpips: float, *, weights: int = 0, curve: tuple[Point, ...] = ()) -> Cost:
    times = {"encode_ms": 10.0, "decode_ms": 20.0, "first_ms": 30.0, "encode_peak": 40.0, "decode_peak": 50.0}
    return Cost(
        codec=codec,
        setting="1",
        is_model=weights > 0,
        bpp=size / 8192,
        size=size,
        lpips=lpips,
        weights=weights,
        curve=curve,
        **times,
    )


def test_costs_tell_after_how_many_pictures_weights_are_paid_for_or_why_never() -> None:
    curve = (Point(setting="9", size=1000, lpips=0.5), Point(setting="1", size=3000, lpips=0.3))
    avif = cost("AVIF", 1000, 0.5, curve=curve)
    models = cost("light", 500, 0.5, weights=1_000_000), cost("faint", 100, 0.9, weights=1_000_000)
    found = costs_table(Practicality(hardware="two cores", images=4, protocol="alone", costs=(avif, *models)))
    assert len({len(row) for row in found.rows} | {len(found.columns)}) == 1
    paid = {row[0].text: row[-1] for row in found.rows}
    assert paid["light 1"].text == "2,000"
    assert paid["faint 1"].text == "\N{EN DASH}" and "is not within" in paid["faint 1"].below
    assert "two cores, 4 pictures" in found.note


def test_what_selective_compression_kept_is_a_row_a_model() -> None:
    means = Selective(preserved=0.25, side_share=0.6, mse_inside=10.0, psnr_inside=38.1, psnr_outside=None, seam=1.234)
    dash = "\N{EN DASH}"
    (row,) = selective_table({"sc": means}).rows
    assert [cell.text for cell in row] == ["sc", "25.0", "60.0", "38.10", dash, dash, dash, "1.23"]
    assert {cell.below for cell in row} == {""}  # of one picture


def test_means_of_selective_compression_have_their_intervals_below() -> None:
    x, region = np.full((32, 32, 3), 100, np.uint8), np.eye(2, dtype=np.bool_)
    inside = region.repeat(16, 0).repeat(16, 1)
    pictures = [
        selective_row(
            *(str(n), x, (x + n + 2 * n * inside[..., None]).astype(np.uint8), region, 16, 10 + n, 40),
            lpips=(n + 0.5 * inside).astype(np.float32) / 10,
        )
        for n in range(1, 8)
    ]
    pictures.append(selective_row("whole", x, x + 1, np.ones((2, 2), np.bool_), 16, 10, 40))
    (row,) = selective_table({"sc": selective_means(pictures)}).rows
    columns = {
        1: ([100 * one.preserved for one in pictures], 1),
        2: ([100 * one.side_share for one in pictures], 1),
        3: ([one.psnr_inside for one in pictures], 2),
        4: ([one.psnr_outside for one in pictures[:-1]], 2),
        5: ([one.lpips_inside for one in pictures[:-1]], 3),
        6: ([one.lpips_outside for one in pictures[:-1]], 3),
        7: ([one.seam for one in pictures[:-1]], 2),
    }
    for column, (values, digits) in columns.items():
        mean, low, high = interval([value for value in values if value is not None])
        shown = [float(word) for word in (row[column].text, *row[column].below.split(" to "))]
        assert shown == pytest.approx([mean, low, high], abs=0.51 * 10**-digits) and low < mean < high
        assert len(row[column].text.partition(".")[2]) == digits


def curve(codec: str, factor: float, settings: int = 5, quality: float = 20.0) -> list[RateRow]:
    """Files of four pictures, whose quality grows with the logarithm of the bytes."""
    sizes = [int(factor * 1000 * 2**step) for step in range(settings)]
    return [
        RateRow(f"k{key}", codec, str(step), 80, 100, sizes[step], None, None, quality + 2 * step + key, None)
        for step in range(settings)
        for key in range(4)
    ]


def test_bd_rates_stand_where_curves_can_be_compared_and_a_line_says_why_not() -> None:
    anchors = [*curve("jpeg", 2.0), *curve("bpg", 1.0), *curve("avif", 1.0, quality=90.0)]
    models = {"half": curve("half", 0.5), "short": curve("short", 0.5, settings=3)}
    table = bd_table(models, anchors, [METRICS["psnr"]])
    assert table is not None and table.title == "BD-rate against BPG"
    assert {row[0].text: row[1].text for row in table.rows} == {"half": "\N{MINUS SIGN}50", "JPEG": "+100"}
    found = bd_rate(anchors, "jpeg", anchors, "bpg", "psnr")
    assert table.rows[1][1].below == f"{found.low:+.0f} to {found.high:+.0f}"
    assert "short: a curve has 3 points" in table.note and "AVIF: the curves share 0%" in table.note


def test_a_bd_rate_without_an_interval_stands_alone_and_ends_beyond_a_ladder_have_their_sign() -> None:
    model, anchors = ([row for row in curve(*one) if row.key == "k0"] for one in (("half", 0.5), ("bpg", 1.0)))
    table = bd_table({"half": model}, anchors, [METRICS["psnr"]])
    assert table is not None
    assert [(cell.text, cell.below) for cell in table.rows[0]] == [("half", ""), ("\N{MINUS SIGN}50", "")]
    assert "none where there is one picture, or where more than 5% of the draws" in table.note
    found = Needed("gc", "a", "bpg", "psnr", 20.0, 0.1, 0.2, 2.0, 1.5, 2.2, "exact", 6, "exact", "at least")
    shown = needed_table([found, found._replace(images=1)], METRICS["psnr"])
    assert shown is not None and "an end of it is a bound" in shown.note
    assert [row[-1].below for row in shown.rows] == ["1.50 to \N{GREATER-THAN OR EQUAL TO} 2.20", ""]


def test_there_is_no_table_of_bd_rates_without_two_curves() -> None:
    assert bd_table({"half": curve("half", 0.5)}, curve("jpeg", 1.0, settings=3), [METRICS["psnr"]]) is None
    assert bd_table({"short": curve("short", 0.5, settings=1)}, curve("jpeg", 1.0), [METRICS["psnr"]]) is None
    assert bd_table({}, [], [METRICS["psnr"]]) is None


def test_kid_is_a_row_a_setting_with_its_interval_and_fid_where_it_is() -> None:
    rows = [
        SetRow("gc", "context", SetFigures(24, 192, 0.0123, 0.0101, 0.0145)),
        SetRow("bpg", "42", SetFigures(24, 192, 0.0456)),
    ]
    table = sets_table(rows, {("gc", "context"): 0.034})
    assert [cell.text for cell in table.rows[0]] == ["gc", "0.0340", "192", "12.30", "\N{EN DASH}"]
    assert table.rows[0][3].below == "10.10 to 14.50" and not table.rows[0][4].below
    assert "others report" not in table.note
    assert [cell.text for cell in table.rows[1]] == ["BPG 42", "\N{EN DASH}", "192", "45.60", "\N{EN DASH}"]


def test_fid_of_others_stands_in_the_note_with_source_and_protocol_and_in_no_row() -> None:
    rows = [SetRow("bpg", "42", SetFigures(24, 192, 0.0456))]
    table = sets_table(rows, {}, published=published())
    known = [row for row in published() if row.fid is not None]
    assert known and [cell.text for (cell, *_) in table.rows] == ["BPG 42"]
    for row in known:
        assert f"{row.codec} {row.fid:g} at {row.bpp:g} bpp ({row.dataset}, {row.source})" in table.note
        assert row.protocol in table.note
