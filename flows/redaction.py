"""Secrets out of everything that a flow prints, logs, or sends to Prefect."""

import configparser
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_NAME = re.compile(r"(?i)(secret|token|passw(or)?d|passphrase|credentials?|auth_string|(^|_|api|access)_?key)(_|$)")
"""Names of environment variables, and of options in DVC's configuration, whose value nobody may read."""
_IN_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/\s@'\"]*:[^/\s@'\"]*@")
_SHORTEST = 6
"""Characters below which a value is not looked for: it would be found in ordinary words."""
HIDDEN = "***"


class Redaction:
    """Replaces by `***` what the environment and DVC's local configuration keep secret, and passwords in URLs."""

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        found = {value for name, value in _named(root, environment) if _NAME.search(name)}
        longest_first = sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """`text` without secrets."""
        shown = _IN_URL.sub(rf"\g<scheme>{HIDDEN}@", text)
        return self._secrets.sub(HIDDEN, shown) if self._secrets else shown


def _named(root: Path, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield from environment.items()
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read(root / ".dvc" / "config.local")
    except (configparser.Error, UnicodeDecodeError):
        return  # dvc says so itself
    for section in config.sections():
        yield from config.items(section)
