"""Options and arguments that several commands have."""

from pathlib import Path

import click

FilePath = click.Path(path_type=Path)
model_option = click.option("--model", metavar="REF", help="A shipped model, a package folder, or models:/NAME@ALIAS.")
