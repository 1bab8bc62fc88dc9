"""The same bytes by any number of workers, also when they die."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest

from gencomp.data import manifest
from gencomp.data.cityscapes import Cityscapes
from gencomp.data.cityscapes_labels import CityscapesLabels
from gencomp.data.dataset import CityscapesSource, DatasetConfig, PlainSelection, Subset, TarSource
from gencomp.data.download import download
from gencomp.data.failure import DataError
from gencomp.data.fetch import Fetcher
from gencomp.data.manifest import RawManifest
from gencomp.data.openimages import OpenImages, mirror
from gencomp.data.openimages_labels import OpenImagesLabels
from gencomp.data.request import Source
from gencomp.data.semantics import write_semantics
from gencomp.data.shards import write_shards
from gencomp.data.tars import Tars
from gencomp.data.workers import _SETTINGS, at_once, results, worker_count

IMAGES = 40


@pytest.fixture
def pictures(bucket: Any, make_mask: Callable[..., bytes], make_photo: Callable[..., bytes]) -> Any:
    """A bucket with masks for every second image, and two images that cannot be used."""
    for index in range(IMAGES):
        bucket.add(f"{index % 16:x}{index:04x}")
        if index % 2:
            bucket.add_mask(f"{index % 16:x}{index:04x}", "/m/cat", "b", make_mask((index, 5, index + 20, 50)))
    bucket.add("0dead", make_photo(1)[:-700])
    bucket.add("1dead")
    (bucket.root / "train" / "1dead.jpg").unlink()
    bucket.write()
    return bucket


@pytest.fixture(autouse=True)
def at_once_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gencomp.data.partitions.FEW", 0)


def config(source: Any, **fields: Any) -> DatasetConfig:
    known = {"shard_samples": 3, "maximum_missing": 0.1, "watch": "x", "subset": Subset(), "maximum_megabytes": 1}
    return DatasetConfig(
        source=source, selection=PlainSelection(minimum_side=1), **(known | {"maximum_megapixels": 1} | fields)
    )


def raw_of(source: Source, settings: DatasetConfig, scratch: Path) -> Path:
    return download("photos", settings, source, scratch / "raw")


def pipeline(url: str, scratch: Path) -> dict[str, bytes]:
    """Every file that the data stages make of a bucket."""
    with Fetcher(attempts=2, wait=0.01) as fetcher:
        raw = raw_of(OpenImages(mirror(url), fetcher, scratch), config(mirror(url)), scratch)
    items = manifest.read(raw / "manifest.json", RawManifest).items
    semantics = write_semantics("photos", raw, OpenImagesLabels(raw / "annotations", items), scratch / "semantics")
    shards = write_shards("photos", raw, semantics, PlainSelection(minimum_side=1), 10**6, scratch / "shards")
    return contents(raw) | contents(semantics) | contents(shards)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        f"{folder.parent.name}/{path.relative_to(folder)}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_one_two_and_eight_workers_write_the_same_bytes(
    pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made = []
    for count in (1, 2, 8):
        monkeypatch.setenv("GENCOMP_WORKERS", str(count))
        made.append(pipeline(pictures.root.as_uri(), tmp_path / str(count)))
        told = capfd.readouterr().err
        assert ("Dask: http://127.0.0.1" in told) == (count > 1)
        assert "download photos: 42 images" in told and "2 rejected" in told
    assert made[0] == made[1] == made[2]
    tars = Counter(name.partition("/")[0] for name in made[0] if name.endswith(".tar"))
    assert tars == {"raw": 14, "semantics": 13, "shards": 14}  # three images in a row have no masks


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """The address of a Dask scheduler with one worker, both processes of their own."""
    note = tmp_path / "scheduler.json"
    shared = {"env": os.environ | {"DASK_LOGGING__DISTRIBUTED": "error"}, "cwd": tmp_path}
    command = [sys.executable, "-m", "distributed.cli.dask_{}", "--scheduler-file", str(note)]
    ends = {"scheduler": ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"], "worker": ["--nthreads", "2"]}
    started = [
        subprocess.Popen([part.format(end) for part in command] + arguments, **shared)  # type: ignore[call-overload]
        for end, arguments in ends.items()
    ]
    for _ in range(600):
        if note.exists() and note.read_text().strip():
            break
        time.sleep(0.05)
    yield json.loads(note.read_text())["address"]
    for process in reversed(started):
        process.terminate()
        process.wait(20)


def test_a_scheduler_elsewhere_is_used_where_it_is_named(
    pictures: Any, tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = pipeline(pictures.root.as_uri(), tmp_path / "alone")
    with dask.config.set({"scheduler-address": scheduler}):
        assert pipeline(pictures.root.as_uri(), tmp_path / "cluster") == alone
        assert dict(results({"pid": os.getpid}, tmp_path, print))["pid"] != os.getpid()


def test_a_scheduler_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    settings = {"scheduler-address": "tcp://127.0.0.1:1", "distributed.comm.timeouts.connect": "1s"}
    refused = pytest.raises(DataError, match=r"Dask scheduler tcp://127\.0\.0\.1:1: ")
    with dask.config.set(settings), refused:
        list(results({"pid": os.getpid}, tmp_path, print))


@pytest.mark.timeout(400)
def test_workers_killed_twenty_times_at_random_change_nothing(
    pictures: Any, tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = pipeline(pictures.root.as_uri(), tmp_path / "alone")
    killed: list[int] = []
    work_is_done = threading.Event()

    def answer(data: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
        def slowly(handler: BaseHTTPRequestHandler) -> None:
            if len(killed) < 20:
                time.sleep(0.5)
            server.send(handler, 200, data, len(data))

        return slowly

    for path in pictures.root.rglob("*"):
        if path.is_file():
            place = f"/{path.relative_to(pictures.root)}"
            data = path.read_bytes()
            server.answers[place] = [answer(data)] if path.suffix == ".jpg" else [(200, data, len(data))]

    def kill() -> None:
        draw = random.Random(1)
        while len(killed) < 20 and not work_is_done.wait(draw.uniform(0, 0.5)):
            alive = [process for process in psutil.Process().children(recursive=True) if _is_worker(process)]
            if alive and sum(path.endswith(".jpg") for path in list(server.asked)) > 3:  # the cluster has begun
                victim = draw.choice(alive)
                os.kill(victim.pid, signal.SIGKILL)
                killed.append(victim.pid)

    monkeypatch.setenv("GENCOMP_WORKERS", "2")
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        made = pipeline(server.url, tmp_path / "killed")
    finally:
        work_is_done.set()
        killer.join()
    assert len(killed) == 20
    assert made == alone


def _is_worker(process: psutil.Process) -> bool:
    try:
        return any("spawn_main" in part for part in process.cmdline())
    except psutil.Error:
        return False


STARTER = """
import functools, time
from pathlib import Path
from gencomp.data import workers
if __name__ == "__main__":
    list(workers.results(dict.fromkeys("abcdef", functools.partial(time.sleep, 1.0)), Path("."), print))
"""


def test_workers_end_with_a_stage_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "starter.py").write_text(STARTER)
    environment = os.environ | {"GENCOMP_WORKERS": "2", "PYTHONPATH": os.getcwd()}
    with subprocess.Popen(
        [sys.executable, "starter.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE
    ) as stage:
        assert stage.stdout is not None and b"Dask: http" in stage.stdout.readline()
        started = psutil.Process(stage.pid).children(recursive=True)
        assert sum(_is_worker(process) for process in started) == 2
        stage.kill()
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive


def test_work_that_kills_its_workers_is_given_up_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_SETTINGS, "distributed.scheduler.allowed-failures", 1)
    monkeypatch.setenv("GENCOMP_WORKERS", "2")
    work = {"fine": os.getpid, "poison": _die}
    with pytest.raises(DataError, match="poison: its workers die again and again"):
        list(results(work, tmp_path, print))


def _die() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_an_error_of_the_work_comes_through_as_it_is(
    pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENCOMP_WORKERS", "2")
    url = pictures.root.as_uri()
    with Fetcher() as fetcher, pytest.raises(DataError, match=r"photos: \d of 42 images cannot be used \("):
        raw_of(OpenImages(mirror(url), fetcher, tmp_path), config(mirror(url), maximum_missing=0.0), tmp_path)


def test_sources_and_annotations_reach_other_processes(
    tmp_path: Path, scenes: dict[str, bytes], shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "scenes"
    for name, data in scenes.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    made = []
    for count in (1, 2):
        monkeypatch.setenv("GENCOMP_WORKERS", str(count))
        scratch = tmp_path / str(count)
        streets = Cityscapes(CityscapesSource(root=str(root)), Fetcher(), scratch, "terms")
        raw = raw_of(streets, config(CityscapesSource(root=str(root)), shard_samples=1), scratch)
        maps = write_semantics("streets", raw, CityscapesLabels(raw / "annotations"), scratch / "semantics")
        source = TarSource(root=str(shards), validation_share=0.5)
        tars = raw_of(Tars(source), config(source, shard_samples=2), tmp_path / f"tars-{count}")
        made.append([*contents(raw).values(), *contents(maps).values(), *contents(tars).values()])
    assert sorted(made[0]) == sorted(made[1]) and len(made[0]) > 12


def test_workers_share_the_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENCOMP_WORKERS", "2")
    found = dict(results({str(number): at_once for number in range(5)}, tmp_path, print))
    assert found == {str(number): 2 for number in range(5)}


@pytest.fixture
def counted(pictures: Any, server: Any) -> list[int]:
    """The bucket behind the server; how many images are being asked for whenever one is."""
    busy: list[int] = []
    under_way, lock = [0], threading.Lock()

    def answer(data: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
        def slowly(handler: BaseHTTPRequestHandler) -> None:
            with lock:
                under_way[0] += 1
                busy.append(under_way[0])
            time.sleep(0.03)
            with lock:
                under_way[0] -= 1
            server.send(handler, 200, data, len(data))

        return slowly

    for path in pictures.root.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            place = f"/{path.relative_to(pictures.root)}"
            server.answers[place] = [answer(data) if path.suffix == ".jpg" else (200, data, len(data))]
    return busy


def fetched(url: str, scratch: Path, connections: int) -> dict[str, bytes]:
    with Fetcher(attempts=2, wait=0.01) as fetcher:
        settings = config(mirror(url), connections=connections)
        return contents(raw_of(OpenImages(mirror(url), fetcher, scratch), settings, scratch))


def test_more_workers_than_connections_ask_for_no_more_images_at_once(
    counted: list[int], pictures: Any, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = fetched(pictures.root.as_uri(), tmp_path / "alone", 8)
    monkeypatch.setenv("GENCOMP_WORKERS", "3")
    assert fetched(server.url, tmp_path / "workers", 2) == alone
    assert max(counted) == 2 and len(counted) == IMAGES + 1


def test_a_scheduler_with_more_threads_than_connections_gets_no_more_work_at_once(
    counted: list[int], pictures: Any, server: Any, tmp_path: Path, scheduler: str
) -> None:
    alone = fetched(pictures.root.as_uri(), tmp_path / "alone", 8)
    with dask.config.set({"scheduler-address": scheduler}):
        assert fetched(server.url, tmp_path / "cluster", 1) == alone
        assert set(counted) == {1} and len(counted) == IMAGES + 1
        counted.clear()
        assert fetched(server.url, tmp_path / "again", 3) == alone
    assert 2 <= max(counted) <= 3


def test_little_work_starts_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENCOMP_WORKERS", "2")
    said: list[str] = []
    work = dict.fromkeys("abcd", os.getpid)
    assert set(dict(results(work, tmp_path, said.append, here=True)).values()) == {os.getpid()}
    assert not said
    assert os.getpid() not in dict(results(work, tmp_path, said.append)).values()
    assert len(said) == 1


def test_the_number_of_workers_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENCOMP_WORKERS", "3")
    assert worker_count() == 3
    for wrong in ("0", "-1", "many"):
        monkeypatch.setenv("GENCOMP_WORKERS", wrong)
        with pytest.raises(DataError, match=f"GENCOMP_WORKERS={wrong} is no number"):
            worker_count()
