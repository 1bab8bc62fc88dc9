"""Further tables of the page."""

from gencomp.evaluation.practicality import Cost, Point, Practicality
from gencomp.evaluation.selective import Selective
from gencomp.evaluation.tables import costs_table, selective_table


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
    (row,) = selective_table({"sc": means}).rows
    assert [cell.text for cell in row] == ["sc", "25.0", "60.0", "38.10", "\N{EN DASH}", "1.23"]
