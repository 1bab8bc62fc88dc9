"""Strict loading of frozen configs: one readable line names what is unknown, missing or out of range."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


class ConfigError(ValueError):
    """A config that cannot be used; the message is one line that names the file, the section and the key."""


def convert(data: object, cls: type[T], where: str) -> T:
    """Parsed JSON or YAML as an instance of `cls`.

    `where` names the origin in the message. Raises ConfigError for an unknown, missing, mistyped or out-of-range key.
    """
    try:
        return msgspec.convert(data, type=cls)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {str(error).replace('Object', 'section', 1)}") from None


def load_section(path: Path, keys: Sequence[str], cls: type[T]) -> T:
    """The section of a YAML file under `keys`, outermost first, as an instance of `cls`.

    Raises ConfigError when the file or the section is missing or does not fit.
    """
    data: object = read_yaml(path)
    for depth, key in enumerate(keys):
        if not isinstance(data, dict) or key not in data:
            known = ", ".join(sorted(map(str, data))) if isinstance(data, dict) else "nothing"
            raise ConfigError(f"{path}: no `{'.'.join(keys[: depth + 1])}`; known here: {known}")
        data = data[key]
    return convert(data, cls, f"{path}: {'.'.join(keys)}" if keys else str(path))


def read_yaml(path: Path) -> object:
    """The parsed content of a YAML file. Raises ConfigError when it is missing or is not YAML."""
    import yaml

    try:
        return yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
