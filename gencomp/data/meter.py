"""How far a stage is: a moving line on a terminal, and elsewhere one line now and then and one at the end."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY = 60.0
"""Seconds between two lines where there is no terminal."""


class Meter:
    """Counts what the partitions made now have brought; of `total` partitions, `before` were there already."""

    def __init__(self, task: str, total: int, before: int, progress: Progress) -> None:
        self._task, self._total, self._done = task, total, before
        self._made = self._images = self._rejected = self._bytes = 0
        self._start = self._told = time.monotonic()
        self._progress = progress
        self._row = progress.add_task(task, total=total, completed=before, told="")

    def add(self, images: int, rejected: int, size: int) -> None:
        """A partition is done, of so many images, and its tar has `size` bytes."""
        self._made, self._done = self._made + 1, self._done + 1
        self._images, self._rejected, self._bytes = self._images + images, self._rejected + rejected, self._bytes + size
        self._progress.update(self._row, completed=self._done, told=self._counts())
        if self._progress.disable and time.monotonic() - self._told > EVERY:
            self._told = time.monotonic()
            left = (self._told - self._start) / self._made * (self._total - self._done)
            self.say(f"{self._done} of {self._total} partitions, {self._counts()}, {left / 60:.0f} min left")

    def say(self, text: str) -> None:
        """A line of its own."""
        self._progress.console.print(f"{self._task}: {text}", highlight=False, soft_wrap=True, markup=False)

    def sum_up(self) -> None:
        """The last line."""
        if self._images:
            self.say(f"{self._counts()}, {time.monotonic() - self._start:.1f} s")

    def _counts(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-3)
        return (
            f"{self._images:,} images ({self._images / seconds:.0f}/s, {self._bytes / seconds / 1e6:.1f} MB/s), "
            f"{self._rejected:,} rejected"
        )


def tell(task: str, text: str) -> None:
    """A line of its own, before a stage has a meter or after it."""
    Console(stderr=True).print(f"{task}: {text}", highlight=False, soft_wrap=True, markup=False)


@contextmanager
def meter(task: str, total: int, before: int) -> Iterator[Meter]:
    """A meter on the standard error; `before` of the `total` partitions were there already."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"))
    console, disable = Console(stderr=True), not sys.stderr.isatty()
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=disable, transient=True) as progress:
        found = Meter(task, total, before, progress)
        yield found
    found.sum_up()
