"""Where the store shows a package: the run that made it, its version, its aliases."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from gencomp.models.content import content_hash
from gencomp.registry.release import store_errors
from gencomp.registry.store import EXPERIMENT, PACKAGE_TAG, connect, find_run, shown, sqlite_file, store_uri

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


class Whereabouts(NamedTuple):
    """What a store has of one variant's package; empty strings for what it has not."""

    variant: str
    run: str
    """Id of the run."""
    link: str
    """Address of the run's page on a tracking server, without a password."""
    model: str
    version: str
    aliases: tuple[str, ...]


def whereabouts(packages: Mapping[str, Path], uri: str | None = None) -> list[Whereabouts]:
    """Find each variant's package folder in the store, by content. Raises RegistryError.

    A SQLite store that does not exist is not created; folders that hold no package are left out.
    """
    uri = uri or store_uri()
    contents: dict[str, str] = {}
    for variant, folder in packages.items():
        if (folder / "config.json").is_file():
            contents[variant] = content_hash(folder)
    file = sqlite_file(uri)
    if not contents or (file and not file.exists()):
        return []
    with store_errors(uri):
        client = connect(uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        number = str(experiment.experiment_id) if experiment else ""
        return [_found(client, uri, number, variant, content) for variant, content in contents.items()]


def _found(client: "MlflowClient", uri: str, experiment: str, variant: str, content: str) -> Whereabouts:
    run = (experiment and find_run(client, experiment, PACKAGE_TAG, content)) or ""
    page = urlsplit(uri).scheme in ("http", "https") and run
    link = f"{shown(uri).rstrip('/')}/#/experiments/{experiment}/runs/{run}" if page else ""
    versions = client.search_model_versions(f"tags.`{PACKAGE_TAG}` = '{content}'")
    own = [version for version in versions if version.name.endswith(f"-{variant}")]
    if not own:
        return Whereabouts(variant, run, link, "", "", ())
    first = min(own, key=lambda version: int(version.version))
    held = client.get_registered_model(first.name).aliases
    aliases = tuple(sorted(alias for alias, number in held.items() if str(number) == str(first.version)))
    return Whereabouts(variant, run, link, str(first.name), str(first.version), aliases)
