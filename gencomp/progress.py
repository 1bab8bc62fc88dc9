"""A moving line on a terminal's stderr while something long is done; nothing elsewhere."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def moving_line(label: str) -> Iterator[Callable[[int, int], None]]:
    """A function of the parts done and of all there are, which shows them where there is more than one.

    With a bar and the time left where rich is installed, which the codec alone does not need.
    """
    if sys.stderr is None or not sys.stderr.isatty():  # none where it was closed
        yield lambda done, total: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield functools.partial(_count, label)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=total > 1)


def _count(label: str, done: int, total: int) -> None:
    if total > 1:
        click.echo(f"\r{label}: {done} of {total}", nl=done == total, err=True)
