"""Lists of standard sets: every id on the list ends in the manifest with its outcome."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gencomp.data import manifest
from gencomp.data.archive import read_samples
from gencomp.data.dataset import DatasetConfig, ListSource, PlainSelection, Subset
from gencomp.data.download import download
from gencomp.data.failure import DataError
from gencomp.data.fetch import Fetcher
from gencomp.data.listed import Listed
from gencomp.data.manifest import RawManifest

Make = Callable[..., bytes]


def source(text: str, tmp_path: Path, **fields: Any) -> ListSource:
    (tmp_path / "list").write_bytes(text.encode())
    known = {"list": str(tmp_path / "list"), "images": str(tmp_path / "images"), "validation_share": 0.0}
    return ListSource(**{**known, **fields})


def run(origin: ListSource, scratch: Path) -> tuple[Path, RawManifest]:
    rest: Any = {"watch": "x", "subset": Subset(), "maximum_megabytes": 64, "maximum_megapixels": 1}
    config = DatasetConfig(
        source=origin, selection=PlainSelection(minimum_side=1), shard_samples=9, maximum_missing=1.0, **rest
    )
    with Fetcher(attempts=2, wait=0.01, timeout=5) as fetcher:
        out = download("listed", config, Listed(origin, fetcher, scratch), scratch)
    return out, manifest.read(out / "manifest.json", RawManifest)


@pytest.mark.parametrize("line_end", ["\n", "\r", "\r\n"])
def test_every_name_of_a_text_ends_in_the_manifest_with_its_outcome(
    tmp_path: Path, make_photo: Make, line_end: str
) -> None:
    names = ["a.png", "valid/b c.png", "gone.png", "broken.png", "../list", "/etc/passwd", "file:///etc/passwd"]
    for name in names[:2]:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(make_photo(len(name), form="PNG"))
    (tmp_path / "images" / "broken.png").write_bytes(make_photo(form="PNG")[:-900])
    text = line_end.join(["\ufeff" + names[0], "", *names, "  a.png ", ""])
    out, raw = run(source(text, tmp_path, license="CC0-1.0"), tmp_path / "scratch")
    bad = dict.fromkeys(names[4:], "bad-id")
    assert {item.id: item.reason for item in raw.items} == {
        **dict.fromkeys(names[:2]),
        **{"gone.png": "missing", "broken.png": "corrupt", **bad},
    }
    assert raw.source == "list" and {item.license for item in raw.items} == {"CC0-1.0"}
    files = dict(read_samples(out / raw.parts[0].name))
    assert files["valid-b-c-png"]["png"] == (tmp_path / "images" / names[1]).read_bytes()


def test_a_csv_names_links_and_splits(tmp_path: Path, make_photo: Make, server: Any) -> None:
    for index, name in enumerate(("a.tif", "b.tif")):
        data = make_photo(index, form="TIFF")
        server.answers[f"/{name}"] = [(200, data, len(data))]
    rows = [
        f"{index},{server.url}/{name},{split}" for index, name, split in ((1, "a.tif", "Train"), (2, "b.tif", "val"))
    ]
    text = "\n".join(["File,TIFF,Set", *rows, f"3,{server.url}/c.tif,test"])
    _, raw = run(source(text, tmp_path, column="TIFF", split_column="Set", images=""), tmp_path / "scratch")
    assert {item.id.rpartition("/")[2]: (item.split, item.reason) for item in raw.items} == {
        "a.tif": ("train", None),
        "b.tif": ("val", None),
        "c.tif": ("test", "missing"),
    }


@pytest.mark.parametrize(
    ("images", "place"),
    [
        ("clic", "clic/x/a b.png"),
        ("clic/", "clic/x/a b.png"),
        ("", ""),
        ("https://example.org/clic", "https://example.org/clic/x/a%20b.png"),
        ("https://example.org/{name}?size=full", "https://example.org/x/a%20b.png?size=full"),
    ],
)
def test_names_are_filled_into_a_folder_or_a_url(tmp_path: Path, images: str, place: str) -> None:
    with Fetcher() as fetcher:
        (found,) = Listed(source("x/a b.png", tmp_path, images=images), fetcher, tmp_path).requests()
    assert (found.id, found.place, found.split) == ("x/a b.png", place, "train")


def test_without_a_split_column_a_share_of_the_names_is_held_out(tmp_path: Path) -> None:
    origin = source("\n".join(f"{index}.png" for index in range(200)), tmp_path, validation_share=0.25)
    with Fetcher() as fetcher:
        found = Listed(origin, fetcher, tmp_path).requests()
    assert 30 < sum(request.split == "val" for request in found) < 70


def test_lists_that_cannot_be_used_are_named_in_one_line(tmp_path: Path) -> None:
    def requests(origin: ListSource) -> None:
        with Fetcher() as fetcher:
            Listed(origin, fetcher, tmp_path).requests()

    with pytest.raises(DataError, match="list: no column TIFF"):
        requests(source("File\na\n", tmp_path, column="TIFF"))
    with pytest.raises(DataError, match="list: split 'holiday'"):
        requests(source("name,split\na,holiday\n", tmp_path, column="name", split_column="split"))
    with pytest.raises(DataError, match="nowhere: no such file"):
        requests(source("", tmp_path, list=str(tmp_path / "nowhere")))
    with pytest.raises(msgspec.ValidationError, match="split_column needs column"):
        msgspec.convert({"list": "a", "images": "b", "validation_share": 0, "split_column": "c"}, ListSource)
