"""From a URL to bytes or a file: `file://`, local paths, `http(s)://`; bounded in size, retried when it may help."""

import base64
import email.utils
import functools
import hashlib
import io
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx

from gencomp.data.atomic import replacing
from gencomp.data.failure import DataError, Rejected

X = TypeVar("X")
ARCHIVE_LIMIT = 64_000_000_000
"""Most bytes of an archive or a table."""
GONE = frozenset({403, 404, 410})
"""Answers that mean that a file is not there; S3 says 403 to those who may not list the bucket."""
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may change when asked again."""
TRANSIENT = frozenset({"unreachable", "wrong-length", "too-slow"})
"""Reasons that another attempt may remove."""
CHUNK = 1 << 20
REDIRECTS = 10
"""Most redirects from a URL to its file."""
LONGEST_PAUSE = 120.0
"""Most seconds between two attempts, whatever the server asks for."""


class Transient(Rejected):
    """A failure that another attempt may remove, after `pause` seconds where the server asks for them."""

    def __init__(self, reason: str, detail: str = "", pause: float = 0.0) -> None:
        super().__init__(reason, detail)
        self.pause = pause


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

    `timeout`: seconds for a connection and for each silence of a server; in each span of so many seconds, a body has to
    arrive at `slowest` bytes per second or more. `cookies`: those of a session; they stay in this process.

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
        cookies: httpx.Cookies | None = None,
    ) -> None:
        self.patience = Patience(attempts, wait)
        self._timeout = timeout
        self._slowest = slowest
        self._client = httpx.Client(
            timeout=timeout,
            limits=httpx.Limits(max_connections=None),
            headers={"Accept-Encoding": "identity", "User-Agent": "gencomp"},
            cookies=cookies,
        )
        self._not_before: dict[bytes, float] = {}
        """By host, the time of the monotonic clock at which it wants to be asked again."""

    def __reduce__(self) -> tuple[Callable[..., "Fetcher"], tuple[int, float, float, float]]:
        # Another process has connections of its own, the same ones for everything that is sent to it.
        return _fetcher, (*self.patience, self._timeout, self._slowest)

    def __enter__(self) -> "Fetcher":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def read(self, url: str, limit: int, *, length: int | None = None, md5: str | None = None) -> bytes:
        """The content of a URL; `length` in bytes and `md5` in base64 are compared where they are known."""

        def check() -> None:
            check_known(buffer.getvalue(), length, md5)

        buffer = io.BytesIO()
        path = local_path(url)
        if path is not None:
            _copy_local(path, limit, buffer)
            check()
        else:
            self._copy(url, limit, _Arriving(buffer), check)
        return buffer.getvalue()

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
            with self._answer(url, {}, "HEAD") as response:
                stated = response.headers.get("Content-Length", "") if response.status_code == 200 else ""
        except (Rejected, httpx.HTTPError, httpx.InvalidURL, ValueError):
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
            with self._answer(url, out.request_headers()) as response:
                self._check_status(response)
                out.begin(response)
                if out.complete:
                    return
                if out.size + int(response.headers.get("Content-Length", 0)) > limit:
                    raise Rejected("too-large", f"{response.headers['Content-Length']} bytes, above {limit}")
                self._copy_body(response, limit, out)
        except httpx.RemoteProtocolError as error:
            raise Transient("wrong-length" if out.size else "unreachable", str(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise Transient("unreachable", str(error) or type(error).__name__) from None
        if out.expected is not None and out.size != out.expected:
            raise Transient("wrong-length", f"{out.size} bytes, {out.expected} expected")

    @contextmanager
    def _answer(self, url: str, headers: dict[str, str], method: str = "GET") -> Iterator[httpx.Response]:
        """The answer at the end of the redirects, none of whose bodies is read. Raises Rejected: `refused`."""
        request = self._client.build_request(method, url, headers=headers)
        for _ in range(REDIRECTS):
            self._await_turn(request.url.netloc)
            response = self._client.send(request, stream=True)
            try:
                if response.next_request is None:
                    yield response
                    return
                target = response.next_request.url
                if target.scheme != "https" and (target.scheme, request.url.scheme) != ("http", "http"):
                    raise Rejected("refused", f"a redirect to {target}")
                request = response.next_request
            finally:
                response.close()
        raise Rejected("refused", f"more than {REDIRECTS} redirects")

    def _await_turn(self, host: bytes) -> None:
        while (left := self._not_before.get(host, 0.0) - time.monotonic()) > 0:
            time.sleep(left)

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in GONE:
            raise Rejected("missing", f"HTTP {status}")
        if status in BUSY:
            host, pause = response.url.netloc, asked_pause(response.headers.get("Retry-After", ""))
            until = time.monotonic() + min(pause, LONGEST_PAUSE)
            self._not_before[host] = max(until, self._not_before.get(host, 0.0))
            raise Transient("unreachable", f"HTTP {status}")
        if status not in (200, 206, 416):
            raise Rejected("refused", f"HTTP {status}")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":  # decoding has no bounds, and nobody asked for it
            raise Rejected("refused", f"Content-Encoding {encoding}")

    def _copy_body(self, response: httpx.Response, limit: int, out: "_Arriving") -> None:
        start, before = time.monotonic(), out.size
        for chunk in response.iter_raw():
            out.write(chunk)
            if out.size > limit:
                raise Rejected("too-large", f"above {limit} bytes")
            seconds = time.monotonic() - start
            if seconds > self._timeout:
                if out.size - before < self._slowest * seconds:
                    raise Transient("too-slow", f"{out.size - before} bytes in {seconds:.0f} s")
                start, before = time.monotonic(), out.size


@functools.lru_cache
def _fetcher(attempts: int, wait: float, timeout: float, slowest: float) -> Fetcher:
    return Fetcher(attempts=attempts, wait=wait, timeout=timeout, slowest=slowest)


class _Arriving:
    """What has arrived of a file, and which version of it, kept in the file `note` where one is named."""

    def __init__(self, out: BinaryIO, note: Path | None = None) -> None:
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

    def begin(self, response: httpx.Response) -> None:
        """Take up a response: the rest, or all from the start. Raises Transient for a part that does not fit on."""
        version = _version(response)
        if response.status_code == 200:
            return self.restart(version)
        part = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", response.headers.get("Content-Range", ""))
        other = version not in ("", self._version)
        missing = response.status_code == 416 and part is not None and int(part[2]) != self.size
        if part is None or other or missing or (response.status_code == 206 and part[1] != str(self.size)):
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


def _copy_local(path: Path, limit: int, out: BinaryIO) -> None:
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


def _version(response: httpx.Response) -> str:
    """What tells versions of a file apart: its ETag if that is a strong one, or its time; nothing without either."""
    etag = response.headers.get("ETag", "")
    version: str = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
    return version if version.isascii() else ""
