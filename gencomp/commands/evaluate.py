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
    threads,
)
from gencomp.commands.options import FilePath, model_option
from gencomp.files import RefusedError

RATES = (0.0181, 0.0363, 0.0726)
"""Bits per pixel: the bounds of the paper's models of 2, 4 and 8 channels."""


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
@full_option
@cache_option
def evaluate(
    folders: tuple[Path, ...], output: Path, model: str | None, rates: tuple[float, ...], full: bool, cache: Path | None
) -> None:
    """Compare a model with classical codecs over the pictures of each FOLDER, and make the page DIR/index.html.

    Each codec goes through a ladder of rates, and stands beside the model at equal bytes, picture by picture. Streams,
    decoded pictures and tables are in DIR too. What was coded and measured is kept by content: a run that was broken
    off goes on when it is repeated, and one with another model codes no picture by JPEG again.

    Needs gencomp[eval]; LPIPS needs `gencomp weights fetch` once.

    \b
    Example:
      gencomp evaluate kodak cid22 --output evaluation
    """
    check_output(output)
    with refusals():
        from gencomp.evaluation.comparison import Pictures, Plan
        from gencomp.evaluation.held_out import file_images, picture_files
        from gencomp.evaluation.ladders import FULL_LADDERS, LADDERS

        sets: list[Pictures] = []
        for folder in folders:
            files = picture_files(folder)
            file_images(files)
            name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name)
            if name in {pictures.name for pictures in sets}:
                raise RefusedError(f"{folder}: another folder is called {name} too: rename one of them")
            sets.append(Pictures(name, len(files), functools.partial(file_images, files)))
        package, label = package_of(model)
        plan = Plan(
            package=package,
            label=label,
            limits=rates,
            anchors=FULL_LADDERS if full else LADDERS,
            whole_ladders=True,
            metrics=measurable(full),
            threads=threads(),
        )
        carry_out(plan, sets, output, cache)
