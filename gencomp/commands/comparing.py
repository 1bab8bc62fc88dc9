"""What `gencomp compare` and `gencomp evaluate` share: which metrics can be measured here, and a folder of results."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gencomp import references
from gencomp.codec.rate import RateError
from gencomp.commands.models import cache as pulled_models
from gencomp.commands.options import FilePath
from gencomp.files import RefusedError, say
from gencomp.progress import moving_line

if TYPE_CHECKING:
    from gencomp.evaluation.comparison import Pictures, Plan
    from gencomp.evaluation.rates import ChosenMetric

MARKER = "plan.json"
"""The file by which a folder of results is known."""
QUICK: "tuple[ChosenMetric, ...]" = ("psnr", "ms_ssim", "ssimulacra2", "lpips_alex")
SLOW: "tuple[ChosenMetric, ...]" = ("lpips_vgg", "dists")
output_option = click.option(
    "--output",
    metavar="DIR",
    type=FilePath,
    required=True,
    help="A new folder, or one that this command made: it is replaced.",
)
full_option = click.option(
    "--full",
    is_flag=True,
    help="With the slow codecs and metrics too: VVC, learned ones; LPIPS-VGG16, DISTS; KID of more settings.",
)
cache_option = click.option(
    "--cache",
    metavar="DIR",
    type=FilePath,
    help="Where files and figures are kept for the next time.  [default: ~/.cache/gencomp/results]",
)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what is wrong with pictures, models, weights and the installation into refusals."""
    try:
        from gencomp.evaluation.held_out import HeldOutError
        from gencomp.evaluation.practicality import PracticalityError
        from gencomp.evaluation.segmentation import SegmentationError
        from gencomp.models.package import PackageError
        from gencomp.weights.failure import MissingWeightsError
    except ModuleNotFoundError as error:
        raise RefusedError(f"comparing needs {error.name}: pip install 'gencomp[eval]'") from None
    wrong = (HeldOutError, PackageError, RateError, MissingWeightsError, SegmentationError, PracticalityError)
    try:
        yield
    except wrong as error:
        raise RefusedError(str(error)) from None


@contextmanager
def resumable() -> Iterator[None]:
    """Where a signal ends the work, say that what was done of it need not be done again."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        kept = "what was coded and measured is kept, and the same command goes on from there"
        click.echo(f"gencomp: ended early; {kept}", err=True)
        raise


def measurable(full: bool, sets: bool) -> "tuple[ChosenMetric, ...]":
    """The quick metrics, or all, whose weights are here; a line on stderr tells of the others.

    `sets` is whether there are pictures enough for KID, which is of all at once.
    """
    from gencomp.evaluation.metrics import METRICS
    from gencomp.weights.cache import weights_path

    found: list[ChosenMetric] = []
    for name in (*QUICK, *(SLOW if full else ()), *(("kid",) if sets else ())):
        try:
            for weights in ("inception",) if name == "kid" else METRICS[name].weights:
                weights_path(weights)
        except FileNotFoundError as error:
            click.echo(f"gencomp: {name} is left out: {error}", err=True)
        else:
            found.append(name)
    return tuple(found)


def package_of(ref: str | None, effort: int) -> tuple[Path, str]:
    """A model's package folder, and what a page calls the model."""
    folder = references.resolve(ref or references.DEFAULT_REFERENCE, cache=pulled_models())
    registered = ref is not None and ref.startswith(references.REGISTRY_SCHEME)
    name = ref.removeprefix(references.REGISTRY_SCHEME) if ref is not None and registered else folder.resolve().name
    return folder, f"{name}-effort-{effort}" if effort else name


def check_output(folder: Path) -> None:
    """Refuse a folder that holds anything but an earlier comparison."""
    if folder.exists() and not folder.is_dir():
        raise RefusedError(f"{folder} is not a folder: name a new one")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise RefusedError(f"{folder} holds other files: name a new folder")


def carry_out(plan: "Plan", sets: Sequence["Pictures"], output: Path, cache: Path | None) -> None:
    """Compare, and say where the page is; the folder appears whole or not at all."""
    import msgspec
    import torch

    from gencomp.evaluation.cache import ResultCache, results_folder
    from gencomp.evaluation.comparison import Comparison
    from gencomp.evaluation.output import whole_folder
    from gencomp.evaluation.page import too_large
    from gencomp.memory import keep_freed_memory

    torch.set_num_threads(1)  # each of the plan's threads computes on its own
    keep_freed_memory(shared=True)
    comparison = Comparison(plan, ResultCache(cache or results_folder()))
    for title, reason in comparison.left_out.items():
        click.echo(f"gencomp: {title} is left out: {reason}", err=True)
    with whole_folder(output) as folder:
        comparison.run(sets, folder, moving_line)
        (folder / MARKER).write_bytes(msgspec.json.format(msgspec.json.encode(comparison.described), indent=2) + b"\n")
    page = output / "index.html"
    if warning := too_large(page.stat().st_size):
        click.echo(f"gencomp: {warning}", err=True)
    pictures = sum(pictures.number for pictures in sets)
    say(page, f"{page}: {pictures} {'picture' if pictures == 1 else 'pictures'}, {page.stat().st_size / 1e6:.1f} MB")
