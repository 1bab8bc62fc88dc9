"""What a stage says of how far it is, on a terminal and elsewhere."""

import io
import sys
import types

import pytest
from rich.progress import Progress

from gencomp.data.meter import EVERY, Meter, meter


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    told = Clock()
    monkeypatch.setattr("gencomp.data.meter.time", types.SimpleNamespace(monotonic=told))
    return told


def test_elsewhere_than_on_a_terminal_there_is_a_line_a_minute_and_one_at_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten partitions, four of which were there already: what an earlier run made counts for no speed."""

    def said() -> list[str]:
        return capsys.readouterr().err.splitlines()

    with meter("download photos", 10, 4) as tell:
        clock.now += 50
        tell.add(1000, 3, 25_000_000)
        assert said() == []
        clock.now += EVERY - 49
        tell.add(1440, 2, 36_000_000)
        assert said() == ["download photos: 6 of 10 partitions, 2,440 images (40/s, 1.0 MB/s), 5 rejected, 2 min left"]
        clock.now += 30
        tell.add(610, 0, 0)
        tell.say("[a line] of its own")
        assert said() == ["download photos: [a line] of its own"]
        clock.now += 31
        tell.add(610, 0, 0)
        assert said() == ["download photos: 8 of 10 partitions, 3,660 images (30/s, 0.5 MB/s), 5 rejected, 1 min left"]
    assert said() == ["download photos: 3,660 images (30/s, 0.5 MB/s), 5 rejected, 122.0 s"]


def test_a_stage_that_made_nothing_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with meter("shard photos", 3, 3):
        pass
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    """What takes control codes."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_line_moves_and_is_gone_in_the_end(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "160"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    with meter("download photos", 4, 1) as tell:
        clock.now += 5 * EVERY
        tell.add(600, 7, 300_000_000)
        tell.say("a line of its own")
    shown = terminal.getvalue()
    assert "2/4" in shown and "600 images (2/s, 1.0 MB/s), 7 rejected" in shown
    assert "partitions" not in shown  # the line that is for elsewhere
    plain = shown.replace("\r", "\n").split("\n")
    assert any(line.endswith("download photos: a line of its own") for line in plain)
    assert shown.rstrip("\n").endswith("download photos: 600 images (2/s, 1.0 MB/s), 7 rejected, 300.0 s")
    assert "\x1b[2K" in shown


def test_the_time_left_on_a_terminal_is_that_of_the_partitions_left(clock: Clock) -> None:
    progress = Progress(get_time=clock, disable=False, auto_refresh=False)
    tell = Meter("download photos", 10, 2, progress)
    (task,) = progress.tasks
    for _ in range(4):
        clock.now += 30
        tell.add(100, 1, 3_000_000)
    assert (task.completed, task.total) == (6, 10)
    assert task.fields["told"] == "400 images (3/s, 0.1 MB/s), 4 rejected"
    assert task.time_remaining is not None and 100 <= task.time_remaining <= 180


def test_a_clock_that_stands_still_divides_by_nothing(clock: Clock) -> None:
    progress = Progress(get_time=clock, auto_refresh=False)
    Meter("download photos", 1, 0, progress).add(1, 0, 1)
    assert progress.tasks[0].fields["told"].startswith("1 images (1000/s")
