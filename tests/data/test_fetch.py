"""Fetching ends in the whole file, or in a reason."""

import base64
import hashlib
import socket
from pathlib import Path
from typing import Any

import pytest

from gencomp.data.failure import DataError, Rejected
from gencomp.data.fetch import Fetcher, local_path

BODY = bytes(range(256)) * 41
GOOD = (200, BODY, len(BODY))


@pytest.fixture
def fetcher() -> Any:
    with Fetcher(attempts=3, wait=0.01, timeout=5) as open_fetcher:
        yield open_fetcher


def reason(fetcher: Fetcher, url: str, limit: int = 10**6, **known: Any) -> str:
    with pytest.raises(Rejected) as error:
        fetcher.read(url, limit, **known)
    return error.value.reason


def test_a_busy_server_is_asked_again_and_then_answers(server: Any, fetcher: Fetcher) -> None:
    server.answers["/a"] = [(503, b"", 0), (429, b"busy", 4), GOOD]
    assert fetcher.read(f"{server.url}/a", 10**6) == BODY
    assert server.asked == ["/a"] * 3


def test_a_missing_file_is_asked_for_once(server: Any, fetcher: Fetcher) -> None:
    assert reason(fetcher, f"{server.url}/gone") == "missing"
    server.answers["/secret"] = [(403, b"", 0)]
    assert reason(fetcher, f"{server.url}/secret") == "missing"
    assert server.asked == ["/gone", "/secret"]


def test_a_truncated_body_is_fetched_again_and_never_mixed_with_the_next(server: Any, fetcher: Fetcher) -> None:
    server.answers["/a"] = [(200, BODY[:5000], len(BODY)), GOOD]
    assert fetcher.read(f"{server.url}/a", 10**6) == BODY


def test_a_body_that_stays_truncated_leaves_no_file(server: Any, fetcher: Fetcher, tmp_path: Path) -> None:
    server.answers["/a"] = [(200, BODY[:5000], len(BODY))]
    assert reason(fetcher, f"{server.url}/a") == "wrong-length"
    with pytest.raises(Rejected, match="wrong-length"):
        fetcher.file(f"{server.url}/a", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    assert len(server.asked) == 6


def test_a_server_that_stays_busy_or_refuses_has_its_reason(server: Any, fetcher: Fetcher) -> None:
    server.answers["/busy"] = [(500, b"", 0)]
    server.answers["/login"] = [(401, b"", 0)]
    assert reason(fetcher, f"{server.url}/busy") == "unreachable"
    assert reason(fetcher, f"{server.url}/login") == "refused"
    assert server.asked == ["/busy"] * 3 + ["/login"]


def test_nobody_listening_is_unreachable(fetcher: Fetcher) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert reason(fetcher, f"http://127.0.0.1:{taken.getsockname()[1]}/a") == "unreachable"


def test_a_file_above_the_limit_is_refused_by_its_stated_and_by_its_real_size(
    server: Any, fetcher: Fetcher, tmp_path: Path
) -> None:
    server.answers["/a"] = [GOOD]
    (tmp_path / "a").write_bytes(BODY)
    for url in (f"{server.url}/a", (tmp_path / "a").as_uri()):
        assert reason(fetcher, url, len(BODY) - 1) == "too-large"
        assert fetcher.read(url, len(BODY)) == BODY


def test_length_and_checksum_are_compared_where_they_are_known(fetcher: Fetcher, tmp_path: Path) -> None:
    path = tmp_path / "a b%c.jpg"
    path.write_bytes(BODY)
    md5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()
    assert fetcher.read(path.as_uri(), 10**6, length=len(BODY), md5=md5) == BODY
    assert reason(fetcher, path.as_uri(), length=len(BODY) + 1) == "wrong-length"
    assert reason(fetcher, path.as_uri(), md5=md5[::-1]) == "checksum"


def test_local_paths_and_file_urls_are_read_and_folders_are_missing(fetcher: Fetcher, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    assert fetcher.read(str(tmp_path / "a"), 10) == fetcher.read((tmp_path / "a").as_uri(), 10) == b"1"
    assert reason(fetcher, str(tmp_path)) == reason(fetcher, str(tmp_path / "a" / "b")) == "missing"


@pytest.mark.parametrize("url", ["ftp://host/a", "s3://bucket/a", "file://otherhost/a"])
def test_other_schemes_are_refused_by_name(url: str) -> None:
    with pytest.raises(DataError, match=url):
        local_path(url)


def test_a_remote_file_that_is_there_is_not_asked_for_again(server: Any, fetcher: Fetcher, tmp_path: Path) -> None:
    server.answers["/a"] = [GOOD]
    for _ in range(2):
        fetcher.required(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.asked == ["/a"]
