"""From a URL to bytes or a file: `file://`, local paths, `http(s)://`; bounded in size, retried when it may help."""

import base64
import email.utils
import functools
import hashlib
import http.client
import io
import os
import random
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import Request, getproxies, proxy_bypass, url2pathname

import httpx
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, IncompleteRead

from gencomp.data.atomic import replacing
from gencomp.data.failure import DataError, Rejected, Transient
from gencomp.data.watchdog import TICK, Watch

X = TypeVar("X")
ARCHIVE_LIMIT = 64_000_000_000
"""Most bytes of an archive or a table."""
GONE = frozenset({403, 404, 410})
"""Answers that mean that a file is not there; S3 says 403 to those who may not list the bucket."""
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may change when asked again."""
TRANSIENT = frozenset({"unreachable", "wrong-length", "too-slow"})
"""Reasons that another attempt may remove."""
MOVED = frozenset({301, 302, 303, 307, 308})
"""Answers that say where the file is."""
CHUNK = 1 << 20
ARRIVING = 1 << 18
"""Most bytes that are taken from a connection at once; what has arrived is taken whenever there is any."""
HOSTS, IDLE = 32, 64
"""Hosts to which connections are kept, and how many to each."""
REDIRECTS = 10
"""Most redirects from a URL to its file."""
LONGEST_PAUSE = 120.0
"""Most seconds between two attempts, whatever the server asks for."""


class Patience(NamedTuple):
    """How often something is asked for, and `wait` seconds after the first attempt, doubling, with jitter."""

    attempts: int
    wait: float

    def ask(self, attempt: Callable[[], X]) -> X:
        """What an attempt returns; what the last one raises, where all raise Transient."""
        for number in range(self.attempts - 1):
            try:
                return attempt()
            except Transient as failure:
                pause = min(self.wait * 2**number, LONGEST_PAUSE) * random.uniform(0.5, 1)
                time.sleep(max(pause, min(failure.pause, LONGEST_PAUSE)))
        return attempt()


def local_path(url: str) -> Path | None:
    """The path that a `file://` URL or a plain path means; None for `http(s)://`. Raises DataError for the rest."""
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        return None
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(url2pathname(parts.path))
    if "://" in url:
        raise DataError(f"{url}: only file://, http:// and https:// URLs and local paths can be fetched")
    return Path(url)


def check_known(data: bytes, length: int | None, md5: str | None) -> None:
    """Compare an image with its bytes and its MD5 (base64), where they are known. Raises Rejected."""
    if length is not None and len(data) != length:
        raise Transient("wrong-length", f"{len(data)} bytes, {length} expected")
    if md5 is not None and base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode() != md5:
        raise Rejected("checksum")


class Fetcher:
    """Fetches over connections that it keeps, from any number of threads; `attempts` per URL, `wait` seconds after the
    first, doubling, with jitter, and longer where a server asks for it, which then holds for all requests to its host.

    `timeout`: seconds for a connection, for the head of an answer, and for each silence of a server; in each span of so
    many seconds, a body has to arrive at `slowest` bytes per second or more. `cookies`: those of a session; they stay
    in this process.

    Raises Rejected: `missing`, `refused`, `too-large`, `checksum`, and `unreachable`, `wrong-length` or `too-slow`
    after the last attempt.
    """

    def __init__(
        self,
        *,
        attempts: int = 5,
        wait: float = 1.0,
        timeout: float = 60.0,
        slowest: float = 1000.0,
        cookies: CookieJar | None = None,
    ) -> None:
        self.patience = Patience(attempts, wait)
        self._timeout = timeout
        self._slowest = slowest
        self._cookies = cookies
        self._connections = _Connections(timeout)
        self._not_before: dict[str, float] = {}
        """By host, the time of the monotonic clock at which it wants to be asked again."""

    def __reduce__(self) -> tuple[Callable[..., "Fetcher"], tuple[int, float, float, float]]:
        # Another process has connections of its own, the same ones for everything that is sent to it.
        return _fetcher, (*self.patience, self._timeout, self._slowest)

    def __enter__(self) -> "Fetcher":
        return self

    def __exit__(self, *_: object) -> None:
        self._connections.close()

    def read(self, url: str, limit: int, *, length: int | None = None, md5: str | None = None) -> bytes:
        """The content of a URL; `length` in bytes and `md5` in base64 are compared where they are known."""

        def check() -> None:
            check_known(pieces.joined(), length, md5)

        pieces = _Pieces()
        path = local_path(url)
        if path is not None:
            _copy_local(path, limit, pieces)
            check()
        else:
            self._copy(url, limit, _Arriving(pieces), check)
        return pieces.joined()

    def file(self, url: str, target: Path, limit: int = ARCHIVE_LIMIT) -> None:
        """The content of a URL as a file that appears complete; a remote one that is there already is not asked for.

        What arrived of a remote file before an interruption, even of the process, is not asked for again where the
        server tells versions of its files apart.
        """
        path = local_path(url)
        if path is not None:
            with replacing(target) as temporary, temporary.open("wb") as out:
                return _copy_local(path, limit, out)
        unfinished, note = (target.with_name(f".{target.name}.{end}") for end in ("unfinished", "version"))
        if target.exists():
            return note.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("r+b" if unfinished.exists() else "w+b") as out:
                self._copy(url, limit, _Arriving(out, note))
            os.replace(unfinished, target)
        except Rejected as error:
            if error.reason not in TRANSIENT or not note.exists():
                unfinished.unlink()
                note.unlink(missing_ok=True)
            raise
        note.unlink(missing_ok=True)

    def size(self, url: str) -> int | None:
        """Bytes of a file, as the disk or its server states them when asked once; None where it does not."""
        path = local_path(url)
        if path is not None:
            return path.stat().st_size if path.is_file() else None
        try:
            with self._answer(url, {}, "HEAD") as (_, response):
                stated = response.headers.get("Content-Length", "") if response.status == 200 else ""
        except (Rejected, HTTPError, http.client.HTTPException, ValueError):
            return None
        return int(stated) if stated.isdecimal() else None

    def required(self, url: str, target: Path) -> None:
        """A file without which a source cannot be used. Raises DataError."""
        try:
            self.file(url, target)
        except Rejected as error:
            raise DataError(f"{url}: {error}") from None

    def local(self, url: str, cached: Path) -> Path:
        """A file to read in place: the local one that the URL means, or `cached`, fetched. Raises DataError."""
        path = local_path(url)
        if path is None:
            self.required(url, cached)
        return path or cached

    def _copy(self, url: str, limit: int, out: "_Arriving", check: Callable[[], None] = lambda: None) -> None:
        def attempt() -> None:
            self._copy_once(url, limit, out)
            out.checked(check)

        self.patience.ask(attempt)

    def _copy_once(self, url: str, limit: int, out: "_Arriving") -> None:
        try:
            with self._answer(url, out.request_headers()) as (at, response):
                self._check_status(at, response)
                out.begin(response)
                if out.complete:
                    return
                if out.size + int(response.headers.get("Content-Length", 0)) > limit:
                    raise Rejected("too-large", f"{response.headers['Content-Length']} bytes, above {limit}")
                self._copy_body(response, limit, out)
        except (HTTPError, http.client.HTTPException, ValueError) as error:
            ended = any(isinstance(argument, IncompleteRead) for argument in error.args)
            detail = str(error) or type(error).__name__
            raise Transient("wrong-length" if ended and out.size else "unreachable", detail) from None
        if out.expected is not None and out.size != out.expected:
            raise Transient("wrong-length", f"{out.size} bytes, {out.expected} expected")

    @contextmanager
    def _answer(
        self, url: str, headers: dict[str, str], method: str = "GET"
    ) -> Iterator[tuple[str, urllib3.BaseHTTPResponse]]:
        """URL and answer at the end of the redirects, none of whose bodies is read. Raises Rejected: `refused`."""
        for _ in range(REDIRECTS):
            self._await_turn(urlsplit(url).netloc)
            response = self._asked(url, headers, method)
            try:
                target = response.headers.get("Location") if response.status in MOVED else None
                if target is None:
                    yield url, response
                    return
                target = urljoin(url, target)
                scheme = urlsplit(target).scheme
                if scheme != "https" and (scheme, urlsplit(url).scheme) != ("http", "http"):
                    raise Rejected("refused", f"a redirect to {target}")
                url = target
            finally:
                response.close()  # its connection too, unless the body was read to the end
        raise Rejected("refused", f"more than {REDIRECTS} redirects")

    def _asked(self, url: str, headers: dict[str, str], method: str) -> urllib3.BaseHTTPResponse:
        headers = {"Accept-Encoding": "identity", "User-Agent": "gencomp", **headers}
        if self._cookies is None:
            return self._connections.ask(method, url, headers)
        request = Request(url)
        self._cookies.add_cookie_header(request)
        response = self._connections.ask(method, url, headers | dict(request.header_items()))
        self._cookies.extract_cookies(response, request)  # type: ignore[arg-type]  # of which it wants info()
        return response

    def _await_turn(self, host: str) -> None:
        while (left := self._not_before.get(host, 0.0) - time.monotonic()) > 0:
            time.sleep(left)

    def _check_status(self, url: str, response: urllib3.BaseHTTPResponse) -> None:
        status = response.status
        if status in GONE:
            raise Rejected("missing", f"HTTP {status}")
        if status in BUSY:
            host, pause = urlsplit(url).netloc, asked_pause(response.headers.get("Retry-After", ""))
            until = time.monotonic() + min(pause, LONGEST_PAUSE)
            self._not_before[host] = max(until, self._not_before.get(host, 0.0))
            raise Transient("unreachable", f"HTTP {status}")
        if status not in (200, 206, 416):
            raise Rejected("refused", f"HTTP {status}")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":  # decoding has no bounds, and nobody asked for it
            raise Rejected("refused", f"Content-Encoding {encoding}")

    def _copy_body(self, response: urllib3.BaseHTTPResponse, limit: int, out: "_Arriving") -> None:
        start, before = time.monotonic(), out.size
        # What lies between the bytes of a body, such as the lengths of its chunks, may drip too. A body may be silent
        # when its span is nearly over.
        with Watch(response.shutdown, 2 * self._timeout + TICK) as watch:
            while chunk := response.read1(ARRIVING, decode_content=False):
                out.write(chunk)
                if out.size > limit:
                    raise Rejected("too-large", f"above {limit} bytes")
                seconds = time.monotonic() - start
                if seconds > self._timeout:
                    if out.size - before < self._slowest * seconds:
                        raise Transient("too-slow", f"{out.size - before} bytes in {seconds:.0f} s")
                    start, before = time.monotonic(), out.size
                    watch.again()


@functools.lru_cache
def _fetcher(attempts: int, wait: float, timeout: float, slowest: float) -> Fetcher:
    return Fetcher(attempts=attempts, wait=wait, timeout=timeout, slowest=slowest)


class _Connections:
    """What is kept of connections, straight to hosts or by the proxies that the environment names. Certificates are
    those of certifi, or of SSL_CERT_FILE or SSL_CERT_DIR."""

    def __init__(self, timeout: float) -> None:
        self._options: dict[str, Any] = {
            "num_pools": HOSTS,
            "maxsize": IDLE,
            "timeout": timeout,
            "retries": False,
            "ssl_context": httpx.create_ssl_context(),
        }
        self._managers: dict[str | None, urllib3.PoolManager] = {}
        """By the proxy that they go by."""
        self._proxies: dict[tuple[str, str], str | None] = {}
        """By scheme and host: going through the environment takes as long as half a request."""
        self._making = threading.Lock()

    def ask(self, method: str, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """The answer, redirect or not, of which the head is read."""
        parts = urlsplit(url)
        origin = parts.scheme, parts.hostname or ""
        if origin not in self._proxies:
            self._proxies[origin] = _proxy(*origin)
        manager = self._manager(self._proxies[origin])
        return manager.request(method, url, headers=headers, redirect=False, preload_content=False)

    def close(self) -> None:
        """Close those that are kept."""
        for manager in self._managers.values():
            manager.clear()

    def _manager(self, proxy: str | None) -> urllib3.PoolManager:
        with self._making:
            if proxy not in self._managers:
                self._managers[proxy] = self._made(proxy)
            return self._managers[proxy]

    def _made(self, proxy: str | None) -> urllib3.PoolManager:
        manager = self._by_proxy(proxy) if proxy else urllib3.PoolManager(**self._options)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
        return manager

    def _by_proxy(self, proxy: str) -> urllib3.ProxyManager:
        parts = urllib3.util.parse_url(proxy)
        headers = urllib3.util.make_headers(proxy_basic_auth=unquote(parts.auth) if parts.auth else None)
        return urllib3.ProxyManager(proxy, proxy_headers=headers, **self._options)


class _Timed(HTTPConnection):
    """A connection on which the head of an answer, and of a proxy's answer to CONNECT, has its time as a whole."""

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as of urllib3's own
        with self._watched():
            return super().getresponse()

    def _tunnel(self) -> None:
        with self._watched():
            super()._tunnel()

    def _watched(self) -> Watch:
        assert isinstance(self.timeout, int | float)
        return Watch(self._cut, self.timeout + TICK)  # of a server that is silent, the socket tells first

    def _cut(self) -> None:
        if self.sock is not None:
            getattr(self.sock, "socket", self.sock).shutdown(socket.SHUT_RDWR)  # TLS within a proxy's TLS has one


class _TimedTLS(_Timed, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Timed


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TimedTLS


def _proxy(scheme: str, host: str) -> str | None:
    """URL of the proxy to a host that the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) or the system
    wants."""
    proxies = getproxies()
    found = proxies.get(scheme) or proxies.get("all")
    return found if found and not proxy_bypass(host) else None


class _Target(Protocol):
    """Where bytes go: a file, or memory."""

    def write(self, data: bytes, /) -> int: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def truncate(self) -> int: ...


class _Pieces:
    """What arrives in memory. An `io.BytesIO` would copy all that it has whenever it grows."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Put bytes behind the others; how many."""
        self._pieces.append(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """The end, or the beginning if `truncate` comes next."""
        return 0 if whence == io.SEEK_SET else sum(map(len, self._pieces))

    def truncate(self) -> int:
        """Forget everything."""
        self._pieces.clear()
        return 0

    def joined(self) -> bytes:
        """All bytes."""
        self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]


class _Arriving:
    """What has arrived of a file, and which version of it, kept in the file `note` where one is named."""

    def __init__(self, out: _Target, note: Path | None = None) -> None:
        self._out = out
        self._note = note
        self._version = note.read_text() if note is not None and note.exists() else ""
        self.size = out.seek(0, io.SEEK_END)
        """Bytes so far."""
        self.expected: int | None = None
        """Bytes of the whole file, where the server has said so."""

    def request_headers(self) -> dict[str, str]:
        """What asks for the rest of a version that has begun to arrive."""
        return {"Range": f"bytes={self.size}-", "If-Range": self._version} if self.size and self._version else {}

    def begin(self, response: urllib3.BaseHTTPResponse) -> None:
        """Take up a response: the rest, or all from the start. Raises Transient for a part that does not fit on."""
        version = _version(response)
        if response.status == 200:
            return self.restart(version)
        part = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", response.headers.get("Content-Range", ""))
        other = version not in ("", self._version)
        missing = response.status == 416 and part is not None and int(part[2]) != self.size
        if part is None or other or missing or (response.status == 206 and part[1] != str(self.size)):
            self.restart()
            raise Transient("wrong-length", "another part than the one that was asked for")
        self.expected = int(part[2])

    @property
    def complete(self) -> bool:
        """Whether the size is the one that the server has said."""
        return self.expected is not None and self.size == self.expected

    def checked(self, check: Callable[[], None]) -> None:
        """Call `check`, and forget all bytes where it raises Rejected."""
        try:
            check()
        except Rejected:
            self.restart()
            raise

    def write(self, chunk: bytes) -> None:
        self.size += self._out.write(chunk)

    def restart(self, version: str = "") -> None:
        """Forget all bytes; what comes next is of this version."""
        self._out.seek(0)
        self._out.truncate()
        self.size, self.expected, self._version = 0, None, version
        if self._note is not None:
            self._note.unlink(missing_ok=True)
            if version:
                self._note.write_text(version)


def _copy_local(path: Path, limit: int, out: _Target) -> None:
    try:
        size = path.stat().st_size
        if size > limit:
            raise Rejected("too-large", f"{size} bytes, above {limit}")
        with path.open("rb") as file:
            shutil.copyfileobj(file, out, CHUNK)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise Rejected("missing") from None


def asked_pause(value: str) -> float:
    """Seconds of a Retry-After, a number or a date; 0 for neither."""
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def _version(response: urllib3.BaseHTTPResponse) -> str:
    """What tells versions of a file apart: its ETag if that is a strong one, or its time; nothing without either."""
    etag = response.headers.get("ETag", "")
    version: str = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
    return version if version.isascii() else ""
