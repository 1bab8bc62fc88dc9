"""`gencomp models`: list and pull trained models, say which registered one is champion, and which ones were."""

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from gencomp import references
from gencomp.commands.options import FilePath
from gencomp.files import check_new_folder
from gencomp.models.content import content_hash
from gencomp.references import LOCAL_MODELS, REGISTRY_SCHEME

DEFAULT_STORE = Path("mlflow.db")
"""The model store that the pipeline makes in its working folder."""

reason_option = click.option("--reason", metavar="TEXT", required=True, help="Why; it stays in the history.")


@click.group()
def models() -> None:
    """List and pull trained models, promote registered ones and roll back.

    Registered models are in the MLflow store that MLFLOW_TRACKING_URI names, or in ./mlflow.db.

    \b
    Example:
      gencomp models list
    """


@models.command("list")
def list_models() -> None:
    """List the shipped models, those in ./models, the pulled ones, and the registered ones where there is a store.

    \b
    Example:
      gencomp models list
    """
    for package in references.shipped():
        _list_row("shipped", content_hash(package), package.name)
    pulled = references.cached_packages(cache())
    for where, packages in (("local", references.packages(LOCAL_MODELS)), ("pulled", pulled)):
        for package in packages:
            _list_row(where, content_hash(package), str(package))
    if has_store():
        for version in references.registered():
            _list_row("registered", version.package, version.reference)


@models.command("pull")
@click.argument("ref", metavar="REF")
@click.argument("folder", metavar="DIR", type=FilePath)
def pull_model(ref: str, folder: Path) -> None:
    """Download the registered model REF into the new folder DIR, checked by its content hash; no store is needed then.

    \b
    Example:
      gencomp models pull models:/gencomp-gc@champion models/gc
    """
    check_new_folder(folder)
    click.echo(references.pull(ref, folder))


@models.command("promote")
@click.argument("ref", metavar="REF")
@reason_option
@click.option("--force", is_flag=True, help="Also a version that did not pass the gate.")
def promote_model(ref: str, reason: str, force: bool) -> None:
    """Make the registered version REF the champion, whatever the comparison with the present one says.

    The pipeline then leaves the former champion alone: only this command, or a rollback, brings it back.

    \b
    Example:
      gencomp models promote models:/gencomp-gc/3 --reason "faces are better"
    """
    with references.registry_installed():
        from gencomp.registry.champions import promote_by_hand

        done = promote_by_hand(ref, reason, force=force)
    if done.before == done.after:
        click.echo(f"{done.name}: version {done.after} is the champion already")
    else:
        before = "there was none" if done.before is None else f"version {done.before} was"
        click.echo(f"{done.name}: version {done.after} is the champion, {before}")


@models.command("rollback")
@click.argument("name", metavar="NAME")
@reason_option
def roll_back_model(name: str, reason: str) -> None:
    """Make the former champion of the registered model NAME its champion again; once more, the one before that.

    The pipeline then leaves the version that was rolled back alone: only `gencomp models promote` brings it back.
    Streams that it made stay readable.

    \b
    Example:
      gencomp models rollback gencomp-gc --reason "washed-out skies"
    """
    with references.registry_installed():
        from gencomp.registry.champions import roll_back

        done = roll_back(name.removeprefix(REGISTRY_SCHEME), reason)
    click.echo(f"{done.name}: version {done.after} is the champion again, version {done.before} was")


@models.command("history")
@click.argument("name", metavar="NAME")
def show_history(name: str) -> None:
    """List the champions of the registered model NAME, the present one last: since when (UTC), how, and why.

    \b
    Example:
      gencomp models history gencomp-gc
    """
    with references.registry_installed():
        from gencomp.registry.champions import history

        reigns = history(name.removeprefix(REGISTRY_SCHEME))
    for reign in reigns:
        since = datetime.fromtimestamp(reign.time / 1000, UTC)
        click.echo(f"{since:%Y-%m-%d %H:%M:%S}  version {reign.version:<4} {reign.how:<11}  {reign.reason}")


def has_store() -> bool:
    """Whether there is a model store to ask: one that the environment names, or the pipeline's in this folder."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or DEFAULT_STORE.exists()


def cache() -> Path | None:
    """Where pulled models are kept; none: where they are by default."""
    home = os.environ.get("XDG_CACHE_HOME")
    return references.cache_folder(home) if home else None


def _list_row(where: str, content: str, name: str) -> None:
    click.echo(f"{where:<11}{content[:12]:<12}  {name}")
