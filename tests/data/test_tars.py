"""Tars of images that other tools wrote, read in place."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds
from PIL import Image

from gencomp.data import manifest
from gencomp.data.archive import ArchiveError, read_samples
from gencomp.data.dataset import DatasetConfig, PlainSelection, Subset, TarSource
from gencomp.data.download import download
from gencomp.data.failure import DataError, Rejected
from gencomp.data.folder_labels import FolderLabels
from gencomp.data.manifest import RawManifest
from gencomp.data.semantics import write_semantics
from gencomp.data.shards import write_shards
from gencomp.data.tars import Tars
from tests.data.handmade import add_members

Make = Callable[..., bytes]
REST: Any = {"watch": "x", "subset": Subset(), "maximum_megabytes": 64, "maximum_megapixels": 1}


def source(root: Path, **fields: Any) -> TarSource:
    return TarSource(root=str(root), **{"validation_share": 0.3, **fields})


def write_raw_tar(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        add_members(tar, members)


@pytest.fixture
def written(tmp_path: Path, make_photo: Make) -> Path:
    """Two shards as img2dataset writes them: by WebDataset, with text and JSON beside each image."""
    root = tmp_path / "tars"
    root.mkdir()
    for shard in range(2):
        with wds.TarWriter(str(root / f"{shard:05}.tar")) as tar:
            for index in range(4):
                key = f"{shard:05}{index:04}"
                about = {"url": "https://example.org/a.jpg", "caption": f"Photo {index}", "license": "CC0-1.0"}
                about |= {"key": key, "status": "success", "author": None}
                photo = make_photo(4 * shard + index)
                tar.write({"__key__": key, "jpg": photo, "txt": f"Photo {index}", "json": json.dumps(about).encode()})
    return root


def test_every_image_is_asked_for_with_what_its_json_knows(written: Path, make_photo: Make) -> None:
    tars = Tars(source(written))
    found = tars.requests()
    assert [request.id for request in found] == [f"{s:05}.tar/{s:05}{i:04}.jpg" for s in range(2) for i in range(4)]
    assert {(request.license, request.author) for request in found} == {("CC0-1.0", None)}
    assert found[5].title == "Photo 1"
    assert tars.reader().read(found[5], 10**6) == make_photo(5)
    with pytest.raises(Rejected, match="too-large"):
        tars.reader().read(found[5], 10)
    assert {request.split for request in found} == {"train", "val"}


def test_tars_that_name_their_split_have_it(tmp_path: Path, make_photo: Make) -> None:
    for name in ("train-000000.tar", "val-000000.tar", "test/x.tar", "more.tar"):
        write_raw_tar(tmp_path / name, ("a.jpg", make_photo()))
    found = {request.id: request.split for request in Tars(source(tmp_path)).requests()}
    assert found == {
        "train-000000.tar/a.jpg": "train",
        "val-000000.tar/a.jpg": "val",
        "test/x.tar/a.jpg": "test",
        "more.tar/a.jpg": "train",
    }


def test_hidden_members_are_no_photographs(tmp_path: Path, make_photo: Make) -> None:
    write_raw_tar(tmp_path / "a.tar", ("x/a.jpg", make_photo()), ("x/._a.jpg", b"resource fork"))
    assert [request.id for request in Tars(source(tmp_path)).requests()] == ["a.tar/x/a.jpg"]


def test_odd_json_is_no_author_and_no_error(tmp_path: Path, make_photo: Make) -> None:
    write_raw_tar(
        tmp_path / "a.tar",
        ("a.jpg", make_photo()),
        ("a.json", b"{broken"),
        ("b.jpg", make_photo()),
        ("b.json", b'{"author": ["x"], "license": "", "caption": 5}'),
        ("c.jpg", make_photo()),
        ("c.json", b"[]"),
    )
    assert {(r.author, r.license, r.title) for r in Tars(source(tmp_path)).requests()} == {(None, None, None)}


def symbolic() -> tarfile.TarInfo:
    link = tarfile.TarInfo("a.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return link


@pytest.mark.parametrize(
    "members",
    [
        [("../a.jpg", b"x")],
        [("/a.jpg", b"x")],
        [("a.jpg", b"x"), ("a.jpg", b"y")],
        [symbolic()],
        [("caf\udce9.jpg", b"x")],
    ],
)
def test_hostile_tars_are_refused(tmp_path: Path, members: list[Any]) -> None:
    write_raw_tar(tmp_path / "a.tar", *members)
    with pytest.raises(ArchiveError, match="a.tar"):
        Tars(source(tmp_path)).requests()


def test_a_truncated_tar_and_none_at_all_are_named(tmp_path: Path, make_photo: Make) -> None:
    write_raw_tar(tmp_path / "a.tar", ("a.jpg", make_photo()), ("b.jpg", make_photo(1)))
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:2000])
    with pytest.raises(ArchiveError, match="a.tar"):
        Tars(source(tmp_path)).requests()
    damaged = bytearray(whole)
    damaged[whole.index(b"b.jpg") + 150] ^= 0xFF  # in the second header, which tarfile takes for the end
    (tmp_path / "a.tar").write_bytes(damaged)
    with pytest.raises(ArchiveError, match="damaged behind member 1"):
        Tars(source(tmp_path)).requests()
    (tmp_path / "a.tar").rename(tmp_path / "a.tar.gz")
    with pytest.raises(DataError, match="compressed tars"):
        Tars(source(tmp_path)).requests()


def built(config: DatasetConfig, tars: Tars, folder: Path) -> Path:
    raw = download("own", config, tars, folder / "raw")
    assert isinstance(config.source, TarSource)
    labeller = FolderLabels(config.source.classes, raw / "annotations") if config.source.classes else None
    semantics = write_semantics("own", raw, labeller, folder / "semantics")
    return write_shards("own", raw, semantics, config.selection, 10**6, folder / "shards")


def test_their_photographs_become_shards_with_licence_and_labels(tmp_path: Path, make_photo: Make) -> None:
    labels = io.BytesIO()
    Image.fromarray(np.repeat([[0, 1, 255]], 61, 0).repeat(31, 1).astype(np.uint8)).save(labels, "PNG")
    about = json.dumps({"license": "CC BY 4.0", "author": "Me"}).encode()
    write_raw_tar(
        tmp_path / "in" / "x.tar",
        *[("a.jpg", make_photo(0)), ("a.json", about), ("a.labels.png", labels.getvalue()), ("a.edges.png", b"")],
        *[("b.png", make_photo(1, form="PNG"))],
    )
    origin = source(tmp_path / "in", validation_share=0.0, classes=("sky", "ground"))
    config = DatasetConfig(
        source=origin, selection=PlainSelection(minimum_side=1), shard_samples=9, maximum_missing=0.0, **REST
    )
    out = built(config, Tars(origin), tmp_path / "one")
    found = {key: files for path in out.glob("*.tar") for key, files in read_samples(path)}
    assert sorted(sorted(files) for files in found.values()) == [
        ["edges.png", "jpg", "json", "labels.png"],
        ["json", "png"],
    ]
    sidecar = json.loads(next(files["json"] for files in found.values() if "jpg" in files))
    assert (sidecar["license"], sidecar["author"]) == ("CC BY 4.0", "Me")
    again = built(config, Tars(origin), tmp_path / "two")
    assert [path.read_bytes() for path in sorted(again.iterdir())] == [p.read_bytes() for p in sorted(out.iterdir())]


def test_our_own_shards_can_be_a_source(written: Path, tmp_path: Path) -> None:
    origin = source(written)
    config = DatasetConfig(
        source=origin, selection=PlainSelection(minimum_side=1), shard_samples=3, maximum_missing=0.0, **REST
    )
    shards = built(config, Tars(origin), tmp_path / "one")
    second = source(shards)
    raw = download("own", config, Tars(second), tmp_path / "two")
    items = manifest.read(raw / "manifest.json", RawManifest).items
    first = manifest.read(tmp_path / "one" / "raw" / "out" / "manifest.json", RawManifest).items
    assert sorted((i.split, i.sha256, i.license, i.outcome) for i in items) == sorted(
        (i.split, i.sha256, i.license, i.outcome) for i in first
    )
