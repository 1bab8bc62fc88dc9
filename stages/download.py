"""Fetch a dataset: `python -m stages.download <dataset>`."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from gencomp.data import sample
from gencomp.data.cityscapes import Cityscapes
from gencomp.data.cityscapes_account import Account
from gencomp.data.dataset import (
    CityscapesSource,
    DatasetConfig,
    FolderSource,
    LicensedSource,
    ListSource,
    OpenImagesSource,
    SampleSource,
    TarSource,
)
from gencomp.data.dataset import Source as SourceConfig
from gencomp.data.download import download
from gencomp.data.failure import DataError
from gencomp.data.fetch import Fetcher
from gencomp.data.folder import Folder
from gencomp.data.listed import Listed
from gencomp.data.openimages import OpenImages, mirror
from gencomp.data.partitions import fresh, publish, resume_key
from gencomp.data.remotes import public_remotes
from gencomp.data.request import Request, Source
from gencomp.data.tars import Tars
from gencomp.data.terms import reserved
from stages.entry import StageError, params, run
from stages.scratch import scratch

CITYSCAPES_TERMS = "Cityscapes terms of use: non-commercial, no redistribution"
SCENE_TERMS = "CC0-1.0"
"""The sample's street scenes are generated."""


def main(dataset: str) -> None:
    """Fetch every image of a dataset into data/raw/<dataset>/, with an outcome and a reason for each."""
    config = params(DatasetConfig, "datasets", dataset)
    vet = _guard(config.source)
    what = (config.source, config.subset, config.shard_samples, config.maximum_megabytes, config.maximum_megapixels)
    key = resume_key(dataset.encode(), msgspec.json.encode(what, order="sorted"))
    try:
        with scratch("download", key) as folder, Fetcher() as fetcher:
            source = open_source(config.source, fetcher, folder)
            publish(download(dataset, config, source, folder, vet), Path("data/raw") / dataset)
            shutil.rmtree(folder)
    except DataError as error:
        raise StageError(str(error)) from None


def _guard(source: SourceConfig) -> Callable[[Request], None]:
    """What raises StageError for an image that may not be passed on, in a checkout that may pass it on; for Cityscapes,
    that is raised before anything is listed."""
    if not isinstance(source, LicensedSource) or source.remotes_are_private:
        return lambda _: None
    found = public_remotes(Path(".dvc"))

    def refuse(what: str) -> None:
        raise StageError(
            f"{what} may not be passed on, and DVC remote {', '.join(found)} looks public; remove it, or set "
            "remotes_are_private: true in the source if nobody else can read it"
        )

    def vet(request: Request) -> None:
        if found and reserved(request.license):
            refuse(f"{request.id} ({request.license})")

    if found and isinstance(source, CityscapesSource):
        refuse("Cityscapes")
    return vet


def open_source(config: SourceConfig, fetcher: Fetcher, folder: Path) -> Source:
    """The source that a config describes; the sample is built in the scratch folder first."""
    match config:
        case SampleSource(layout="openimages"):
            return OpenImages(mirror(sample_root(config, folder)), fetcher, folder)
        case SampleSource():
            return Cityscapes(CityscapesSource(root=sample_root(config, folder)), fetcher, folder, SCENE_TERMS)
        case OpenImagesSource():
            return OpenImages(config, fetcher, folder)
        case CityscapesSource():
            return Cityscapes(config, fetcher, folder, CITYSCAPES_TERMS, account())
        case FolderSource():
            return Folder(config, fetcher)
        case TarSource():
            return Tars(config)
        case ListSource():
            return Listed(config, fetcher, folder)


def account() -> Account | None:
    """The Cityscapes account that the environment names, None where it names none."""
    username, password = (os.environ.get(f"CITYSCAPES_{part}") for part in ("USERNAME", "PASSWORD"))
    return Account(username, password) if username and password else None


def sample_root(config: SampleSource, folder: Path) -> str:
    """URL of the built sample; an interrupted run's is used again when it is complete."""
    root = folder / "sample"
    if not root.exists():
        unfinished = fresh(folder / "sample.unfinished")
        sample.build(unfinished, config.layout)
        unfinished.rename(root)
    return root.absolute().as_uri()


if __name__ == "__main__":
    run(main)
