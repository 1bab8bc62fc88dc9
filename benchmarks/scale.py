"""What an image costs as its dataset grows: small JPEGs out of a local bucket, through stages `download` and `shard`.

The cost is a slope: the seconds that a larger dataset takes more than a smaller one, over the images that it has more,
so that what a stage takes to start is in none. Memory is the most that all processes of a stage hold at once, shared
pages counted once (PSS); `memory per image` is its slope, of the lists and manifests that a stage holds whole.
"""

import itertools
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from benchmarks.ingest import REPOSITORY, Run, timed
from benchmarks.photographs import jpegs
from benchmarks.rows import Bar, Row, arguments, compared, finish, measured, say

WIDTH, HEIGHT = 96, 64
LONGER_SIDE = 64
DISTINCT = 100
"""Different files behind the names."""
STAGES = ("download", "shard")
COUNTS, PER_SHARD = (1_000, 10_000, 100_000), 500
QUICK_COUNTS, QUICK_PER_SHARD = (200, 1_000, 3_000), 100
NEAR = Bar("<=", 1.1)
"""Of the cost, or of the memory, of the smaller dataset."""


def main() -> int:
    args = arguments("Times datasets of growing size.").parse_args()
    counts, per_shard = (QUICK_COUNTS, QUICK_PER_SHARD) if args.quick else (COUNTS, PER_SHARD)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        ids = fill(root / "bucket", max(counts))
        runs = {count: take(root, ids[:count], per_shard) for count in counts}
        return finish(list(rows(runs)), args.json)


def fill(bucket: Path, images: int) -> list[str]:
    """Write a bucket of so many names, of a few files; the ids."""
    (bucket / "files").mkdir(parents=True)
    files = [bucket / "files" / f"{number}.jpg" for number in range(DISTINCT)]
    for path, data in zip(files, jpegs(DISTINCT, WIDTH, HEIGHT), strict=True):
        path.write_bytes(data)
    ids = [f"{number:06x}" for number in range(images)]
    for id, path in zip(ids, itertools.cycle(files)):
        os.link(path, bucket / f"{id}.jpg")
    return ids


def take(root: Path, ids: Sequence[str], per_shard: int) -> dict[str, Run]:
    """What each stage takes for these images, by its name."""
    folder = root / str(len(ids))
    folder.mkdir()
    (folder / "list.csv").write_text("\n".join(["ImageID,Subset", *(f"{id},train" for id in ids), ""]))
    dataset = {
        "source": {
            "kind": "openimages",
            "image_lists": ["list.csv"],
            "images": f"{root / 'bucket'}/{{id}}.jpg",
            "checksums": False,
        },
        "selection": {
            **{"recipe": "paper", "longer_side": LONGER_SIDE, "minimum_downscale": 1.0, "minimum_side": 1},
            **{"jpeg_quality": 95, "maximum_saturation": 1.0, "maximum_brightness": 1.0},
        },
        "shard_samples": per_shard,
        "maximum_missing": 0.0,
        "maximum_megabytes": 1,
        "maximum_megapixels": 1,
        "subset": {},
        "watch": "list.csv",
    }
    (folder / "params.yaml").write_text(yaml.safe_dump({"datasets": {"b": dataset}}))
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "GENCOMP_WORKERS": "2"}
    runs = {}
    for stage in ("download", "semantics", "shard"):
        say(f"{stage}, {len(ids):,} images")
        runs[stage] = timed([sys.executable, "-m", f"stages.{stage}", "b"], folder, environment)
    assert len(list((folder / "data/shards/b").glob("*.tar"))) == -(-len(ids) // per_shard)
    return runs


def rows(runs: dict[int, dict[str, Run]]) -> Iterator[Row]:
    """Cost and memory of each stage as the count grows; `runs` from the smallest to the largest."""
    least, *_, most = runs
    for stage in STAGES:
        taken = {count: found[stage] for count, found in runs.items()}
        reference: Row | None = None
        for small, large in itertools.pairwise(taken):
            name = f"{stage}: per image, {small:,} to {large:,}"
            slope = (taken[large].seconds - taken[small].seconds) / (large - small) * 1e3
            row = compared(name, slope, "ms", reference, NEAR) if reference else measured(name, slope, "ms")
            reference = reference or row
            yield row
        memory = measured(f"{stage}: memory, {least:,}", taken[least].peak, "MB")
        yield memory
        yield compared(f"{stage}: memory, {most:,}", taken[most].peak, "MB", memory, NEAR)
        slope = (taken[most].peak - taken[least].peak) / (most - least) * 1e3
        yield measured(f"{stage}: memory per image", slope, "kB")


if __name__ == "__main__":
    sys.exit(main())
