"""Make the training shards of a dataset: `python -m stages.shard <dataset>`."""

import shutil
from pathlib import Path

import msgspec

from gencomp.data import manifest
from gencomp.data.dataset import DatasetConfig
from gencomp.data.failure import DataError
from gencomp.data.partitions import publish, resume_key
from gencomp.data.shards import write_shards
from stages.entry import StageError, params, run
from stages.scratch import scratch


def main(dataset: str) -> None:
    """Select and resize the images of data/raw/<dataset>/, with their label maps, into data/shards/<dataset>/."""
    config = params(DatasetConfig, "datasets", dataset)
    raw, semantics = Path("data/raw") / dataset, Path("data/semantics") / dataset
    try:
        found = (manifest.digest(folder / "manifest.json").encode() for folder in (raw, semantics))
        how = msgspec.json.encode((config.selection, config.maximum_megapixels), order="sorted")
        key = resume_key(how, *found)
        with scratch("shard", key) as folder:
            pixels = config.maximum_megapixels * 10**6
            out = write_shards(dataset, raw, semantics, config.selection, pixels, folder)
            publish(out, Path("data/shards") / dataset)
            shutil.rmtree(folder)
    except DataError as error:
        raise StageError(str(error)) from None


if __name__ == "__main__":
    run(main)
