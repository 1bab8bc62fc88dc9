"""`python -m flows.release`: say by hand which registered version is champion, as a Prefect run with its reason."""

import sys

import click

from flows.command import checkout, errors_in_one_line, prefect_ready, say_outcome

reason_option = click.option("--reason", metavar="TEXT", required=True, help="Why; it stays in the history.")
notify_option = click.option("--notify", "notify_block", metavar="BLOCK", help="Block that is told, as of flows.serve.")


@click.group(epilog="Example: python -m flows.release rollback gencomp-gc --reason 'washed-out skies'")
def main() -> None:
    """Promote a version or roll back, in the MLflow store that MLFLOW_TRACKING_URI names, or ./mlflow.db.

    `gencomp models promote | rollback | history` do the same without Prefect.
    """


@main.command(epilog="Example: python -m flows.release promote models:/gencomp-gc/3 --reason 'faces are better'")
@click.argument("ref", metavar="REF")
@reason_option
@click.option("--force", is_flag=True, help="Also a version that did not pass the gate.")
@notify_option
def promote(ref: str, reason: str, force: bool, notify_block: str | None) -> None:
    """Make the registered version REF, such as models:/gencomp-gc/3, the champion."""
    _run("promote", ref, reason, force, notify_block)


@main.command(epilog="Example: python -m flows.release rollback gencomp-gc --reason 'washed-out skies'")
@click.argument("name", metavar="NAME")
@reason_option
@notify_option
def rollback(name: str, reason: str, notify_block: str | None) -> None:
    """Make the former champion of the registered model NAME its champion again; once more, the one before that."""
    _run("rollback", name, reason, False, notify_block)


def _run(action: str, model: str, reason: str, force: bool, notify_block: str | None) -> None:
    root = checkout()
    with errors_in_one_line(), prefect_ready(root):
        from flows.champion import release

        state = release(action, model, reason, force, notify_block, return_state=True)
    say_outcome(state)


if __name__ == "__main__":
    sys.exit(main())
