"""`gencomp evaluate`: a model beside classical codecs over folders of pictures, as one page."""

import functools
import re
from pathlib import Path

import click

from gencomp.commands.comparing import (
    cache_option,
    carry_out,
    check_output,
    full_option,
    measurable,
    output_option,
    package_of,
    refusals,
    resumable,
)
from gencomp.commands.options import FilePath, effort_option, model_option
from gencomp.data.processors import processors as threads
from gencomp.files import RefusedError

RATES = (0.0181, 0.0363, 0.0513, 0.0726)
"""Bits per pixel: the bounds of the paper's models of 2, 4 and 8 channels, and one between, since a BD-rate needs four
points."""


class Rates(click.ParamType):
    """Bits per pixel, joined by commas."""

    name = "rates"

    def convert(
        self, value: str | tuple[float, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            rates = tuple(sorted({float(part) for part in value.split(",")}))
        except ValueError:
            rates = ()
        if not rates or not all(0 < rate <= 24 for rate in rates):
            self.fail(f"{value!r}: expected bits per pixel joined by commas, such as 0.0363,0.0726", param, ctx)
        return rates


@click.command()
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=FilePath)
@output_option
@model_option
@click.option(
    "--rates",
    type=Rates(),
    metavar="X,Y",
    default=RATES,
    help="Bits per pixel within which a nested model keeps its files; others have one rate, their own.  "
    f"[default: {','.join(map(str, RATES))}]",
)
@click.option(
    "--segmentation",
    metavar="NETWORK",
    type=FilePath,
    help="With what a segmentation network still sees: ESPNet's weights (.pth), or a description (.json).",
)
@click.option("--labels", metavar="DIR", type=FilePath, help="The true label maps of FOLDER's pictures, <name>.png.")
@click.option("--classes", metavar="A,B", help="Names of the label ids 0, 1, ...  [default: the network's own]")
@click.option(
    "--costs",
    metavar="FILE",
    type=FilePath,
    help="With what models and codecs cost, as benchmarks.practicality --table FILE has measured it.",
)
@effort_option
@full_option
@cache_option
def evaluate(
    folders: tuple[Path, ...],
    output: Path,
    model: str | None,
    rates: tuple[float, ...],
    segmentation: Path | None,
    labels: Path | None,
    classes: str | None,
    costs: Path | None,
    effort: int,
    full: bool,
    cache: Path | None,
) -> None:
    """Compare a model with classical codecs over the pictures of each FOLDER, and make the page DIR/index.html.

    Each codec goes through a ladder of rates, and stands beside the model at equal bytes, picture by picture. Streams,
    decoded pictures and tables are in DIR too. What was coded and measured is kept by content: a run that was broken
    off goes on when it is repeated, and one with another model codes no picture by JPEG again.

    The page has BD-rates of curves of four points and more, so a nested model needs four --rates for one.
    --segmentation with --labels adds the mIoU of what a network still sees, --costs time, memory and weights.

    Needs gencomp[eval]; LPIPS and KID need `gencomp weights fetch` once.

    \b
    Example:
      gencomp evaluate kodak cid22 --output evaluation
    """
    check_output(output)
    if (segmentation is None) != (labels is None):
        raise RefusedError("--segmentation and --labels go together: a network, and what it should see")
    if labels is not None and len(folders) > 1:
        raise RefusedError("--labels are those of one FOLDER: evaluate the others by themselves")
    with resumable(), refusals():
        from gencomp.evaluation.comparison import Pictures, Plan
        from gencomp.evaluation.held_out import file_images, picture_files, picture_key
        from gencomp.evaluation.ladders import FULL_LADDERS, LADDERS
        from gencomp.evaluation.practicality import read_practicality
        from gencomp.evaluation.recognised import true_labels
        from gencomp.evaluation.segmentation import load_network

        sets: list[Pictures] = []
        for folder in folders:
            files = picture_files(folder)
            file_images(files)
            name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name)
            if name in {pictures.name for pictures in sets}:
                raise RefusedError(f"{folder}: another folder is called {name} too: rename one of them")
            sets.append(Pictures(name, len(files), functools.partial(file_images, files)))
            if labels is not None:
                for file in files:
                    true_labels(labels, picture_key(file))
        package, label = package_of(model, effort)
        plan = Plan(
            package=package,
            label=label,
            limits=rates,
            anchors=FULL_LADDERS if full else LADDERS,
            whole_ladders=True,
            metrics=measurable(full, sets=True),
            threads=threads(),
            effort=effort,
            segmentation=load_network(segmentation, tuple(classes.split(",")) if classes else ())
            if segmentation
            else None,
            labels=labels,
            costs=read_practicality(costs) if costs else None,
            all_sets=full,
        )
        carry_out(plan, sets, output, cache)
