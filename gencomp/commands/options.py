"""Options and arguments that several commands have."""

import click

from gencomp.files import Name

FilePath = Name()
model_option = click.option("--model", metavar="REF", help="A shipped model, a package folder, or models:/NAME@ALIAS.")
