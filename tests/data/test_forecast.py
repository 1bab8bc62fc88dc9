"""What a big download will take is told once before it begins, and what cannot fit does not begin."""

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from gencomp.data import manifest
from gencomp.data.archive import write_tar
from gencomp.data.dataset import DatasetConfig, FolderSource, PlainSelection, Subset
from gencomp.data.download import download
from gencomp.data.failure import DataError
from gencomp.data.fetch import Fetcher
from gencomp.data.folder import Folder
from gencomp.data.forecast import Forecast, amount, forecast, foretell, in_tar, span
from gencomp.data.manifest import RawManifest
from gencomp.data.request import Request

Make = Callable[..., bytes]


def config(root: Path) -> DatasetConfig:
    return DatasetConfig(
        source=FolderSource(root=str(root), validation_share=0.0),
        selection=PlainSelection(minimum_side=1),
        **{"shard_samples": 300, "maximum_missing": 0.0, "watch": "x", "subset": Subset()},
        **{"maximum_megabytes": 64, "maximum_megapixels": 1},
    )


class Repeated(Folder):
    """A folder whose first photograph is listed many times."""

    def __init__(self, settings: DatasetConfig, count: int) -> None:
        assert isinstance(settings.source, FolderSource)
        super().__init__(settings.source, Fetcher())
        self._count = count

    def requests(self) -> list[Request]:
        place = super().requests()[0].place
        return [Request(id=str(n), key=str(n), split="train", place=place) for n in range(self._count)]

    def save_annotations(self, requests: Iterable[Request], folder: Path) -> None:
        pass


def said(text: str) -> list[str]:
    return [line for line in text.splitlines() if "to fetch" in line]


def test_a_big_download_is_told_once_and_comes_true(
    tmp_path: Path, make_photo: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    (root / "a.jpg").write_bytes(make_photo())
    out = download("many", config(root), Repeated(config(root), 120), tmp_path / "scratch")
    (line,) = said(capsys.readouterr().err)
    size = manifest.read(out / "manifest.json", RawManifest).parts[0].bytes
    found = re.fullmatch(
        r"download many: 120 images to fetch, about ([\d.]+) kB \(± [\d.]+ kB\) and 1 min; .* free", line
    )
    assert found and abs(float(found[1]) * 1000 - size) < 20_000
    download("few", config(root), Repeated(config(root), 100), tmp_path / "few")
    assert not said(capsys.readouterr().err)


def test_what_the_disk_clearly_cannot_hold_does_not_begin(tmp_path: Path, make_photo: Make) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    (root / "a.bmp").write_bytes(make_photo(form="BMP", width=1000, height=1000) + bytes(17_000_000))
    count = 2 * shutil.disk_usage(tmp_path).free // 20_000_000 + 101
    with pytest.raises(
        DataError, match=rf"big: {count:,} images take about .*free; make room, or ask for fewer"
    ) as error:
        download("big", config(root), Repeated(config(root), count), tmp_path / "scratch")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "scratch").rglob("*.tar*"))


def test_the_margin_holds_the_truth_for_most_samples_and_doubt_is_no_refusal(tmp_path: Path) -> None:
    sizes = [(index * 7919) % 1000 for index in range(5000)]
    found = forecast(len(sizes), sizes.__getitem__, int, 4, tmp_path)
    assert abs(found.bytes - sum(sizes)) < found.margin < sum(sizes)
    doubtful = Forecast(images=200, bytes=120.0, margin=30.0, seconds=1.0, free=100)
    assert doubtful.fits and "perhaps too little" in str(doubtful)
    assert not doubtful._replace(margin=10.0).fits
    assert "none of 24 sampled" in str(forecast(5000, int, lambda _: 0, 1, tmp_path))


def test_what_remote_files_take_is_told_and_what_the_disk_cannot_hold_is_not_fetched(
    tmp_path: Path, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "here.csv"
    here.write_bytes(b"there already")
    files = {tmp_path / name: f"{server.url}/{name}" for name in ("here.csv", "a.zip", "b.zip", "c.zip")}
    files[tmp_path / "local.zip"] = str(here)
    server.sizes |= {"/here.csv": 10**15, "/a.zip": 1_000_000, "/b.zip": 500_000}
    with Fetcher(attempts=1) as fetcher:
        foretell("object masks", files, fetcher)
        found = re.fullmatch(
            r"object masks: 3 files to fetch, 1\.5 MB and 1 of unknown size; [\d.,]+ [GT]B free\n",
            capsys.readouterr().err,
        )
        assert found
        server.sizes["/b.zip"] = 10**16
        with pytest.raises(DataError, match=r"object masks: 3 files of 10,000 TB to fetch, .* free; make room"):
            foretell("object masks", files, fetcher)
        foretell("object masks", {tmp_path / "c.zip": f"{server.url}/c.zip"}, fetcher)
    assert capsys.readouterr().err == "" and server.asked == []


def test_bytes_in_a_tar_are_those_of_a_tar(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("a", bytes(513)), ("b", bytes(512)), ("c", b"")])
    ends = 10_240
    assert (tmp_path / "a.tar").stat().st_size - (in_tar(513) + in_tar(512) + in_tar(0)) <= ends


def test_amounts_and_times_are_for_people() -> None:
    assert [amount(size) for size in (0, 999_000, 999_900, 1_250_000, 46e9, 1.2e12, 1e15)] == [
        *("0 kB", "999 kB", "1,000 kB", "1.25 MB", "46 GB", "1.2 TB", "1,000 TB")
    ]
    assert [span(seconds) for seconds in (1, 600, 4 * 3600, 10 * 86400)] == ["1 min", "10 min", "4 h", "10 days"]
