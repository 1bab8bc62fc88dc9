"""A variant's package on its way into the registry: found or registered once, recorded, promoted."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gencomp.codec.container import VERSION
from gencomp.config import read_yaml
from gencomp.evaluation.gate import Measured, Tolerances, Verdict
from gencomp.evaluation.held_out import HeldOutError, HeldOutImage
from gencomp.models.content import content_hash
from gencomp.registry.card import PICTURES, Origin, card, sheet
from gencomp.registry.champions import Promotion, promote, record, set_tags
from gencomp.registry.logged_model import log_and_register
from gencomp.registry.manifests import TrainingData
from gencomp.registry.release import FINGERPRINT_TAG, find_version, pull, store_errors
from gencomp.registry.runs import complete_run, log_evaluation
from gencomp.registry.store import PACKAGE_TAG, RegistryError, connect

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

BITSTREAM_TAG = "gencomp.bitstream"
"""Version of the .gnc format that the package's streams carry."""
COMMIT_TAG = "gencomp.commit"
"""The git commit of the checkout when the version was registered, with `-dirty` where tracked files were changed."""
LOCK_TAG = "gencomp.lock"
"""Digest of dvc.lock when the version was registered."""
LAST_STAGE = "register"
"""In dvc.lock; it is written behind the registration, so a digest that held it would fit no lock that is committed."""
DATASET_TAG, DATA_TAG = "gencomp.dataset", "gencomp.data"
"""Name of the training data, and the digest of its manifest."""
PICTURES_TAG = "gencomp.pictures"
"""Path of the card's pictures among the artifacts of the version's run."""


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
    tables: Mapping[str, Path]
    """Files of numbers that its run gets beside the means: name -> file, which may be missing."""
    data: TrainingData
    commit: str | None
    """The checkout's git commit, where there is one, with `-dirty` where it was changed since."""
    lock: Path
    """dvc.lock, which may be missing."""
    pictures: Iterable[HeldOutImage]
    """The evaluated pictures, for its card; taken only when it is registered, and none that may not be passed on."""
    decoded: Path
    """What was drawn of their files, `<key>.png`."""


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
    if candidate.measured.fingerprint:
        set_tags(client, version, {FINGERPRINT_TAG: candidate.measured.fingerprint})
    record(client, version, candidate.measured, candidate.verdict)
    log_evaluation(client, str(version.run_id), candidate.tables)
    described = _card(candidate, version.tags, str(version.run_id))
    if version.description != described:
        client.update_model_version(version.name, version.version, described)

    def evaluate_version(other: "ModelVersion") -> Measured:
        with tempfile.TemporaryDirectory() as scratch:
            package = pull(f"models:/{other.name}/{other.version}", Path(scratch) / "package", uri)
            return evaluate(candidate.variant, package)

    promotion = promote(client, version, candidate.measured, candidate.verdict, tolerances, evaluate_version)
    return Released(candidate, str(version.version), found is None, promotion)


def lock_digest(lock: Path) -> str | None:
    """SHA-256 (hex) over what dvc.lock says of all stages but LAST_STAGE, as sorted JSON; None where it is missing."""
    if not lock.exists():
        return None
    known = read_yaml(lock)
    stages = known.get("stages", {}) if isinstance(known, dict) else {}
    kept = {name: stage for name, stage in stages.items() if name != LAST_STAGE}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _register(client: "MlflowClient", uri: str, candidate: Candidate, content: str) -> "ModelVersion":
    run = complete_run(
        client,
        uri,
        candidate.variant,
        content,
        candidate.params,
        candidate.history,
        candidate.data,
    )
    known = {
        PACKAGE_TAG: content,
        FINGERPRINT_TAG: candidate.measured.fingerprint,
        BITSTREAM_TAG: str(VERSION),
        COMMIT_TAG: candidate.commit,
        LOCK_TAG: lock_digest(candidate.lock),
        DATASET_TAG: candidate.data.name,
        DATA_TAG: candidate.data.digest(),
        PICTURES_TAG: _log_pictures(client, run, candidate),
    }
    tags = {name: value for name, value in known.items() if value}
    return log_and_register(client, candidate.name, candidate.package, run, tags, _card(candidate, tags, run))


def _log_pictures(client: "MlflowClient", run: str, candidate: Candidate) -> str | None:
    """The path of the card's pictures among the run's artifacts; None where there are none to show."""
    try:
        shown = sheet(iter(candidate.pictures), candidate.decoded) if candidate.data.shareable else None
    except HeldOutError:
        shown = None
    if shown is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / Path(PICTURES).name
        shown.save(file, "PNG")
        client.log_artifact(run, str(file), str(Path(PICTURES).parent))
    return PICTURES


def _card(candidate: Candidate, tags: Mapping[str, str], run: str) -> str:
    """As the version was registered, with its latest evaluation."""
    origin = Origin(
        package=tags.get(PACKAGE_TAG, ""),
        fingerprint=candidate.measured.fingerprint,
        bitstream=tags.get(BITSTREAM_TAG, ""),
        commit=tags.get(COMMIT_TAG, ""),
        lock=tags.get(LOCK_TAG, ""),
        data=tags.get(DATA_TAG, ""),
        dataset=tags.get(DATASET_TAG, ""),
    )
    return card(
        candidate.name,
        candidate.variant,
        origin,
        candidate.params,
        candidate.measured,
        candidate.verdict.checks,
        run if PICTURES_TAG in tags else None,
    )
