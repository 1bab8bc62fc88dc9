"""The slopes and bars of the tiles benchmark."""

from benchmarks.tiles import Run, picture, rows


def found(overlap: float, megabytes: float) -> dict[str, dict[str, object]]:
    """Rows by name, of a command that takes 3 seconds to start and 1 per megapixel, beyond 1 MP `overlap` times that,
    and so many megabytes at the largest size."""
    runs = {size: Run(3 + size, 400.0) for size in (0.25, 1.0)}
    runs[9.0] = Run(4 + 8 * overlap, megabytes)
    table = {size: {"compress": run, "decompress": run} for size, run in runs.items()}
    return {row.name: row._asdict() for row in rows(table)}


def test_what_a_command_takes_to_start_is_no_cost_of_a_megapixel() -> None:
    table = found(1.5, 2000)
    assert abs(table["compress: a megapixel, 0.25 to 1"]["value"] - 1) < 1e-9
    assert abs(table["decompress: a megapixel, 1 to 9"]["ratio"] - 1.5) < 1e-9
    assert all(row["met"] is not False for row in table.values())


def test_cost_that_grows_and_memory_beyond_two_gibibytes_miss_their_bars() -> None:
    table = found(2, 2200)
    assert table["compress: a megapixel, 1 to 9"]["met"] is False
    assert table["decompress 9 MP: memory"]["met"] is False
    assert table["decompress 1 MP: memory"]["met"]


def test_its_picture_has_the_size_that_is_asked_for() -> None:
    assert picture(133, 100).size == (133, 100)
