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
    SegmentationNetwork,
    TarSource,
)
from gencomp.data.dataset import Source as SourceConfig
from gencomp.data.failure import DataError
from gencomp.data.folder_labels import FolderLabels
from gencomp.data.labelmap import Annotations, Segmentation
from gencomp.data.manifest import RawItem
from gencomp.data.openimages_labels import OpenImagesLabels
from gencomp.data.partitions import publish, resume_key
from gencomp.data.semantics import write_semantics
from stages.entry import StageError, params, run
from stages.scratch import scratch


def main(dataset: str) -> None:
    """Make a label map and an edge map per image of data/raw/<dataset>/ that is annotated, or that a segmentation
    network is named for, in data/semantics/<dataset>/."""
    config = params(DatasetConfig, "datasets", dataset)
    raw = Path("data/raw") / dataset
    try:
        source = manifest.digest(raw / "manifest.json")
        how = msgspec.json.encode((config.source, config.pseudo_labels), order="sorted")
        with scratch("semantics", resume_key(how, source.encode())) as folder:
            annotations = open_annotations(config.source, raw)
            segmentation = open_segmentation(config.pseudo_labels, annotations)
            publish(write_semantics(dataset, raw, annotations, folder, segmentation), Path("data/semantics") / dataset)
            shutil.rmtree(folder)
    except DataError as error:
        raise StageError(str(error)) from None


def open_annotations(config: SourceConfig, raw: Path) -> Annotations | None:
    """The annotations of a dataset, None where it has none."""
    annotations = raw / "annotations"
    match config:
        case OpenImagesSource(masks=None) | FolderSource(classes=()) | TarSource(classes=()) | ListSource():
            return None
        case OpenImagesSource() | SampleSource(layout="openimages"):
            return OpenImagesLabels(annotations, manifest.read_rows(raw / "manifest.json", RawItem, "items"))
        case CityscapesSource() | SampleSource():
            return CityscapesLabels(annotations)
        case FolderSource() | TarSource():
            return FolderLabels(config.classes, annotations)


def open_segmentation(config: SegmentationNetwork | None, annotations: Annotations | None) -> Segmentation | None:
    """What draws label maps for images without annotations, None where no network is named."""
    if config is None:
        return None
    from gencomp.data.segmentation import segmenter  # nothing of it is loaded where no network is named

    return segmenter(config, annotations.table if annotations else None)


if __name__ == "__main__":
    run(main)
