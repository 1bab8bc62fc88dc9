"""The load on a server, in small, and the rows of what was heard."""

from pathlib import Path

from benchmarks.serving import Heard, Phase, measure, rows

PACKAGE = Path(__file__).parents[1] / "codec" / "golden" / "nested" / "package"


def found(full: list[Heard], crowded: list[Heard]) -> dict[str, dict[str, object]]:
    """Rows by name, of phases of ten seconds beside a codec that compresses one picture a second."""
    return {row.name: row._asdict() for row in rows(1.0, Phase(9, 10, full), Phase(36, 10, crowded))}


def test_a_server_keeps_its_promises_at_capacity_and_beyond() -> None:
    table = {row.name: row for row in measure(str(PACKAGE), (256, 192), 1.5, workers=1, queue=2)}
    for name in ("at capacity: refused", "at capacity: failed or wrong", "beyond it: failed or wrong"):
        assert (table[name].value, table[name].met) == (0, True), table[name]
    assert table["beyond it: refused"].met
    assert (table["at capacity, 3 clients"].value or 0) > 0 < (table["beyond it, 12 clients"].value or 0)


def test_refusals_at_capacity_and_lost_requests_miss_their_bars() -> None:
    good = [Heard(0.5, "answered")] * 9
    table = found(good, [*good, Heard(0.1, "refused")])
    assert all(row["met"] is not False for row in table.values())
    assert table["at capacity: 95 % within"]["value"] == 0.5
    table = found([*good, Heard(0.1, "refused")], good[:7])
    assert table["at capacity: refused"]["met"] is False
    assert table["beyond it: refused"]["met"] is False
    assert table["beyond it, 36 clients"]["met"] is False
    table = found([*good, Heard(0.1, "status 500: b''")], [*good, Heard(9, "ConnectionResetError: gone")])
    for name, note in (("at capacity", "status 500: b''"), ("beyond it", "ConnectionResetError: gone")):
        row = table[f"{name}: failed or wrong"]
        assert (row["met"], row["note"]) == (False, note)
