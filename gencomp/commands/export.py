"""`gencomp export`: a model's networks for other runtimes."""

from pathlib import Path

import click

from gencomp.commands.models import cache
from gencomp.commands.options import FilePath, model_option
from gencomp.files import check_new_folder
from gencomp.references import DEFAULT_REFERENCE


@click.command()
@click.option(
    "--onnx", "folder", metavar="DIR", type=FilePath, required=True, help="Write ONNX files into the new DIR."
)
@model_option
def export(folder: Path, model: str | None) -> None:
    """Write a model's networks for other runtimes: encoder.onnx and generator.onnx, and io.json, which describes them.

    They are the networks alone, without the entropy coder: pictures in, symbols out, and back.

    \b
    Example:
      gencomp export --onnx light-onnx
    """
    check_new_folder(folder)
    from gencomp.codec.codec import Codec
    from gencomp.models.export import export_onnx

    export_onnx(Codec.from_reference(model or DEFAULT_REFERENCE, cache=cache()).package, folder)
    for path in sorted(folder.iterdir()):
        click.echo(f"{path}: {path.stat().st_size} bytes")
