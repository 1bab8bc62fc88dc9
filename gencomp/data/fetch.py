"""From a URL to bytes or a file: `file://`, local paths, `http(s)://`; bounded in size, retried when it may help."""

import base64
import hashlib
import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx

from gencomp.data.atomic import replacing
from gencomp.data.failure import DataError, Rejected

ARCHIVE_LIMIT = 64_000_000_000
"""Most bytes of an archive or a table."""
GONE = frozenset({403, 404, 410})
"""Answers that mean that a file is not there; S3 says 403 to those who may not list the bucket."""
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may change when asked again."""
TRANSIENT = frozenset({"unreachable", "wrong-length"})
"""Reasons that another attempt may remove."""
CHUNK = 1 << 20


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


class Fetcher:
    """Fetches over connections that it keeps; `attempts` per URL, `wait` seconds after the first, doubling.

    Raises Rejected: `missing`, `too-large`, `checksum`, and `unreachable` or `wrong-length` after the last attempt.
    """

    def __init__(self, *, attempts: int = 5, wait: float = 1.0, timeout: float = 60.0) -> None:
        self._attempts = attempts
        self._wait = wait
        self._client = httpx.Client(
            follow_redirects=True, timeout=timeout, headers={"Accept-Encoding": "identity", "User-Agent": "gencomp"}
        )

    def __enter__(self) -> "Fetcher":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def read(self, url: str, limit: int, *, length: int | None = None, md5: str | None = None) -> bytes:
        """The content of a URL; `length` in bytes and `md5` in base64 are compared where they are known."""
        buffer = io.BytesIO()
        self._copy(url, limit, buffer)
        data = buffer.getvalue()
        if length is not None and len(data) != length:
            raise Rejected("wrong-length", f"{len(data)} bytes, {length} expected")
        if md5 is not None and base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode() != md5:
            raise Rejected("checksum")
        return data

    def file(self, url: str, target: Path, limit: int = ARCHIVE_LIMIT) -> None:
        """The content of a URL as a file that appears complete; a remote one that is there already is not asked for."""
        if local_path(url) is None and target.exists():
            return
        with replacing(target) as temporary, temporary.open("wb") as out:
            self._copy(url, limit, out)

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

    def _copy(self, url: str, limit: int, out: BinaryIO) -> None:
        path = local_path(url)
        if path is not None:
            return _copy_local(path, limit, out)
        for pause in self._pauses():
            out.seek(0)
            out.truncate()
            try:
                return self._copy_once(url, limit, out)
            except Rejected as error:
                if error.reason not in TRANSIENT or pause is None:
                    raise
                time.sleep(pause)

    def _pauses(self) -> Iterator[float | None]:
        for attempt in range(self._attempts - 1):
            yield self._wait * 2**attempt
        yield None

    def _copy_once(self, url: str, limit: int, out: BinaryIO) -> None:
        try:
            with self._client.stream("GET", url) as response:
                _check_status(response)
                if int(response.headers.get("Content-Length", 0)) > limit:
                    raise Rejected("too-large", f"{response.headers['Content-Length']} bytes, above {limit}")
                _copy_body(response, limit, out)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise Rejected("unreachable", str(error) or type(error).__name__) from None


def _copy_local(path: Path, limit: int, out: BinaryIO) -> None:
    try:
        size = path.stat().st_size
        if size > limit:
            raise Rejected("too-large", f"{size} bytes, above {limit}")
        with path.open("rb") as file:
            shutil.copyfileobj(file, out, CHUNK)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise Rejected("missing") from None


def _copy_body(response: httpx.Response, limit: int, out: BinaryIO) -> None:
    try:
        for chunk in response.iter_bytes(CHUNK):
            out.write(chunk)
            if response.num_bytes_downloaded > limit:
                raise Rejected("too-large", f"above {limit} bytes")
    except httpx.RemoteProtocolError as error:
        raise Rejected("wrong-length", str(error)) from None


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status in GONE:
        raise Rejected("missing", f"HTTP {status}")
    if status in BUSY:
        raise Rejected("unreachable", f"HTTP {status}")
    if status != 200:
        raise Rejected("refused", f"HTTP {status}")
