"""`python -m flows.pipeline`: bring every target of dvc.yaml up to date as observed Prefect tasks."""

import sys

import click

from flows.command import checkout, errors_in_one_line, prefect_ready, say_outcome
from flows.lock import hold_checkout


@click.command(epilog="Example: python -m flows.pipeline --parallel 2")
@click.option(
    "--parallel",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Variants that run side by side, each in a git worktree of its own.",
)
@click.option(
    "--gpu-slots",
    type=click.IntRange(min=1),
    help="Trainings that may run at once, for all flows of the server.  [default: the server's number, at first 1]",
)
def main(parallel: int, gpu_slots: int | None) -> None:
    """Reproduce the pipeline: what `dvc repro` does, one Prefect task per target.

    PREFECT_API_URL names the Prefect server; without it one runs on 127.0.0.1 until the flow ends. Its files are in
    .prefect, or where PREFECT_HOME says. Only one flow runs in a checkout at a time.
    """
    root = checkout()
    with errors_in_one_line(), hold_checkout(root), prefect_ready(root):
        from flows.reproduce import reproduce

        state = reproduce(parallel, gpu_slots, return_state=True)
    say_outcome(state)


if __name__ == "__main__":
    sys.exit(main())
