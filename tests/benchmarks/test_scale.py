"""The slopes of the scale benchmark."""

from benchmarks.ingest import Run
from benchmarks.scale import rows


def found(seconds: float, megabytes: float) -> dict[str, dict[str, object]]:
    """Rows by name, of stages that take 5 seconds to start, 1 ms per image, and `seconds` and `megabytes` more at the
    largest count."""
    runs = {count: Run(5 + count / 1000, 200.0) for count in (1_000, 10_000, 100_000)}
    runs[100_000] = Run(runs[100_000].seconds + seconds, 200 + megabytes)
    return {row.name: row._asdict() for row in rows({n: {"download": run, "shard": run} for n, run in runs.items()})}


def test_what_a_stage_takes_to_start_is_no_cost_of_an_image() -> None:
    table = found(0, 0)
    slope = table["shard: per image, 10,000 to 100,000"]
    assert abs(slope["value"] - 1) < 1e-9 and abs(slope["ratio"] - 1) < 1e-9 and slope["met"]
    assert table["shard: memory, 100,000"]["met"] and table["shard: memory per image"]["value"] == 0


def test_cost_and_memory_that_grow_miss_their_bars() -> None:
    assert found(8, 0)["download: per image, 10,000 to 100,000"]["met"]
    assert found(10, 0)["download: per image, 10,000 to 100,000"]["met"] is False
    table = found(0, 99)
    assert table["download: memory, 100,000"]["met"] is False
    assert abs(table["download: memory per image"]["value"] - 1) < 1e-9
