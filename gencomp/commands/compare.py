"""`gencomp compare`: a model beside classical codecs at equal bytes on a few pictures, as one page."""

from pathlib import Path

import click

from gencomp.codec.rate import DEFAULT_MAX_BPP
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
from gencomp.files import check_source


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=FilePath)
@output_option
@model_option
@click.option(
    "--max-bpp",
    metavar="X",
    type=click.FloatRange(0, min_open=True),
    default=DEFAULT_MAX_BPP,
    show_default=True,
    help="Bits per pixel within which a nested model keeps its files.",
)
@effort_option
@full_option
@cache_option
def compare(
    images: tuple[Path, ...],
    output: Path,
    model: str | None,
    max_bpp: float,
    effort: int,
    full: bool,
    cache: Path | None,
) -> None:
    """Compare a model with classical codecs at equal bytes on each IMAGE, and make the page DIR/index.html.

    On the page, any two of them lie over each other with a slider between them. Needs gencomp[eval]; LPIPS needs
    `gencomp weights fetch` once.

    \b
    Example:
      gencomp compare photo.jpg another.png --output comparison
    """
    for image in images:
        check_source(image)
    check_output(output)
    with resumable(), refusals():
        from gencomp.evaluation.comparison import Pictures, Plan
        from gencomp.evaluation.held_out import file_images
        from gencomp.evaluation.ladders import FINE_LADDERS, FULL_FINE_LADDERS

        file_images(images)
        package, label = package_of(model, effort)
        plan = Plan(
            package=package,
            label=label,
            limits=(max_bpp,),
            anchors=FULL_FINE_LADDERS if full else FINE_LADDERS,
            whole_ladders=False,
            metrics=measurable(full, sets=False),
            threads=threads(),
            effort=effort,
        )
        carry_out(plan, [Pictures("pictures", len(images), lambda: file_images(images), named=False)], output, cache)
