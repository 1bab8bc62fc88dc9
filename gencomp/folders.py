"""Folders on the command line: file by file into a folder of the same shape, what is there already being left alone."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import click

from gencomp.codec.container import StreamInfo
from gencomp.files import PIPE, RefusedError, one_line

Progress = Callable[[int, int], None]
"""Hears of the parts that are done and of all there are."""


class Job(NamedTuple):
    """A file to make from another one."""

    source: Path
    target: Path


class Result(NamedTuple):
    """What a job was about."""

    size: int
    """Bytes of the stream."""
    pixels: int

    @classmethod
    def of(cls, found: StreamInfo) -> "Result":
        """That of a stream."""
        return cls(found.total_bytes, found.width * found.height)


class Tally(NamedTuple):
    """What became of a folder's files."""

    done: tuple[Result, ...]
    failed: int
    skipped: int
    """Whose target was there already."""

    def __str__(self) -> str:
        size, pixels = sum(result.size for result in self.done), sum(result.pixels for result in self.done)
        rate = f"{size} bytes, {size * 8 / pixels:.4f} bits per pixel, " if pixels else ""
        files = "1 file" if len(self.done) == 1 else f"{len(self.done)} files"
        return f"{files}, {rate}{self.failed} failed, {self.skipped} skipped"


def plan(source: Path, target: Path, endings: Sequence[str], ending: str, *, recursive: bool) -> list[Job]:
    """The files of folder `source` that end in one of `endings`, sorted, each with its place in folder `target`, its
    own ending replaced. Hidden files, links to folders, pipes and devices are passed over. Raises RefusedError where
    there is none, and OSError for a folder that cannot be looked into.
    """
    if target == PIPE or (target.exists() and not target.is_dir()):
        raise RefusedError(f"{target} is not a folder, and {source} is one: name a folder for what it gives")
    found = sorted(path for path in _files(source, recursive) if path.suffix.lower() in endings)
    if not found:
        deeper = "" if recursive else ", --recursive looks into its folders too"
        raise RefusedError(f"{source}: no file in it ends in {', '.join(endings)}{deeper}")
    return [Job(path, (target / path.relative_to(source)).with_suffix(ending)) for path in found]


def carry_out(
    jobs: Sequence[Job],
    work: Callable[[Job, Progress], Result],
    *,
    threads: int,
    force: bool,
    progress: Progress,
    prepare: Callable[[], None] = lambda: None,
) -> Tally:
    """Do the jobs whose target is not there, or all with `force`, so many at a time. Each thread calls `prepare` first.

    One that fails, or whose target is another one's too, gives a line on stderr and is counted. Work calls what it is
    given after each of its parts, which is where it ends when all of it is interrupted.
    """
    waiting, failed = _without_rivals(jobs)
    todo = [job for job in waiting if force or not job.target.exists()]
    done = []
    pool, interrupted = ThreadPoolExecutor(threads, initializer=prepare), threading.Event()

    def go_on(part: int, parts: int) -> None:
        if interrupted.is_set():
            raise InterruptedError

    try:
        futures = {pool.submit(_in_its_folder, job, work, go_on): job for job in todo}
        for count, future in enumerate(as_completed(futures), 1):
            error = future.exception()
            if error is None:
                done.append(future.result())
            elif isinstance(error, Exception):
                failed += 1
                complain(futures[future].source, error)
            else:
                raise error
            progress(count, len(todo))
    except BaseException:
        interrupted.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return Tally(tuple(done), failed, len(waiting) - len(todo))


def complain(source: Path, error: Exception) -> None:
    """What is wrong with a file, in one line on stderr."""
    line = one_line(error)
    click.echo(f"gencomp: {line if line.startswith(f'{source}: ') else f'{source}: {line}'}", err=True)


def _files(folder: Path, recursive: bool) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=_give_up):
        folders[:] = [name for name in folders if not name.startswith(".")] if recursive else []
        found = (Path(parent, name) for name in names if not name.startswith("."))
        yield from (path for path in found if path.is_file() or not path.exists())  # a link that leads nowhere fails


def _give_up(error: OSError) -> None:
    raise error


def _without_rivals(jobs: Sequence[Job]) -> tuple[list[Job], int]:
    """The jobs without those whose target is an earlier one's, and how many these are."""
    first: dict[Path, Job] = {}
    for job in jobs:
        if first.setdefault(job.target, job) is not job:
            rival = first[job.target].source.name
            complain(job.source, RefusedError(f"{rival} becomes {job.target.name} too: rename one of them"))
    return list(first.values()), len(jobs) - len(first)


def _in_its_folder(job: Job, work: Callable[[Job, Progress], Result], go_on: Progress) -> Result:
    job.target.parent.mkdir(parents=True, exist_ok=True)
    return work(job, go_on)
