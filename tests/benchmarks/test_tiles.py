"""The slopes and bars of the tiles benchmark."""

from benchmarks.tiles import MEGAPIXELS, Run, in_one_piece, picture, rows
from gencomp.models.package import load_package
from gencomp.references import resolve


def found(overlap: float, megabytes: float, first: float = 1.0) -> dict[str, dict[str, object]]:
    """Rows by name, of a command that takes 3 seconds to start and 1 per megapixel, `first` up to half a one, in tiles
    beyond 1 MP `overlap`, and so many megabytes at the largest size."""
    seconds = {0.25: 3.5 - 0.25 * first, 0.5: 3.5, 1.0: 4.0, 9.0: 4 + 8 * overlap}
    runs = {size: Run(taken, megabytes if size == 9 else 400.0) for size, taken in seconds.items()}
    table = {size: {"compress": run, "decompress": run} for size, run in runs.items()}
    return {row.name: row._asdict() for row in rows(table, whole=1.0)}


def test_what_a_command_takes_to_start_is_no_cost_of_a_megapixel() -> None:
    table = found(1.5, 2000)
    assert abs(table["compress: a megapixel, 0.5 to 1"]["value"] - 1) < 1e-9
    assert abs(table["decompress: a megapixel, 1 to 9"]["ratio"] - 1.5) < 1e-9
    assert all(row["met"] is not False for row in table.values())


def test_tiles_are_held_against_the_largest_picture_in_one_piece_and_not_the_smallest() -> None:
    table = found(1.5, 2000, first=0.2)
    assert abs(table["compress: a megapixel, 0.25 to 0.5"]["value"] - 0.2) < 1e-9
    assert table["compress: a megapixel, 0.5 to 1"]["ratio"] is None
    row = table["compress: a megapixel, 1 to 9"]
    assert (row["reference"], row["met"]) == ("compress: a megapixel, 0.5 to 1", True)


def test_the_shipped_models_take_four_megapixels_in_one_piece() -> None:
    config = load_package(resolve("light")).config
    assert [size for size in MEGAPIXELS if in_one_piece(size, config)] == [0.25, 1, 4]


def test_cost_that_grows_and_memory_beyond_two_gibibytes_miss_their_bars() -> None:
    table = found(2, 2200)
    assert table["compress: a megapixel, 1 to 9"]["met"] is False
    assert table["decompress 9 MP: memory"]["met"] is False
    assert table["decompress 1 MP: memory"]["met"]


def test_its_picture_has_the_size_that_is_asked_for() -> None:
    assert picture(133, 100).size == (133, 100)
