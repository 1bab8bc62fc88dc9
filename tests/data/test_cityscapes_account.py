"""Cityscapes by an account: the login, the packages, and no secret anywhere."""

import hashlib
import json
import socket
import struct
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests
from cityscapesscripts.download import downloader

from gencomp.data.archive import write_zip
from gencomp.data.cityscapes import Cityscapes
from gencomp.data.cityscapes_account import SITE, Account, fetch_package
from gencomp.data.dataset import CityscapesSource, DatasetConfig, PlainSelection, Subset
from gencomp.data.download import download
from gencomp.data.failure import DataError
from gencomp.data.fetch import Fetcher, Patience

SHORT = Patience(3, 0.01)
NAME, PASSWORD = "ada@example.org", "pass&word=1"
Answer = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A stand-in for the set's site on the loopback server: what its login and its packages answer."""

    def __init__(self, server: Any, packages: dict[str, bytes]) -> None:
        self.server = server
        listed = [
            {"name": name, "packageID": str(id), "size": f"{len(data) / 1024}KB", "thirdparty": "0"}
            for id, (name, data) in enumerate(packages.items(), 1)
        ]
        server.answers["/login"] = [self._login]
        server.answers["/downloads/?list"] = [self._for_members(json.dumps(listed).encode())]
        for id, data in enumerate(packages.values(), 1):
            md5 = f"{hashlib.md5(data).hexdigest()}  package.zip\n".encode()
            server.answers[f"/md5-sum/?packageID={id}"] = [self._for_members(md5)]
            server.answers[f"/file-handling/?packageID={id}"] = [self._for_members(data)]

    def _login(self, handler: BaseHTTPRequestHandler) -> None:
        form = parse_qs(handler.rfile.read(int(handler.headers.get("Content-Length", 0))).decode())
        known = form == {"username": [NAME], "password": [PASSWORD], "submit": ["Login"]}
        known = known and "session=new" in handler.headers.get("Cookie", "")
        handler.send_response(302 if known else 200)
        handler.send_header("Set-Cookie", f"session={'member' if known else 'new'}; Path=/; HttpOnly")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def _for_members(self, body: bytes) -> Answer:
        whole = self.server.ranged(body)

        def send(handler: BaseHTTPRequestHandler) -> None:
            if "session=member" in handler.headers.get("Cookie", ""):
                return whole(handler)
            handler.send_response(302)
            handler.send_header("Location", "/login")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        return send


@pytest.fixture
def packages(tmp_path: Path, scenes: dict[str, bytes]) -> dict[str, bytes]:
    found = {}
    for folder in ("leftImg8bit", "gtFine"):
        path = tmp_path / "published" / f"{folder}_trainvaltest.zip"
        write_zip(path, sorted(item for item in scenes.items() if item[0].startswith(folder)))
        found[path.name] = path.read_bytes()
    return found


def account(server: Any, password: str = PASSWORD) -> Account:
    return Account(NAME, password, server.url)


def run(root: Path, scratch: Path, who: Account | None) -> Path:
    source = CityscapesSource(root=str(root))
    rest: Any = {"watch": "x", "subset": Subset(), "maximum_megabytes": 64, "maximum_megapixels": 1}
    config = DatasetConfig(
        source=source, selection=PlainSelection(minimum_side=1), shard_samples=9, maximum_missing=0.0, **rest
    )
    with Fetcher(attempts=2, wait=0.01, timeout=5) as fetcher:
        return download("streets", config, Cityscapes(source, fetcher, scratch, "terms", who), scratch)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_an_account_brings_the_bytes_that_archives_give_once_and_leaves_no_secret(
    tmp_path: Path, server: Any, packages: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    Site(server, packages)
    server.sizes["/file-handling/?packageID=1"] = len(packages["leftImg8bit_trainvaltest.zip"])
    (tmp_path / "root").mkdir()
    out = run(tmp_path / "root", tmp_path / "one", account(server))
    told = capfd.readouterr().err
    assert "Cityscapes: leftImg8bit_trainvaltest.zip to fetch, " in told and "gtFine_trainvaltest.zip to" not in told
    assert contents(tmp_path / "root") == dict(sorted(packages.items()))
    by_hand = run(tmp_path / "published", tmp_path / "two", None)
    assert contents(out) == contents(by_hand)
    server.asked.clear()
    run(tmp_path / "root", tmp_path / "three", account(server))
    assert server.asked == []
    written = b"".join(data for data in contents(tmp_path).values()) + "".join((told, *capfd.readouterr())).encode()
    assert not any(secret.encode() in written for secret in (NAME, PASSWORD, "session=member"))
    assert NAME not in repr(account(server)) and PASSWORD not in repr(account(server))


def test_the_stand_in_serves_csdownload_itself(
    tmp_path: Path, server: Any, packages: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the requests above are those of the real site's own client."""

    class Loopback(requests.Session):
        def request(self, method: str, url: str, *rest: Any, **options: Any) -> requests.Response:  # type: ignore[override]
            return super().request(method, url.replace(SITE, server.url), *rest, timeout=20, **options)

    Site(server, packages)
    monkeypatch.setattr(downloader.requests, "Session", Loopback)
    monkeypatch.setattr(downloader.appdirs, "user_data_dir", lambda *_: str(tmp_path / "nowhere"))
    monkeypatch.setattr(downloader, "input", lambda question: NAME if "username" in question else "n")
    monkeypatch.setattr(downloader.getpass, "getpass", lambda _: PASSWORD)
    (tmp_path / "fetched").mkdir()
    downloader.download_packages(
        session=downloader.login(), package_names=list(packages), destination_path=str(tmp_path / "fetched")
    )
    assert contents(tmp_path / "fetched") == dict(sorted(packages.items()))
    theirs = sorted(server.asked)
    server.asked.clear()
    fetch_package(account(server), "gtFine_trainvaltest.zip", tmp_path / "ours.zip", SHORT)
    assert set(server.asked) <= set(theirs) and len(server.asked) == 5


def test_absent_and_wrong_credentials_and_a_package_that_is_not_offered_are_one_line(
    tmp_path: Path, server: Any, packages: dict[str, bytes]
) -> None:
    Site(server, packages)
    (tmp_path / "root").mkdir()
    for who, problem in (
        (None, "neither leftImg8bit_trainvaltest.zip nor .* set CITYSCAPES_USERNAME and CITYSCAPES_PASSWORD"),
        (account(server, "guess"), "does not know the account; check CITYSCAPES_USERNAME and CITYSCAPES_PASSWORD"),
    ):
        with pytest.raises(DataError, match=problem) as error:
            run(tmp_path / "root", tmp_path / "scratch", who)
        assert "\n" not in str(error.value) and NAME not in str(error.value) and "guess" not in str(error.value)
    with pytest.raises(DataError, match="gtCoarse.zip: not among the packages"):
        fetch_package(account(server), "gtCoarse.zip", tmp_path / "root" / "gtCoarse.zip", SHORT)
    assert not list((tmp_path / "root").iterdir())


def test_a_broken_connection_goes_on_and_another_file_than_stated_is_not_kept(
    tmp_path: Path, server: Any, packages: dict[str, bytes]
) -> None:
    name = "leftImg8bit_trainvaltest.zip"
    Site(server, packages)
    path = "/file-handling/?packageID=1"
    server.answers[path].insert(0, server.ranged(packages[name], most=2000, reset=True))
    fetch_package(account(server), name, tmp_path / name, SHORT)
    assert (tmp_path / name).read_bytes() == packages[name]
    ranges = [h.get("range") for asked, h in zip(server.asked, server.headers, strict=True) if asked == path]
    assert ranges[0] is None and ranges[1] is not None
    (tmp_path / name).unlink()
    server.answers[path] = [(200, b"<html>log in</html>", 19)]
    with pytest.raises(DataError, match=f"{name}: .* MD5"):
        fetch_package(account(server), name, tmp_path / name, SHORT)
    assert not [found for found in tmp_path.iterdir() if name in found.name]


def test_a_login_is_tried_again_after_resets_and_answers_of_a_busy_site(
    tmp_path: Path, server: Any, packages: dict[str, bytes]
) -> None:
    def reset(handler: BaseHTTPRequestHandler) -> None:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()

    Site(server, packages)
    login, name = server.answers["/login"][0], "gtFine_trainvaltest.zip"
    server.answers["/login"] = [reset, (502, b"", 0), login, reset, (429, b"", 0), login]
    server.answers["/downloads/?list"].insert(0, (503, b"", 0))
    fetch_package(account(server), name, tmp_path / name, SHORT)
    assert (tmp_path / name).read_bytes() == packages[name]
    assert (server.asked.count("/login"), server.asked.count("/downloads/?list")) == (6, 2)


@pytest.mark.parametrize("status", [401, 403, None])
def test_refused_credentials_are_sent_once(
    tmp_path: Path, server: Any, packages: dict[str, bytes], status: int | None
) -> None:
    def refuse(handler: BaseHTTPRequestHandler) -> None:
        handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        server.send(handler, status, b"", 0)

    Site(server, packages)
    login = server.answers["/login"][0]
    server.answers["/login"] = [login, refuse if status else login]
    with pytest.raises(DataError, match=f"HTTP {status}" if status else "does not know the account"):
        fetch_package(account(server, "guess"), "gtFine_trainvaltest.zip", tmp_path / "a.zip", SHORT)
    assert server.asked == ["/login"] * 2


def test_a_site_that_is_down_or_speaks_another_language_is_named(
    tmp_path: Path, server: Any, packages: dict[str, bytes]
) -> None:
    target = tmp_path / "a.zip"
    for path, problem in (("/login", r"login: unreachable \(HTTP 503\)"), ("/downloads/?list", r"list: .*malformed")):
        Site(server, packages)
        server.answers[path] = [(503, b"", 0)] if path == "/login" else [(200, b"<html>", 6)]
        with pytest.raises(DataError, match=problem):
            fetch_package(account(server), "gtFine_trainvaltest.zip", target, SHORT)
    server.close()
    with pytest.raises(DataError, match="/login: "):
        fetch_package(account(server), "gtFine_trainvaltest.zip", target, SHORT)
