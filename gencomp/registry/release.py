"""Versions of registered models: registered once per content, judged, promoted, listed and pulled.

A version carries all that a comparison needs as tags, so that no model is downloaded for one. Aliases say which
version is `champion` (used) and which is `challenger` (passed the gate, and lost or not yet met the champion).
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from gencomp.config import ConfigError, convert
from gencomp.evaluation.gate import Check, Measured, Tolerances, Verdict, compare, passed
from gencomp.models.content import PACKAGE_FILES, content_hash
from gencomp.registry.store import (
    PACKAGE_TAG,
    RegistryError,
    client_class,
    connect,
    reason,
    shown,
    sqlite_file,
    store_uri,
)

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

SCHEME = "models:/"
CHAMPION, CHALLENGER = "champion", "challenger"
MEASURED_TAG = "gencomp.measured."
"""Head of the tags that hold the latest evaluation, one per field of `Measured`."""
GATE_TAG = "gencomp.gate"
COMPARISON_TAG = "gencomp.comparison"
PACKAGE_ARTIFACT = "artifacts/package"
"""Where the package lies in a logged model."""

State = Literal["champion", "challenger", "rejected"]


class RegisteredVersion(NamedTuple):
    """One version of a registered model."""

    name: str
    version: str
    package: str
    """Content hash; empty for a version that something else registered."""
    aliases: tuple[str, ...]

    @property
    def reference(self) -> str:
        """The model reference that names it, by alias where it has one."""
        alias = CHAMPION if CHAMPION in self.aliases else next(iter(self.aliases), None)
        return f"{SCHEME}{self.name}@{alias}" if alias else f"{SCHEME}{self.name}/{self.version}"


class Promotion(NamedTuple):
    """What a version is after it was judged, and why."""

    state: State
    reasons: list[str]


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into RegistryError, one line that names the store."""
    client_class()
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, requests.RequestException) as error:
        raise RegistryError(f"{shown(uri)}: {reason(error)}") from None


def versions(uri: str | None = None) -> list[RegisteredVersion]:
    """All versions of all registered models, by name and number. Raises RegistryError."""
    uri = uri or store_uri()
    with store_errors(uri):
        client = _reader(uri)
        models = {model.name: model.aliases for model in client.search_registered_models(max_results=1000)}
        found = [version for name in sorted(models) for version in client.search_model_versions(f"name = '{name}'")]
    return [
        RegisteredVersion(
            version.name,
            str(version.version),
            version.tags.get(PACKAGE_TAG, ""),
            tuple(sorted(alias for alias, to in models[version.name].items() if str(to) == str(version.version))),
        )
        for version in sorted(found, key=lambda version: (version.name, int(version.version)))
    ]


def pull(ref: str, folder: Path, uri: str | None = None) -> Path:
    """Download the package of `models:/name@alias` or `models:/name/version` to the new folder, whole or not at all.

    Its bytes are checked against the content hash of the version. Raises RegistryError.
    """
    uri = uri or store_uri()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RegistryError(f"{folder} exists: name a new folder")
    with store_errors(uri):
        client = _reader(uri)
        version = _version(client, ref, uri)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".pull-") as scratch:
            package = _download(client, version, Path(scratch), uri)
            _check_content(package, version, ref)
            os.replace(package, folder)
    return folder


def find_version(client: "MlflowClient", name: str, content: str) -> "ModelVersion | None":
    """The oldest version of a registered model with this package."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{PACKAGE_TAG}` = '{content}'")
    return min(found, key=lambda version: int(version.version), default=None)


def record(client: "MlflowClient", version: "ModelVersion", measured: Measured, verdict: Verdict) -> None:
    """Write evaluation and verdict to the tags of a version, where they differ."""
    outcome = {GATE_TAG: "passed" if verdict.passed else "failed"}
    _set_tags(client, version, measured_tags(measured) | outcome | _reason_tags(GATE_TAG, verdict.checks))


def promote(
    client: "MlflowClient",
    version: "ModelVersion",
    measured: Measured,
    verdict: Verdict,
    tolerances: Tolerances,
    evaluate: Callable[["ModelVersion"], Measured],
) -> Promotion:
    """Give a recorded version the alias that it has earned; at no moment is there no champion.

    `evaluate` measures another version on the current evaluation; it is asked only when that one's tags tell of
    another evaluation.
    """
    champion = alias_holder(client, version.name, CHAMPION)
    if champion is not None and _same(champion, version):
        _drop_challenger(client, version)
        return Promotion("champion", _failures(verdict.checks))
    if not verdict.passed:
        _drop_challenger(client, version)
        return Promotion("rejected", _failures(verdict.checks))
    if champion is None:
        return _crown(client, version, {COMPARISON_TAG: "there was no champion"}, [])
    _set_alias(client, version, CHALLENGER)
    try:
        checks = compare(measured, _measured(client, champion, measured, evaluate), tolerances)
    except RegistryError as error:
        why = f"champion version {champion.version} could not be evaluated: {error}"
        _set_tags(client, version, {COMPARISON_TAG: why})
        return Promotion("challenger", [why])
    against = f"{'not worse' if passed(checks) else 'worse'} than version {champion.version}"
    tags = {COMPARISON_TAG: against} | _reason_tags(COMPARISON_TAG, checks)
    if passed(checks):
        return _crown(client, version, tags, [against])
    _set_tags(client, version, tags)
    return Promotion("challenger", [against, *_failures(checks)])


def alias_holder(client: "MlflowClient", name: str, alias: str) -> "ModelVersion | None":
    """The version that carries an alias."""
    number = client.get_registered_model(name).aliases.get(alias)
    return None if number is None else client.get_model_version(name, str(number))


def measured_tags(measured: Measured) -> dict[str, str]:
    """An evaluation as tags; numbers keep all their digits."""
    fields = msgspec.to_builtins(measured)
    return {f"{MEASURED_TAG}{name}": msgspec.json.encode(value).decode() for name, value in fields.items()}


def read_measured(tags: Mapping[str, str]) -> Measured:
    """The evaluation that tags tell of. Raises RegistryError when they do not."""
    try:
        fields = {
            name.removeprefix(MEASURED_TAG): msgspec.json.decode(value)
            for name, value in tags.items()
            if name.startswith(MEASURED_TAG)
        }
        return convert(fields, Measured, "tags")
    except (ConfigError, msgspec.DecodeError) as error:
        raise RegistryError(str(error)) from None


def _measured(
    client: "MlflowClient",
    champion: "ModelVersion",
    candidate: Measured,
    evaluate: Callable[["ModelVersion"], Measured],
) -> Measured:
    """The champion on the candidate's pictures and within its limit: as recorded, or measured now and recorded."""
    recorded = champion.tags.get(f"{MEASURED_TAG}evaluation_digest"), champion.tags.get(f"{MEASURED_TAG}max_bpp")
    current = measured_tags(candidate)
    if recorded == (current[f"{MEASURED_TAG}evaluation_digest"], current[f"{MEASURED_TAG}max_bpp"]):
        return read_measured(champion.tags)
    measured = evaluate(champion)
    _set_tags(client, champion, measured_tags(measured))
    return measured


def _crown(client: "MlflowClient", version: "ModelVersion", tags: dict[str, str], reasons: list[str]) -> Promotion:
    _set_tags(client, version, tags)
    client.set_registered_model_alias(version.name, CHAMPION, version.version)
    _drop_challenger(client, version)
    return Promotion("champion", reasons)


def _same(one: "ModelVersion", other: "ModelVersion") -> bool:
    return str(one.version) == str(other.version)


def _set_alias(client: "MlflowClient", version: "ModelVersion", alias: str) -> None:
    holder = alias_holder(client, version.name, alias)
    if holder is None or not _same(holder, version):
        client.set_registered_model_alias(version.name, alias, version.version)


def _drop_challenger(client: "MlflowClient", version: "ModelVersion") -> None:
    holder = alias_holder(client, version.name, CHALLENGER)
    if holder is not None and _same(holder, version):
        client.delete_registered_model_alias(version.name, CHALLENGER)


def _set_tags(client: "MlflowClient", version: "ModelVersion", tags: Mapping[str, str]) -> None:
    for name, value in tags.items():
        if version.tags.get(name) != value:
            client.set_model_version_tag(version.name, version.version, name, value)


def _reason_tags(head: str, checks: list[Check]) -> dict[str, str]:
    return {f"{head}.{check.name}": f"{'passed' if check.passed else 'failed'}: {check.reason}" for check in checks}


def _failures(checks: list[Check]) -> list[str]:
    return [f"{check.name}: {check.reason}" for check in checks if not check.passed]


def _reader(uri: str) -> "MlflowClient":
    """A client for reading: a SQLite store that does not exist is an error, not created."""
    file = sqlite_file(uri)
    if file and not file.exists():
        raise RegistryError(f"there is no model store {file}: run the pipeline, or set MLFLOW_TRACKING_URI")
    return connect(uri)


def _version(client: "MlflowClient", ref: str, uri: str) -> "ModelVersion":
    name, alias, number = _parse(ref)
    known = {model.name: model.aliases for model in client.search_registered_models(f"name = '{name}'")}
    if name not in known:
        raise RegistryError(f"{ref}: there is no model {name} in {shown(uri)}")
    if alias:
        if alias not in known[name]:
            raise RegistryError(f"{ref}: no such alias; aliases here: {', '.join(sorted(known[name])) or 'none'}")
        number = str(known[name][alias])
    found = [version for version in client.search_model_versions(f"name = '{name}'") if str(version.version) == number]
    if not found:
        raise RegistryError(f"{ref}: there is no such version in {shown(uri)}")
    return found[0]


def _parse(ref: str) -> tuple[str, str, str]:
    """(name, alias, "") or (name, "", version) of a reference."""
    name, at, alias = ref.removeprefix(SCHEME).partition("@")
    if not at:
        name, _, number = name.rpartition("/")
        if ref.startswith(SCHEME) and name and "'" not in name and number.isdecimal():
            return name, "", number
    elif ref.startswith(SCHEME) and name and alias and "'" not in name:
        return name, alias, ""
    raise RegistryError(f"{ref}: expected {SCHEME}NAME@ALIAS or {SCHEME}NAME/VERSION")


def _download(client: "MlflowClient", version: "ModelVersion", scratch: Path, uri: str) -> Path:
    """The package of a version in a folder that holds its files and nothing else."""
    from mlflow.artifacts import download_artifacts

    source = client.get_model_version_download_uri(version.name, version.version)
    package = scratch / "package"
    package.mkdir()
    for file in PACKAGE_FILES:
        address = f"{source}/{PACKAGE_ARTIFACT}/{file}"
        shutil.move(download_artifacts(artifact_uri=address, dst_path=str(scratch), tracking_uri=uri), package / file)
    return package


def _check_content(package: Path, version: "ModelVersion", ref: str) -> None:
    expected, found = version.tags.get(PACKAGE_TAG), content_hash(package)
    if expected is None:
        raise RegistryError(f"{ref} carries no content hash: it was not registered by this pipeline")
    if found != expected:
        raise RegistryError(f"{ref} is damaged: its content is {found[:12]}, registered was {expected[:12]}")
