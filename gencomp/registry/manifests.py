"""What a model was trained on, as a run tells it: the manifest of the shards, never the pictures themselves."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

PRIVATE_SOURCES = ("cityscapes",)
"""Sources whose pictures may not be passed on, and so never become artifacts of a tracking server."""
LARGEST_MANIFEST = 1 << 26
"""Bytes; a larger one, of millions of images, is not uploaded: its digest and counts tell which one it was."""
CONTEXT = {"mlflow.data.context": "training"}


def shareable(kind: str, shards: Path) -> bool:
    """Whether the pictures of shards from a kind of source may be passed on, by that and by what their manifest tells
    of licences. Raises OSError without one."""
    return kind not in PRIVATE_SOURCES and not json.loads((shards / "manifest.json").read_bytes()).get("reserved")


class TrainingData(NamedTuple):
    """The shards of one dataset."""

    name: str
    shards: Path
    """Folder with `manifest.json`, relative to the checkout."""
    shareable: bool = True
    """Whether its pictures may be passed on."""

    @property
    def manifest(self) -> Path:
        """The manifest's file."""
        return self.shards / "manifest.json"

    def digest(self) -> str:
        """SHA-256 (hex) of the manifest, which holds the hashes of all shards. Raises OSError without one."""
        return hashlib.sha256(self.manifest.read_bytes()).hexdigest()


def log_data(client: "MlflowClient", run: str, data: TrainingData) -> None:
    """Log the manifest to a run once: as an input, and as the artifact `data/<name>/manifest.json`.

    The input's profile has the counts by split; its digest are the first 32 digits of the manifest's.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    digest = data.digest()
    known = client.get_run(run).inputs
    if known is not None and any(one.dataset.digest == digest[:32] for one in known.dataset_inputs):
        return
    if data.manifest.stat().st_size <= LARGEST_MANIFEST:
        client.log_artifact(run, str(data.manifest), f"data/{data.name}")
    dataset = Dataset(
        name=data.name,
        digest=digest[:32],
        source_type="local",
        source=json.dumps({"uri": data.shards.as_posix()}),
        profile=json.dumps(_profile(data.manifest), sort_keys=True),
    )
    client.log_inputs(run, [DatasetInput(dataset, [InputTag(key, value) for key, value in CONTEXT.items()])])


def samples(manifest: Path) -> dict[str, int]:
    """How many samples each split of a shard folder's manifest has."""
    splits = json.loads(manifest.read_text())["splits"]
    return {name: int(split["samples"]) for name, split in splits.items()}


def _profile(manifest: Path) -> dict[str, object]:
    known = json.loads(manifest.read_text())
    splits = {
        name: {"samples": split["samples"], "shards": len(split["shards"])} for name, split in known["splits"].items()
    }
    return {"splits": splits} | {name: known[name] for name in ("counts", "classes", "recipe") if name in known}
