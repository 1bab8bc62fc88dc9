"""The progress of a training in a terminal, or as plain lines in a log."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from gencomp.training.trainer import Progress

LINE_SECONDS = 15.0
"""Seconds between lines where the output is no terminal."""


@contextlib.contextmanager
def progress_line(name: str, steps: int) -> Iterator[Callable[[Progress], None]]:
    """A function that shows a report: name, bar, steps, it/s, time left and the losses."""
    console = Console(highlight=False)
    with _bar(name, steps, console) if console.is_terminal else _lines(name, steps, console) as show:
        yield show


@contextlib.contextmanager
def _bar(name: str, steps: int, console: Console) -> Iterator[Callable[[Progress], None]]:
    speed, losses = TextColumn("{task.fields[speed]}"), TextColumn("{task.fields[losses]}")
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn(), losses)
    with Bar(*columns, console=console) as bar:
        task = bar.add_task(name, total=steps, speed="", losses="")

        def show(report: Progress) -> None:
            bar.update(task, completed=report.step, losses=_losses(report))
            rate = bar.tasks[0].speed
            bar.update(task, speed=f"{rate:.2f} it/s" if rate else "")

        yield show


@contextlib.contextmanager
def _lines(name: str, steps: int, console: Console) -> Iterator[Callable[[Progress], None]]:
    origin: list[tuple[float, int]] = []
    shown = [time.monotonic()]

    def show(report: Progress) -> None:
        now = time.monotonic()
        origin.append((now, report.step)) if not origin else None
        if now - shown[0] < LINE_SECONDS and report.step < steps:
            return
        shown[0] = now
        rate = (report.step - origin[0][1]) / max(now - origin[0][0], 1e-9)
        left = f"{(steps - report.step) / rate:.0f} s left" if rate else ""
        console.print(f"{name} {report.step}/{steps}  {rate:.2f} it/s  {left}  {_losses(report)}", soft_wrap=True)

    yield show


def _losses(report: Progress) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in report.losses.items() if value)
