"""Register every variant's package once in the MLflow store of the environment, and promote what passed the gate."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from gencomp.config import convert
from gencomp.evaluation.commit import commit
from gencomp.evaluation.gate import Measured, Tolerances, Verdict
from gencomp.evaluation.held_out import EvaluationConfig, HeldOutImage, evaluation_images
from gencomp.registry.candidate import Candidate, Released, release
from gencomp.registry.manifests import TrainingData, shareable
from gencomp.registry.store import RegistryError, flatten, store_uri
from stages.entry import StageError, params, run

T = TypeVar("T")
LOCK = "dvc.lock"
"""Its changes make no commit dirty: a run changes it before it registers, and its digest is a tag of its own."""


class Source(msgspec.Struct, frozen=True):
    """Where a dataset comes from, so far as it matters here."""

    kind: str


class Dataset(msgspec.Struct, frozen=True):
    """An entry of `datasets`, so far as it matters here."""

    source: Source


class RegistryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How models are named and promoted."""

    prefix: str
    """A variant is registered as `<prefix>-<variant>`."""
    tolerances: Tolerances
    """How much worse than the champion a candidate may be."""


def main() -> None:
    """Find or register each variant by content, record its evaluation, and move `challenger` and `champion`."""
    config = params(RegistryConfig, "registry")
    variants = params(dict[str, dict[str, object]], "variants")
    sources = params(dict[str, Dataset], "datasets")
    made = commit(Path.cwd(), besides=[LOCK])
    candidates = [_candidate(variant, section, config.prefix, made, sources) for variant, section in variants.items()]
    try:
        for released in release(store_uri(), candidates, config.tolerances, _evaluate):
            print(_line(released))
    except RegistryError as error:
        raise StageError(str(error)) from None


def _candidate(
    variant: str, section: Mapping[str, object], prefix: str, made: str | None, sources: Mapping[str, Dataset]
) -> Candidate:
    dataset = str(section.get("dataset"))
    if dataset not in sources:
        raise StageError(f"params.yaml: variants.{variant} needs the dataset {dataset}: there are {', '.join(sources)}")
    data = TrainingData(dataset, Path("data/shards") / dataset)
    if not data.manifest.is_file():
        raise StageError(f"{data.manifest} is missing: run dvc repro")
    data = data._replace(shareable=shareable(sources[dataset].source.kind, data.shards))
    return Candidate(
        variant=variant,
        name=f"{prefix}-{variant}",
        package=Path(f"models/{variant}"),
        measured=_read(Path(f"metrics/{variant}.json"), Measured),
        verdict=_read(Path(f"gate/{variant}.json"), Verdict),
        params=flatten(section),
        history=Path(f"history/{variant}.csv"),
        tables={
            "metrics.json": Path(f"metrics/{variant}.json"),
            "rates.csv": Path("report/rates.csv"),
            "centers.csv": Path(f"history/{variant}-centers.csv"),
        },
        data=data,
        commit=made,
        lock=Path(LOCK),
        pictures=_pictures(data.shards),
        decoded=Path(f"evaluation/{variant}/decoded"),
    )


def _pictures(shards: Path) -> Iterator[HeldOutImage]:
    """Read when they are asked for."""
    yield from evaluation_images(params(EvaluationConfig, "evaluation"), shards)


def _line(released: Released) -> str:
    """What was done, in one line."""
    verb = "registered as" if released.new else "is"
    outcome = "; ".join([released.promotion.state, *released.promotion.reasons])
    return f"{released.candidate.variant}: {verb} {released.candidate.name} version {released.version}, {outcome}"


def _read(path: Path, cls: type[T]) -> T:
    try:
        return convert(json.loads(path.read_text()), cls, str(path))
    except FileNotFoundError:
        raise StageError(f"{path} is missing: run dvc repro") from None


def _evaluate(variant: str, package: Path) -> Measured:
    """A package on the current evaluation, in a process of its own. Raises RegistryError."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "evaluation"
        command = [sys.executable, "-m", "stages.evaluate", variant, "--package", str(package), "--output", str(output)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            raise RegistryError((finished.stderr.strip() or "no message").splitlines()[-1])
        return _read(output / "metrics.json", Measured)


if __name__ == "__main__":
    run(main)
