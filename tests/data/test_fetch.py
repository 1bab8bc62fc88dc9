"""Fetching ends in the whole file, or in a reason."""

import base64
import contextlib
import email.utils
import gzip
import hashlib
import signal
import socket
import ssl
import subprocess
import sys
import time
import types
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from gencomp.data.failure import DataError, Rejected, Transient
from gencomp.data.fetch import Fetcher, Patience, local_path
from tests.data.answers import DRIPPED, OK, Answer, answer, drip, dripped, overlong, reset, truncated

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


@pytest.mark.parametrize("asked", ["1", "date"])
def test_a_server_is_left_alone_as_long_as_it_asks_for(server: Any, fetcher: Fetcher, asked: str) -> None:
    value = email.utils.formatdate(time.time() + 2, usegmt=True) if asked == "date" else asked
    server.answers["/a"] = [answer(429, b"busy", Retry_After=value), GOOD]
    start = time.monotonic()
    assert fetcher.read(f"{server.url}/a", 10**6) == BODY
    assert 0.9 < time.monotonic() - start < 4


def test_what_one_request_is_told_to_wait_holds_for_the_host(server: Any) -> None:
    server.answers["/busy"] = [answer(503, b"", Retry_After="1")]
    server.answers["/a"] = [GOOD]
    with Fetcher(attempts=1) as fetcher:
        assert reason(fetcher, f"{server.url}/busy") == "unreachable"
        start = time.monotonic()
        assert fetcher.read(f"{server.url}/a", 10**6) == BODY
        assert time.monotonic() - start > 0.9


@pytest.mark.parametrize("fault", [reset(BODY), truncated(BODY)])
def test_a_connection_that_breaks_in_the_body_is_asked_again(server: Any, fetcher: Fetcher, fault: Answer) -> None:
    server.answers["/a"] = [fault, (200, BODY, len(BODY))]
    assert fetcher.read(f"{server.url}/a", 10**6) == BODY
    assert server.asked == ["/a"] * 2


@pytest.mark.parametrize("kept", [False, True])
def test_bytes_beyond_the_stated_length_reach_no_other_file(server: Any, fetcher: Fetcher, kept: bool) -> None:
    """Also where the connection is kept and they come first when it is used again."""
    if kept:
        server.keep_connections()
    server.answers["/long"] = [overlong(BODY, bytes(20_000))]
    server.answers["/a"] = [GOOD]
    for _ in range(3):
        assert fetcher.read(f"{server.url}/long", 10**6) == BODY
        assert fetcher.read(f"{server.url}/a", 10**6) == BODY


def test_a_body_without_its_length_is_compared_with_the_known_one_and_asked_again(
    server: Any, fetcher: Fetcher
) -> None:
    def unstated(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(BODY[:5000])
        handler.close_connection = True

    server.answers["/a"] = [unstated, GOOD]
    assert fetcher.read(f"{server.url}/a", 10**6, length=len(BODY)) == BODY


def test_a_body_that_drips_is_too_slow(server: Any) -> None:
    server.answers["/a"] = [drip(BODY)]
    start = time.monotonic()
    with Fetcher(attempts=2, wait=0.01, timeout=0.5) as fetcher:
        assert reason(fetcher, f"{server.url}/a") == "too-slow"
    assert time.monotonic() - start < 4


@pytest.mark.parametrize("where", DRIPPED)
@pytest.mark.parametrize("secure", [False, True])
def test_what_drips_around_a_body_is_too_slow_and_harms_no_other_answer(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, secure: bool
) -> None:
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(server.behind(secured(tmp_path, monkeypatch))) if secure else server.url
        server.answers["/a"] = [dripped(DRIPPED[where]), GOOD]
        fetcher = stack.enter_context(Fetcher(attempts=1, timeout=0.3))
        start = time.monotonic()
        assert reason(fetcher, f"{url}/a") == "too-slow"
        assert time.monotonic() - start < 3
        assert fetcher.read(f"{url}/a", 10**6) == BODY


def test_a_proxy_that_drips_is_too_slow(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    server.answers["example.invalid:443"] = [dripped(b"HTTP/1.1 200 ")]
    start = time.monotonic()
    with Fetcher(attempts=1, timeout=0.5) as fetcher:
        assert reason(fetcher, "https://example.invalid/a") == "too-slow"
    assert time.monotonic() - start < 3


def test_a_silent_server_is_unreachable_and_one_that_takes_its_time_is_not(server: Any) -> None:
    def silent(_: BaseHTTPRequestHandler) -> None:
        time.sleep(1.5)

    def slowly(handler: BaseHTTPRequestHandler) -> None:
        for piece in (OK, b"Content-Length: 4\r\n", b"\r\n", b"ab", b"cd"):
            handler.wfile.write(piece)
            time.sleep(0.15)

    server.answers["/silent"], server.answers["/slow"] = [silent], [slowly]
    with Fetcher(attempts=1, timeout=0.5, slowest=1.0) as fetcher:
        assert reason(fetcher, f"{server.url}/silent") == "unreachable"
        assert fetcher.read(f"{server.url}/slow", 10**6) == b"abcd"


def test_redirects_lead_to_other_hosts_and_not_in_circles(server: Any, fetcher: Fetcher) -> None:
    other = server.url.replace("127.0.0.1", "localhost")
    server.answers["/a"] = [answer(302, b"", Location=f"{other}/b")]
    server.answers["/b"] = [GOOD]
    server.answers["/round"] = [answer(302, b"", Location="/round")]
    server.answers["/file"] = [answer(302, b"", Location="file:///etc/passwd")]
    assert fetcher.read(f"{server.url}/a", 10**6) == BODY
    assert reason(fetcher, f"{server.url}/round") == "refused"
    assert reason(fetcher, f"{server.url}/file") == "refused"


def secured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What makes a server one of TLS, whose certificate is trusted from here on."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_a_redirect_from_https_to_http_is_refused(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = secured(tmp_path, monkeypatch)
    server.answers["/a"] = [answer(302, b"", Location=f"{server.url}/b")]
    server.answers["/b"] = [GOOD]
    with server.behind(context) as url, Fetcher(attempts=1) as fetcher:
        assert fetcher.read(f"{url}/b", 10**6) == BODY
        assert reason(fetcher, f"{url}/a") == "refused"


def test_a_body_that_nobody_asked_to_be_packed_is_refused_unread(server: Any, fetcher: Fetcher) -> None:
    bomb = gzip.compress(bytes(100_000_000))
    server.answers["/a"] = [answer(200, bomb, Content_Encoding="gzip")]
    assert reason(fetcher, f"{server.url}/a") == "refused"


def test_a_file_goes_on_where_its_connection_broke(server: Any, fetcher: Fetcher, tmp_path: Path) -> None:
    server.answers["/a"] = [server.ranged(BODY, most=4000), server.ranged(BODY, most=4000), server.ranged(BODY)]
    fetcher.file(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert [headers.get("range") for headers in server.headers] == [None, "bytes=4000-", "bytes=8000-"]
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_file_that_has_changed_meanwhile_starts_again(server: Any, fetcher: Fetcher, tmp_path: Path) -> None:
    other = BODY[::-1]
    server.answers["/a"] = [server.ranged(BODY, most=4000), server.ranged(other, tag='"v2"')]
    fetcher.file(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == other


@pytest.mark.parametrize(
    "confused",
    [
        answer(416, b"", ETag='"v1"'),
        answer(206, BODY[3000:], ETag='"v1"', Content_Range=f"bytes 3000-{len(BODY) - 1}/{len(BODY)}"),
        answer(206, BODY[4000:-9], ETag='"v1"', Content_Range=f"bytes 4000-{len(BODY) - 10}/{len(BODY)}"),
        answer(206, BODY[4000:], ETag='"v1"'),
        answer(206, BODY[4000:], ETag='"v2"', Content_Range=f"bytes 4000-{len(BODY) - 1}/{len(BODY)}"),
    ],
)
def test_a_part_that_does_not_fit_is_never_joined(
    server: Any, fetcher: Fetcher, tmp_path: Path, confused: Answer
) -> None:
    server.answers["/a"] = [server.ranged(BODY, most=4000), confused, server.ranged(BODY)]
    fetcher.file(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_killed_process_leaves_no_file_and_its_bytes_are_not_asked_for_again(
    server: Any, fetcher: Fetcher, tmp_path: Path
) -> None:
    server.answers["/a"] = [server.ranged(BODY, pause=0.2), server.ranged(BODY)]
    code = "import sys, pathlib; from gencomp.data.fetch import Fetcher; "
    code += "Fetcher().file(sys.argv[1], pathlib.Path(sys.argv[2]))"
    process = subprocess.Popen([sys.executable, "-c", code, f"{server.url}/a", str(tmp_path / "a")])
    unfinished = tmp_path / ".a.unfinished"
    give_up = time.monotonic() + 60
    while not unfinished.exists() or not unfinished.stat().st_size:
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert not (tmp_path / "a").exists()
    arrived = unfinished.stat().st_size
    fetcher.file(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.headers[-1]["range"] == f"bytes={arrived}-"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_file_that_had_arrived_whole_is_not_asked_for_again(server: Any, fetcher: Fetcher, tmp_path: Path) -> None:
    """Killed between the last byte and the new name, or between that and the end of its note."""
    server.answers["/a"] = [answer(416, b"", Content_Range=f"bytes */{len(BODY)}")]
    (tmp_path / ".a.unfinished").write_bytes(BODY)
    (tmp_path / ".a.version").write_text('"v1"')
    fetcher.file(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    (tmp_path / ".a.version").write_text('"v1"')
    fetcher.file(f"{server.url}/a", tmp_path / "a")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"] and server.asked == ["/a"]


def test_a_version_that_no_header_can_carry_is_none(server: Any, fetcher: Fetcher, tmp_path: Path) -> None:
    server.answers["/a"] = [server.ranged(BODY, tag='"\xe9"', most=4000), server.ranged(BODY)]
    fetcher.file(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY and "range" not in server.headers[1]


def test_a_full_disk_is_an_error_of_the_disk_and_the_file_goes_on_later(
    server: Any, fetcher: Fetcher, tmp_path: Path
) -> None:
    """The size limit of a process stands for the disk's: both make a write fail after a part of it."""
    big = bytes(200_000)
    server.answers["/a"] = [server.ranged(big)]
    code = "import resource, signal, sys, pathlib; from gencomp.data.fetch import Fetcher; "
    code += "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (70000, 70000)); "
    code += "Fetcher().file(sys.argv[1], pathlib.Path(sys.argv[2]))"
    full = subprocess.run(
        [sys.executable, "-c", code, f"{server.url}/a", str(tmp_path / "a")], capture_output=True, text=True, timeout=60
    )
    assert "OSError: [Errno 27] File too large" in full.stderr
    assert not (tmp_path / "a").exists()
    fetcher.file(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == big
    assert server.headers[-1].get("range", "").startswith("bytes=")


def test_a_proxy_of_the_environment_is_asked_unless_a_host_is_excepted(
    server: Any, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = server.url.removeprefix("http://")
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for spelled in (name, name.upper()):
            monkeypatch.delenv(spelled, raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://ada:a%20secret@{address}")
    server.answers["http://example.invalid/a"] = server.answers["/b"] = [GOOD]
    assert fetcher.read("http://example.invalid/a", 10**6) == BODY
    assert server.headers[-1]["proxy-authorization"] == f"Basic {base64.b64encode(b'ada:a secret').decode()}"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert fetcher.read(f"{server.url}/b", 10**6) == BODY
    assert server.asked == ["http://example.invalid/a", "/b"] and "proxy-authorization" not in server.headers[-1]


def test_cookies_go_to_their_site_alone_and_those_of_answers_are_kept(server: Any) -> None:
    cookies = httpx.Cookies()
    cookies.set("session", "1", domain="127.0.0.1")
    server.answers["/a"] = [answer(302, b"", Location="/b", Set_Cookie="seen=2")]
    server.answers["/b"] = [answer(302, b"", Location=f"{server.url.replace('127.0.0.1', 'localhost')}/c")]
    server.answers["/c"] = [GOOD]
    with Fetcher(attempts=1, cookies=cookies.jar) as fetcher:
        assert fetcher.read(f"{server.url}/a", 10**6) == BODY
    sent = [sorted(headers.get("cookie", "").split("; ")) for headers in server.headers]
    assert sent == [["session=1"], ["seen=2", "session=1"], [""]]


def test_pauses_double_vary_end_at_two_minutes_and_are_never_shorter_than_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("gencomp.data.fetch.time", types.SimpleNamespace(sleep=slept.append))
    asked = [0.0] * 9

    def attempt() -> None:
        raise Transient("unreachable", pause=asked[len(slept)] if len(slept) < 9 else 0.0)

    def paused() -> list[float]:
        slept.clear()
        with pytest.raises(Transient):
            Patience(10, 1.0).ask(attempt)
        return list(slept)

    runs = [paused() for _ in range(20)]
    for run in runs:
        assert len(run) == 9
        for number, pause in enumerate(run):
            most = min(2.0**number, 120.0)
            assert most / 2 <= pause <= most
    assert all(len(set(pauses)) == 20 for pauses in zip(*runs, strict=True))
    asked[:3] = [30.0, 5.0, 1000.0]
    assert paused()[:3] == [30.0, 5.0, 120.0]
    slept.clear()
    assert Patience(1, 1.0).ask(lambda: 7) == 7 and not slept
