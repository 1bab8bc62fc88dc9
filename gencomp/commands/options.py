"""Options and arguments that several commands have."""

import click

from gencomp.files import Name

FilePath = Name()
model_option = click.option("--model", metavar="REF", help="A shipped model, a package folder, or models:/NAME@ALIAS.")
effort_option = click.option(
    "--effort",
    metavar="N",
    type=click.IntRange(0, 1000),
    default=0,
    show_default=True,
    help="Search the symbols in N steps, some seconds each: a sharper picture in the same bytes.",
)
