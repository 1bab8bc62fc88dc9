"""What a big download will take, told before it begins: by a small sample of its images, and for whole files by what
their servers state."""

import math
import shutil
import statistics
import tarfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from gencomp.data.failure import DataError
from gencomp.data.fetch import Fetcher, local_path
from gencomp.data.meter import tell

X = TypeVar("X")
AT_ONCE = 8
"""Sizes that are asked for at once."""
SAMPLE = 24
"""Images that are fetched for it, and fetched again when their turn comes."""


class Forecast(NamedTuple):
    """What images still to be fetched will take."""

    images: int
    bytes: float
    """On disk."""
    margin: float
    """Bytes by which the whole may differ, twice the standard error."""
    seconds: float
    free: int
    """Bytes free on the disk that they go to."""

    @property
    def fits(self) -> bool:
        """Whether the disk may hold them: false only where the lower end of the estimate is beyond what is free."""
        return self.bytes - self.margin <= self.free

    def __str__(self) -> str:
        if not self.bytes:
            return f"{self.images:,} images to fetch; none of {SAMPLE} sampled ones could be had"
        size, margin, free = (amount(number) for number in (self.bytes, self.margin, self.free))
        tight = ", perhaps too little" if self.bytes > self.free else ""
        return (
            f"{self.images:,} images to fetch, about {size} (± {margin}) and {span(self.seconds)}; {free} free{tight}"
        )


def forecast(count: int, image: Callable[[int], X], stored: Callable[[X], int], threads: int, folder: Path) -> Forecast:
    """Estimate what `count` images take in `folder`, by some of them, evenly spread: `image` gives one by its number,
    `stored` fetches it and returns its bytes on disk, 0 where it cannot be had, and is called by so many threads."""
    sample = [image(index * count // SAMPLE) for index in range(SAMPLE)]
    start = time.monotonic()
    with ThreadPoolExecutor(threads) as executor:
        sizes = list(executor.map(stored, sample))
    seconds = time.monotonic() - start
    return Forecast(
        images=count,
        bytes=statistics.fmean(sizes) * count,
        margin=2 * statistics.stdev(sizes) / math.sqrt(SAMPLE) * count,
        seconds=seconds / SAMPLE * count,
        free=shutil.disk_usage(folder).free,
    )


def foretell(task: str, files: Mapping[Path, str], fetcher: Fetcher) -> None:
    """Say what the remote ones will take of some files, each a path and its URL, so far as their servers state it;
    those that are there already take nothing more. Raises DataError when the disk cannot hold them."""
    left = {target: url for target, url in files.items() if local_path(url) is None and not target.exists()}
    if not left:
        return
    with ThreadPoolExecutor(AT_ONCE) as executor:
        sizes = [size for size in executor.map(fetcher.size, left.values()) if size]
    if not sizes:
        return
    total, unknown, first = sum(sizes), len(left) - len(sizes), next(iter(left))
    folder = next(parent for parent in first.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    what = first.name if len(left) == 1 else f"{len(left)} files"
    if total > free:
        raise DataError(
            f"{task}: {what} of {amount(total)} to fetch, and the disk of {folder} has {amount(free)} free; make room"
        )
    more = f" and {unknown} of unknown size" if unknown else ""
    tell(task, f"{what} to fetch, {amount(total)}{more}; {amount(free)} free")


def in_tar(size: int) -> int:
    """Bytes that a file of `size` bytes takes in a tar."""
    return tarfile.BLOCKSIZE * (1 + math.ceil(size / tarfile.BLOCKSIZE))


def amount(size: float) -> str:
    """A number of bytes for people, such as `1.3 GB`."""
    power = next((power for power in (1, 2, 3) if size < 1000 ** (power + 1)), 4)
    unit = ("kB", "MB", "GB", "TB")[power - 1]
    return f"{float(f'{size / 1000**power:.3g}'):,g} {unit}"


def span(seconds: float) -> str:
    """A time for people, in minutes, hours or days."""
    minutes = seconds / 60
    if minutes < 90:
        return f"{max(1, round(minutes))} min"
    return f"{minutes / 60:.0f} h" if minutes < 72 * 60 else f"{minutes / 1440:.0f} days"
