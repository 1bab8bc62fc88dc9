"""What every flow's command does around it: checkout, environment, Prefect server, signals, one-line errors."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from flows.environment import prepare
from flows.lock import CheckoutBusyError
from flows.server import HOST, ServerError, forget_leases, is_alone, prefect_server

if TYPE_CHECKING:  # Prefect is imported when its environment is there
    from prefect.client.schemas.objects import State

_DELIVERY_SECONDS = 5.0


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """End with exit status 1 and one line on standard error for what a user can mend: a full disk, too."""
    try:
        yield
    except (CheckoutBusyError, ServerError, OSError) as error:
        raise click.ClickException(str(error)) from None


def checkout() -> Path:
    """The checkout that the command was started in; raises ClickException elsewhere."""
    root = Path.cwd()
    if not (root / ".dvc").is_dir() or not (root / "dvc.yaml").is_file():
        raise click.ClickException(f"{root} has no .dvc folder and dvc.yaml: start this in the root of the repository")
    return root


def say_outcome(state: "State[Any]") -> None:
    """Print what a flow ended with; raises ClickException with it unless the flow is completed."""
    message = str(state.message or state.name)
    if not state.is_completed():
        raise click.ClickException(message)
    click.echo(message)


@contextmanager
def prefect_ready(root: Path, *, port: int = 0, dashboard: bool = False, host: str = HOST) -> Iterator[str]:
    """Prepare the environment and a server; yields its API address. Prefect is imported inside, not before.

    The server is the one that PREFECT_API_URL names; else one on `host` that ends with this command.
    """
    prepare(root)
    signal.signal(signal.SIGTERM, _exit)
    home = Path(os.environ["PREFECT_HOME"])
    alone = is_alone(home, host)
    if api := os.environ.get("PREFECT_API_URL"):
        _ask_version()
        yield api
        return
    if alone:
        forget_leases(home)
    with prefect_server(home, port=port, dashboard=dashboard, host=host) as api:
        os.environ["PREFECT_API_URL"] = api
        from prefect.context import refresh_global_settings_context

        from flows.slots import free_all_slots

        # Where Prefect was imported before, to check an option, it knows no server yet and would start one more.
        refresh_global_settings_context()
        if alone:
            free_all_slots()
        try:
            yield api
        finally:
            _deliver()


def _ask_version() -> None:
    """Raises ServerError where the server that PREFECT_API_URL names is away, refuses, or is of another release."""
    from httpx import HTTPError
    from prefect import get_client

    try:
        with get_client(sync_client=True) as client:
            client.raise_for_api_version_mismatch()
    except (HTTPError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise ServerError(f"the Prefect server that PREFECT_API_URL names cannot be used: {said}") from None


def _deliver() -> None:
    # Prefect sends logs and events from threads, and would wait minutes at exit for a server that has ended by then.
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=_DELIVERY_SECONDS)
    EventsWorker.drain_all(timeout=_DELIVERY_SECONDS)


def _exit(number: int, _frame: FrameType | None) -> None:
    # The default action would end this process before it ends what it started.
    sys.exit(128 + number)
