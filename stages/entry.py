"""How every stage starts: its argument, its section of params.yaml, and one line for an expected error."""

import argparse
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gencomp.config import ConfigError, load_section

T = TypeVar("T")
PARAMS = Path("params.yaml")
NO_TELEMETRY = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "NO_ALBUMENTATIONS_UPDATE": "1"}


class StageError(Exception):
    """A stage that cannot go on; the message is one line that says what to do."""


def params(cls: type[T], *keys: str) -> T:
    """The section of params.yaml under `keys`, as a frozen config. Raises ConfigError."""
    return load_section(PARAMS, keys, cls)


def run(main: Callable[..., None]) -> None:
    """Call `main` with the arguments of the command line; expected errors become one line and exit code 1.

    A parameter without default is a positional argument; one with a default is an option of the same name.
    """
    for name, value in NO_TELEMETRY.items():
        os.environ.setdefault(name, value)
    arguments = vars(_parser(main).parse_args())
    try:
        main(**arguments)
    except (StageError, ConfigError, OSError) as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def _parser(main: Callable[..., None]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=inspect.getdoc(main))
    for name, parameter in inspect.signature(main).parameters.items():
        if parameter.default is parameter.empty:
            parser.add_argument(name)
        else:
            parser.add_argument(f"--{name}", default=parameter.default)
    return parser
