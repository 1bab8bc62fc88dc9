"""`python -m flows.serve`: run the `retrain` flow on this machine, on a schedule."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import click

from flows.command import checkout, errors_in_one_line, prefect_ready
from flows.environment import prepare
from flows.guard import end_descendants
from flows.server import HOST

DEPLOYMENT, BY_HAND = "scheduled", "by-hand"


@click.command(epilog="Example: python -m flows.serve --cron '0 3 * * *'")
@click.option(
    "--cron",
    help="When to retrain, as a cron expression in UTC.  [default: only by hand]",
)
@click.option(
    "--parallel",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Variants side by side.",
)
@click.option("--gpu-slots", type=click.IntRange(min=1), help="Trainings that may run at once.")
@click.option(
    "--port",
    type=click.IntRange(1024, 65535),
    default=4200,
    show_default=True,
    help="Port of the Prefect server and its pages, where PREFECT_API_URL names none.",
)
@click.option(
    "--host",
    default=HOST,
    show_default=True,
    help="Address that this server listens on. It asks nobody for a password: see docs/operations.",
)
@click.option(
    "--notify",
    "notify_block",
    metavar="BLOCK",
    help="Block of the server that is told what came of a retraining, such as webhook/retraining.",
)
def main(
    cron: str | None, parallel: int, gpu_slots: int | None, port: int, host: str, notify_block: str | None
) -> None:
    """Serve the deployments `retrain/scheduled` and `release/by-hand` until this command is stopped.

    A run that comes due while one is running is cancelled, not queued. Start one by hand from the pages of the Prefect
    server, or with: prefect deployment run retrain/scheduled
    """
    root = checkout()
    prepare(root)
    check_cron(cron)
    with errors_in_one_line(), prefect_ready(root, port=port, dashboard=True, host=host) as api:
        # A run is a process of its own that imports `flows` again.
        source = str(Path(__file__).resolve().parents[1])
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
        click.echo(f"Prefect server: {api.removesuffix('/api')}")
        serve(cron, {"parallel": parallel, "gpu_slots": gpu_slots, "notify_block": notify_block})


def check_cron(cron: str | None) -> None:
    """Raise click's BadParameter for what is no cron expression."""
    from prefect.client.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    if cron is None:
        return
    try:
        CronSchedule(cron=cron)
    except ValidationError:
        message = f"{cron!r} is not a cron expression such as '0 3 * * *' (every day at 3:00)"
        raise click.BadParameter(message, param_hint="--cron") from None


def serve(cron: str | None, parameters: dict[str, int | str | None]) -> None:
    """Register the deployments and run what comes due; returns when it is stopped, with all its runs ended."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.types.entrypoint import EntrypointType

    from flows.champion import release
    from flows.retrain import retrain
    from flows.runner import StoppableRunner

    runner = StoppableRunner(DEPLOYMENT)
    # Not `limit=1`: a runner that is full leaves a run waiting and starts it late; the server's limit refuses it.
    one = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    runner.add_flow(
        retrain,
        name=DEPLOYMENT,
        cron=cron,
        concurrency_limit=one,
        parameters=parameters,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    runner.add_flow(release, name=BY_HAND, concurrency_limit=one, entrypoint_type=EntrypointType.MODULE_PATH)
    due = f"at {cron} UTC" if cron else "for runs started by hand"
    click.echo(f"Serving retrain/{DEPLOYMENT} {due}; Ctrl-C stops it.")
    try:
        asyncio.run(runner.serve())
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("Stopped: the schedule is paused until the next start.")
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end_descendants(spared=runner.others)


if __name__ == "__main__":
    sys.exit(main())
