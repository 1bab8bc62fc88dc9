"""A package index after PEP 503 (HTML) and PEP 691 (JSON): from a project and a file name to the file's address."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from http.client import HTTPException, HTTPResponse
from typing import cast
from urllib.error import HTTPError
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from gencomp.weights.failure import WeightsError

DEFAULT_INDEX = "https://pypi.org/simple"
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
PAGE_LIMIT = 64_000_000
"""Most bytes of the list of a project's files."""
CHUNK = 1 << 18
TIMEOUT = 60.0
"""Seconds without an answer."""


def index_url() -> str:
    """The index that the user's pip asks: PIP_INDEX_URL, pip's configuration, or the public default."""
    return os.environ.get("PIP_INDEX_URL") or _configured() or DEFAULT_INDEX


def file_url(index: str, project: str, file: str) -> str:
    """The address of a project's file. Raises WeightsError."""
    page_url = f"{index.rstrip('/')}/{re.sub(r'[-_.]+', '-', project).lower()}/"
    with opened(page_url, ACCEPT) as response:
        page, final_url = b"".join(pieces(response, page_url, PAGE_LIMIT)), response.geturl()
    if len(page) > PAGE_LIMIT:
        raise WeightsError(f"{shown(page_url)}: over {PAGE_LIMIT} bytes")
    for link in _links(page, shown(page_url)):
        url = urljoin(final_url, link)
        if unquote(urlsplit(url).path).rsplit("/", 1)[-1] == file:
            return _with_user(url, index)
    raise WeightsError(f"{shown(page_url)} has no {file}")


def opened(url: str, accept: str = "*/*") -> HTTPResponse:
    """A connection to an http or https address, whose user and password are sent as such. Raises WeightsError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise WeightsError(f"{shown(url)}: only http and https can be asked for weights")
    headers = {"Accept": accept, "User-Agent": "gencomp"}
    user, _, host = parts.netloc.rpartition("@")
    if user:
        headers["Authorization"] = f"Basic {base64.b64encode(unquote(user).encode()).decode()}"
    request = Request(urlunsplit(parts._replace(netloc=host, fragment="")), headers=headers)
    try:
        return cast(HTTPResponse, urlopen(request, timeout=TIMEOUT))
    except HTTPError as error:
        raise WeightsError(f"{shown(url)}: HTTP {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise WeightsError(f"{shown(url)} cannot be reached: {error}") from None


def pieces(response: HTTPResponse, url: str, limit: int) -> Iterator[bytes]:
    """What comes over a connection, up to the first piece that reaches beyond `limit` bytes. Raises WeightsError."""
    size = 0
    try:
        while size <= limit and (piece := response.read(CHUNK)):
            size += len(piece)
            yield piece
    except (OSError, HTTPException) as error:
        raise WeightsError(f"{shown(url)} broke off after {size} bytes: {error}") from None


def shown(url: str) -> str:
    """An address without user, password and fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


class _Anchors(HTMLParser):
    """Collects the addresses of the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links.extend(value for name, value in attrs if name == "href" and value)


def _links(page: bytes, where: str) -> list[str]:
    """The addresses on a page; by its content, since some mirrors answer HTML to whoever asks for JSON."""
    if page.lstrip()[:1] != b"{":
        parser = _Anchors()
        parser.feed(page.decode("utf-8", "replace"))
        return parser.links
    try:
        return [str(entry["url"]) for entry in json.loads(page)["files"]]
    except (ValueError, KeyError, TypeError):
        raise WeightsError(f"{where} is not the page of a package index") from None


def _with_user(url: str, index: str) -> str:
    """The index' own user and password for files on the same host, which need them as well."""
    parts, home = urlsplit(url), urlsplit(index)
    user, _, host = home.netloc.rpartition("@")
    same = (parts.scheme, parts.netloc) == (home.scheme, host)
    return urlunsplit(parts._replace(netloc=home.netloc)) if user and same else url


def _configured() -> str:
    """`index-url` in pip's configuration files; empty without one, or without pip."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
