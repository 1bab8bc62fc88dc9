"""What a request asks for: the rate of /compress, the kind of picture of /decompress."""

import math
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple

from gencomp.codec.container import ENTROPIES, MAX_CHANNELS, Entropy
from gencomp.codec.rate import RateError, asked_limit
from gencomp.serving.refusal import Refusal

KINDS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
"""Kinds of pictures that are given, the default first, and their media types."""

Items = Iterable[tuple[str, str]]
"""Names and values of a query, in their order."""


class Rate(NamedTuple):
    """As `Codec.compress` takes it."""

    channels: int | None = None
    max_bpp: float | None = None
    max_bytes: int | None = None
    entropy: Entropy = "context"


def rate_of(items: Items) -> Rate:
    """Raises Refusal, 422, for names and values that it does not know."""
    given = _once(items, Rate._fields)
    entropy = next((name for name in ENTROPIES if name == given.get("entropy", "context")), None)
    if entropy is None:
        raise _unfit(f"entropy must be one of {', '.join(ENTROPIES)}, not {given['entropy']!r}")
    channels, max_bytes = (_count(given, name) for name in ("channels", "max_bytes"))
    if channels is not None and channels > MAX_CHANNELS:
        raise _unfit(f"channels must be 1 to {MAX_CHANNELS}, not {channels}")
    rate = Rate(channels, _positive(given, "max_bpp"), max_bytes, entropy)
    try:
        asked_limit(rate.channels, rate.max_bpp, rate.max_bytes)
    except RateError as error:
        raise _unfit(str(error)) from None
    return rate


def kind_of(items: Items, accept: str) -> str:
    """The kind of picture that `format` names, or else what the Accept header likes best. Raises Refusal."""
    given = _once(items, ("format",))
    if "format" not in given:
        return _accepted(accept)
    kind = given["format"].lower().replace("jpg", "jpeg")
    if kind not in KINDS:
        raise _unfit(f"format must be one of {', '.join(KINDS)}, not {given['format']!r}")
    return kind


def nothing(items: Items) -> None:
    """Raise Refusal for any parameter."""
    _once(items, ())


def _accepted(accept: str) -> str:
    """The kind with the highest quality; among equals that of the most specific range, then the default first."""
    ranges = [_range(part) for part in (accept or "*/*").split(",") if part.strip()]
    best = ("", 0.0, 0)
    for kind, media in KINDS.items():
        fitting = [(3 - pattern.count("*"), q) for pattern, q in ranges if pattern in (media, "image/*", "*/*")]
        specific, q = max(fitting, default=(0, 0.0))
        if q > 0 and (q, specific) > best[1:]:
            best = (kind, q, specific)
    if not best[0]:
        raise Refusal(HTTPStatus.NOT_ACCEPTABLE, f"pictures are given as {', '.join(KINDS.values())}")
    return best[0]


def _range(part: str) -> tuple[str, float]:
    media, *parameters = (word.strip().lower() for word in part.split(";"))
    weights = [word[2:] for word in parameters if word.startswith("q=")]
    try:
        return media, float(weights[0]) if weights else 1.0
    except ValueError:
        return media, 0.0


def _once(items: Items, known: tuple[str, ...]) -> dict[str, str]:
    """The values by name, each known and given once."""
    given: dict[str, str] = {}
    for name, value in items:
        if name not in known:
            raise _unfit(f"unknown parameter {name!r}: there is {', '.join(known) or 'none here'}")
        if name in given:
            raise _unfit(f"{name} is given twice")
        given[name] = value
    return given


def _count(given: dict[str, str], name: str) -> int | None:
    if name not in given:
        return None
    if not re.fullmatch("[0-9]{1,12}", given[name]) or int(given[name]) < 1:
        raise _unfit(f"{name} must be a whole number from 1 on, not {given[name]!r}")
    return int(given[name])


def _positive(given: dict[str, str], name: str) -> float | None:
    if name not in given:
        return None
    try:
        value = float(given[name])
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise _unfit(f"{name} must be a number above 0, not {given[name]!r}")
    return value


def _unfit(message: str) -> Refusal:
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, message)
