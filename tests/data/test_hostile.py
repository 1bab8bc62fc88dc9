"""Hostile archives of annotations end a stage in a line that names them, with nothing written outside."""

import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from gencomp.data.archive import write_zip
from gencomp.data.openimages import mirror
from stages import download, semantics
from stages.entry import StageError
from tests.data.conftest import mask

Hostile = Callable[[zipfile.ZipFile], None]
Project = Callable[[dict[str, Any]], None]


def leading_out(archive: zipfile.ZipFile) -> None:
    archive.writestr("../../../escaped.png", mask((0, 0, 9, 9)))


def absolute(archive: zipfile.ZipFile) -> None:
    archive.writestr("/tmp/gencomp-escaped.png", mask((0, 0, 9, 9)))


def link(archive: zipfile.ZipFile) -> None:
    entry = zipfile.ZipInfo("link.png")
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(entry, "/etc/passwd")


def twice(archive: zipfile.ZipFile) -> None:
    for _ in range(2):
        archive.writestr("again.png", mask((0, 0, 9, 9)))


def bomb(archive: zipfile.ZipFile) -> None:
    archive.writestr("bomb.png", bytes(3_000_000), zipfile.ZIP_DEFLATED)


HOSTILE = [
    *[(leading_out, "leads out"), (absolute, "leads out"), (link, "no plain file"), (twice, "twice")],
    (bomb, "unpacks to 3000000 bytes"),
]


def spoilt(path: Path, hostile: Hostile) -> None:
    """Add a hostile member to a good archive."""
    with zipfile.ZipFile(path, "a") as archive:
        hostile(archive)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """What makes a folder, two levels down, the checkout of the dataset `own` with a source."""
    checkout = tmp_path / "deep" / "checkout"
    checkout.mkdir(parents=True)
    monkeypatch.chdir(checkout)

    def write(source: dict[str, Any]) -> None:
        own = {
            "source": source,
            "selection": {"recipe": "none", "minimum_side": 1},
            **{"shard_samples": 9, "maximum_missing": 0.0, "maximum_megabytes": 64, "maximum_megapixels": 1},
            **{"subset": {}, "watch": "params.yaml"},
        }
        Path("params.yaml").write_text(yaml.safe_dump({"datasets": {"own": own}}))

    return write


def refused(stage: Any, problem: str, root: Path) -> None:
    """A stage ends with the problem, in one line, and with the files outside the scratch folder that there were."""

    def there() -> dict[str, bytes]:
        files = (path for path in root.rglob("*") if path.is_file() and ".scratch" not in path.parts)
        return {str(path): path.read_bytes() for path in files}

    before = there()
    with pytest.raises(StageError, match=problem) as error:
        stage.main("own")
    assert "\n" not in str(error.value) and ".zip" in str(error.value)
    assert there() == before and not Path("/tmp/gencomp-escaped.png").exists()
    assert not [path for path in Path(".scratch").rglob("*") if path.is_symlink() or "escaped" in path.name]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("hostile", "problem"), HOSTILE)
def test_a_hostile_archive_of_masks_is_refused(
    bucket: Any, tmp_path: Path, project: Project, hostile: Hostile, problem: str
) -> None:
    bucket.add("0a")
    bucket.add_mask("0a", "/m/cat", "b", mask((10, 10, 50, 40)))
    project(msgspec.to_builtins(mirror(bucket.write())))
    spoilt(bucket.root / "annotations/train-masks-0.zip", hostile)
    download.main("own")
    refused(semantics, rf"train-masks-0\.zip: member .* {problem}", tmp_path)
    assert not Path("data/semantics").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("hostile", "problem"), HOSTILE)
def test_a_hostile_archive_of_label_maps_is_refused_by_either_stage(
    tmp_path: Path, scenes: dict[str, bytes], project: Project, hostile: Hostile, problem: str
) -> None:
    root = tmp_path / "set"
    for folder in ("leftImg8bit", "gtFine"):
        write_zip(root / f"{folder}_trainvaltest.zip", sorted(i for i in scenes.items() if i[0].startswith(folder)))
    project({"kind": "cityscapes", "root": str(root)})
    download.main("own")
    kept = Path("data/raw/own/annotations/gtFine_trainvaltest.zip")
    spoilt(kept, hostile)
    refused(semantics, rf"gtFine_trainvaltest\.zip: member .* {problem}", tmp_path)
    assert not Path("data/semantics").exists()
    shutil.copy(kept, root)
    shutil.rmtree("data")
    refused(download, rf"gtFine_trainvaltest\.zip: member .* {problem}", tmp_path)
    assert not Path("data").exists()


def test_a_mask_archive_that_is_no_archive_is_refused(bucket: Any, tmp_path: Path, project: Project) -> None:
    bucket.add("0a")
    bucket.add_mask("0a", "/m/cat", "b", mask((10, 10, 50, 40)))
    project(msgspec.to_builtins(mirror(bucket.write())))
    (bucket.root / "annotations/train-masks-0.zip").write_bytes(b"<html>sorry</html>")
    download.main("own")
    refused(semantics, r"train-masks-0\.zip: File is not a zip file", tmp_path)
