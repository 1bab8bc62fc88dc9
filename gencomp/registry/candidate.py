"""A variant's package on its way into the registry: found or registered once, recorded, promoted."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gencomp.evaluation.gate import Measured, Tolerances, Verdict
from gencomp.models.content import content_hash
from gencomp.registry.logged_model import log_and_register
from gencomp.registry.release import Promotion, find_version, promote, pull, record, store_errors
from gencomp.registry.runs import complete_run
from gencomp.registry.store import PACKAGE_TAG, RegistryError, connect

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

BITSTREAM = "0"
"""Version of the .gnc format that the package's streams carry."""


class Candidate(NamedTuple):
    """What the pipeline has of one variant."""

    variant: str
    name: str
    """Name of the registered model."""
    package: Path
    measured: Measured
    verdict: Verdict
    params: Mapping[str, str]
    """As from `flatten`."""
    history: Path
    """The training curve as CSV."""
    commit: str | None
    """The checkout's git commit, where there is one."""


class Released(NamedTuple):
    """What became of a candidate."""

    candidate: Candidate
    version: str
    new: bool
    """Registered now, not found."""
    promotion: Promotion


Evaluate = Callable[[str, Path], Measured]
"""Measures a package folder as the variant named, on the current evaluation."""


def release(
    uri: str, candidates: Iterable[Candidate], tolerances: Tolerances, evaluate: Evaluate
) -> Iterator[Released]:
    """Register each candidate once and give it the alias that it has earned. Raises RegistryError."""
    with store_errors(uri):
        client = connect(uri)
        for candidate in candidates:
            yield _release(client, uri, candidate, tolerances, evaluate)


def _release(
    client: "MlflowClient", uri: str, candidate: Candidate, tolerances: Tolerances, evaluate: Evaluate
) -> Released:
    content = content_hash(candidate.package)
    if candidate.verdict.package != content:
        raise RegistryError(f"the gate judged another package than {candidate.package}: run dvc repro")
    found = find_version(client, candidate.name, content)
    version = found or _register(client, uri, candidate, content)
    record(client, version, candidate.measured, candidate.verdict)

    def evaluate_version(other: "ModelVersion") -> Measured:
        with tempfile.TemporaryDirectory() as scratch:
            package = pull(f"models:/{other.name}/{other.version}", Path(scratch) / "package", uri)
            return evaluate(candidate.variant, package)

    promotion = promote(client, version, candidate.measured, candidate.verdict, tolerances, evaluate_version)
    return Released(candidate, str(version.version), found is None, promotion)


def _register(client: "MlflowClient", uri: str, candidate: Candidate, content: str) -> "ModelVersion":
    run = complete_run(client, uri, candidate.variant, content, candidate.params, candidate.measured, candidate.history)
    tags = {PACKAGE_TAG: content, "gencomp.bitstream": BITSTREAM}
    if candidate.commit:
        tags["gencomp.commit"] = candidate.commit
    return log_and_register(client, candidate.name, candidate.package, run, tags)
