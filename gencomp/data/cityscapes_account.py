"""Cityscapes' packages by a user's account: the requests of `csDownload`, which comes with cityscapesscripts."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx
import msgspec

from gencomp.data.failure import DataError, Transient
from gencomp.data.fetch import BUSY, Fetcher, Patience, asked_pause
from gencomp.data.forecast import foretell

SITE = "https://www.cityscapes-dataset.com"
VARIABLES = "CITYSCAPES_USERNAME and CITYSCAPES_PASSWORD"


@dataclass(frozen=True)
class Account:
    """Who asks for packages; never shown."""

    username: str = field(repr=False)
    """Name or e-mail address."""
    password: str = field(repr=False)
    site: str = SITE
    """URL without a slash at its end."""


class Package(msgspec.Struct, frozen=True):
    """What the site's list tells of a package."""

    name: str
    packageID: str | int


class Site(NamedTuple):
    """A session with the set's site, with patience for connections that fail and a site that is busy."""

    client: httpx.Client
    patience: Patience

    def answer(self, method: str, url: str, form: dict[str, str] | None = None) -> httpx.Response:
        """An answer below 400. Raises DataError."""
        try:
            return self.patience.ask(lambda: self._attempt(method, url, form))
        except Transient as error:
            raise DataError(f"{url}: {error}") from None

    def page(self, url: str) -> httpx.Response:
        """A page that has to be there. Raises DataError."""
        answer = self.answer("GET", url)
        if answer.status_code != 200:
            raise DataError(f"{url}: HTTP {answer.status_code}")
        return answer

    def _attempt(self, method: str, url: str, form: dict[str, str] | None) -> httpx.Response:
        try:
            answer = self.client.request(method, url, data=form)
        except httpx.TransportError as error:
            raise Transient("unreachable", str(error) or type(error).__name__) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DataError(f"{url}: {error or type(error).__name__}") from None
        status = answer.status_code
        if status in BUSY or status >= 500:
            raise Transient("unreachable", f"HTTP {status}", asked_pause(answer.headers.get("Retry-After", "")))
        if status >= 400:
            raise DataError(f"{url}: HTTP {status}")
        return answer


def fetch_package(account: Account, name: str, target: Path, patience: Patience) -> None:
    """Fetch a package, such as `gtFine_trainvaltest.zip`, to `target`, where it appears once its MD5 is the stated one.

    What had arrived before an interruption is not asked for again where the site tells versions of its files apart.
    Raises DataError, in which neither name nor password occurs.
    """
    fetched = target.with_name(f".{target.name}.fetched")
    with _logged_in(account, patience) as site:
        id = _package_id(site, account.site, name)
        words = site.page(f"{account.site}/md5-sum/?packageID={id}").text.split()
        with Fetcher(attempts=patience.attempts, wait=patience.wait, cookies=site.client.cookies.jar) as fetcher:
            url = f"{account.site}/file-handling/?packageID={id}"
            foretell("Cityscapes", {target: url}, fetcher)
            fetcher.required(url, fetched)
    with fetched.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if words[:1] != [found]:
        fetched.unlink()
        raise DataError(f"{name}: what Cityscapes sent has not the MD5 that it states; run the stage again")
    os.replace(fetched, target)


@contextmanager
def _logged_in(account: Account, patience: Patience) -> Iterator[Site]:
    """A session of the account. What the site refuses is not sent again: that might lock the account."""
    form = {"username": account.username, "password": account.password, "submit": "Login"}
    with httpx.Client(timeout=60.0, headers={"User-Agent": "gencomp"}) as client:
        site, url = Site(client, patience), f"{account.site}/login"
        site.answer("GET", url)  # sets the cookie of the session
        if site.answer("POST", url, form).status_code != 302:  # a page again: the form, with what was wrong in it
            raise DataError(f"Cityscapes does not know the account; check {VARIABLES}")
        yield site


def _package_id(site: Site, root: str, name: str) -> str | int:
    url = f"{root}/downloads/?list"
    try:
        packages = msgspec.json.decode(site.page(url).content, type=list[Package])
    except msgspec.DecodeError as error:
        raise DataError(f"{url}: {error}") from None
    for package in packages:
        if package.name == name:
            return package.packageID
    raise DataError(f"{name}: not among the packages that Cityscapes offers to this account")
