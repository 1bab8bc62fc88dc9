"""The table of rates, and codecs matched at equal bytes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp.evaluation.equal_bytes import match_all, table
from gencomp.evaluation.rates import RateRow, RatesError, match, mean_points, read_rows, write_rows


def row(size: int, key: str = "a", codec: str = "jpeg", setting: str = "1", **rest: float | None) -> RateRow:
    values = {"width": 8, "height": 8, "header_bytes": None, "side_bytes": None, "psnr": 20.0, "ms_ssim": None}
    return RateRow(key=key, codec=codec, setting=setting, size=size, **values | rest)  # type: ignore[arg-type]


def test_the_table_has_the_stated_columns_and_decimals(tmp_path: Path) -> None:
    learned = {"lpips_alex": 0.5, "ssimulacra2": -3.25}
    rows = [row(9, header_bytes=13, side_bytes=0, psnr=20.123456, ms_ssim=0.98765432, **learned), row(10)]
    write_rows(tmp_path / "images.csv", rows)
    assert (tmp_path / "images.csv").read_text() == (
        "key,codec,setting,width,height,bytes,header_bytes,side_bytes,bpp,psnr,ms_ssim,lpips_alex,lpips_vgg,dists,"
        "ssimulacra2\n"
        "a,jpeg,1,8,8,9,13,0,1.125000,20.1235,0.987654,0.500000,,,-3.2500\n"
        "a,jpeg,1,8,8,10,,,1.250000,20.0000,,,,,\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["images.csv"]


def test_rows_read_are_the_rows_written(tmp_path: Path) -> None:
    rows = [row(9, header_bytes=13, side_bytes=2, ms_ssim=0.5, dists=0.25), row(10, key="b_-1", setting="0.05")]
    write_rows(tmp_path / "images.csv", rows)
    assert read_rows(tmp_path / "images.csv") == rows


def test_a_table_of_something_else_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text("step,loss\n1,2\n")
    with pytest.raises(RatesError, match=r"images\.csv: expected the columns key,codec"):
        read_rows(tmp_path / "images.csv")


def test_points_are_means_over_pictures_in_order_of_rate() -> None:
    rows = [row(8, setting="2", psnr=30), row(24, "b", setting="2", psnr=20, ms_ssim=0.5), row(4, setting="9", psnr=10)]
    points = mean_points(rows)
    assert [(p.setting, p.images, p.bpp, p.psnr, p.ms_ssim) for p in points] == [
        ("9", 1, 0.5, 10, None),
        ("2", 2, 2.0, 25, 0.5),
    ]


@given(st.lists(st.integers(1, 1000), min_size=1), st.integers(1, 1000))
def test_a_match_is_the_largest_file_that_fits_else_the_smallest_and_says_so(sizes: list[int], budget: int) -> None:
    found = match([row(size) for size in sizes], budget)
    fitting = [size for size in sizes if size <= budget]
    assert found.row.size == (max(fitting) if fitting else min(sizes))
    assert found.too_large == (not fitting)


def test_of_two_files_of_one_size_the_better_one_is_matched() -> None:
    ladder = [row(5, setting="worse", psnr=10), row(5, setting="better", psnr=12)]
    assert match(ladder, 5).row.setting == "better"
    assert match(ladder, 4).row.setting == "better"


def test_an_empty_ladder_has_no_match() -> None:
    with pytest.raises(ValueError, match="empty"):
        match([], 5)


def test_each_picture_is_matched_at_its_own_bytes() -> None:
    models = {"a": row(10, "a", "gc"), "b": row(100, "b", "gc")}
    anchors = [row(9, "a"), row(50, "a", setting="2"), row(60, "b"), row(101, "b", setting="2"), row(1, "other")]
    matches = match_all(models, anchors)
    assert {key: by_codec["jpeg"].row.size for key, by_codec in matches.items()} == {"a": 9, "b": 60}


def test_the_table_counts_the_pictures_for_which_a_codec_cannot_go_this_low() -> None:
    models = {"gc": {"a": row(10, "a", "gc"), "b": row(30, "b", "gc")}, "mse": {"a": row(20, "a", "mse")}}
    anchors = [row(25, "a"), row(25, "b"), row(35, "b", setting="2"), row(90, "a", "webp"), row(90, "b", "webp")]
    own, other, jpeg, webp = table("gc", models, anchors)
    assert (own.title, own.size, own.ratio, own.too_large, own.is_model) == ("gc", 20, 1.0, 0, True)
    assert (other.title, other.ratio, other.is_model) == ("mse", 0.5, True)
    assert (jpeg.title, jpeg.size, jpeg.ratio, jpeg.too_large, jpeg.images) == ("JPEG", 25, 1.25, 1, 2)
    assert (webp.title, webp.ratio, webp.too_large) == ("WebP", 4.5, 2)
