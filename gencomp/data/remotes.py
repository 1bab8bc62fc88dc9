"""DVC remotes that look public, to which data that may not be passed on must not go."""

import configparser
import re
from collections.abc import Iterator
from pathlib import Path

_REMOTE = re.compile(r"""['"]?remote "(?P<name>.*)"['"]?""")
_WEB = ("http://", "https://", "webdav://", "webdavs://")


def public_remotes(folder: Path) -> list[str]:
    """Names of the remotes in a `.dvc` folder that anyone may be able to read: web addresses, whose login may be for
    writing alone, and buckets marked for anonymous access. What a bucket's policy says cannot be seen from here, nor
    what DVC's configuration outside the checkout adds."""
    found: dict[str, dict[str, str]] = {}
    for path in (folder / "config", folder / "config.local"):
        for name, fields in _remotes(path):
            found.setdefault(name, {}).update(fields)
    return sorted(name for name, fields in found.items() if _looks_public(fields))


def _remotes(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#",), strict=False)
    parser.read(path)
    for section in parser.sections():
        match = _REMOTE.fullmatch(section)
        if match:
            yield match["name"], {name: value.strip("'\" ") for name, value in parser[section].items()}


def _looks_public(fields: dict[str, str]) -> bool:
    anonymous = fields.get("allow_anonymous_login", "false").lower() == "true"
    return anonymous or fields.get("url", "").startswith(_WEB)
