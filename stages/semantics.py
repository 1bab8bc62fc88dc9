"""Make the label maps of a dataset: `python -m stages.semantics <dataset>`."""

import shutil
from pathlib import Path

import msgspec

from gencomp.data import manifest
from gencomp.data.cityscapes_labels import CityscapesLabels
from gencomp.data.dataset import (
    CityscapesSource,
    DatasetConfig,
    FolderSource,
    ListSource,
    OpenImagesSource,
    SampleSource,
    TarSource,
)
from gencomp.data.dataset import Source as SourceConfig
from gencomp.data.failure import DataError
from gencomp.data.folder_labels import FolderLabels
from gencomp.data.labelmap import Annotations
from gencomp.data.manifest import RawManifest
from gencomp.data.openimages_labels import OpenImagesLabels
from gencomp.data.partitions import publish, resume_key
from gencomp.data.semantics import write_semantics
from stages.entry import StageError, params, run
from stages.scratch import scratch


def main(dataset: str) -> None:
    """Make a label map and an edge map per annotated image of data/raw/<dataset>/, in data/semantics/<dataset>/."""
    config = params(DatasetConfig, "datasets", dataset)
    raw = Path("data/raw") / dataset
    try:
        source = manifest.read(raw / "manifest.json", RawManifest)
        key = resume_key(msgspec.json.encode(config.source, order="sorted"), manifest.encode(source))
        with scratch("semantics", key) as folder:
            annotations = open_annotations(config.source, raw / "annotations", source)
            publish(write_semantics(dataset, raw, annotations, folder), Path("data/semantics") / dataset)
            shutil.rmtree(folder)
    except DataError as error:
        raise StageError(str(error)) from None


def open_annotations(config: SourceConfig, annotations: Path, source: RawManifest) -> Annotations | None:
    """The annotations of a dataset, None where it has none."""
    match config:
        case OpenImagesSource(masks=None) | FolderSource(classes=()) | TarSource(classes=()) | ListSource():
            return None
        case OpenImagesSource() | SampleSource(layout="openimages"):
            return OpenImagesLabels(annotations, source.items)
        case CityscapesSource() | SampleSource():
            return CityscapesLabels(annotations)
        case FolderSource() | TarSource():
            return FolderLabels(config.classes, annotations)


if __name__ == "__main__":
    run(main)
