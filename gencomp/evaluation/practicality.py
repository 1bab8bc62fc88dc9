"""Whether it is worth it: what a model costs in time, memory and weights beside classical codecs, and after how many
pictures the bytes that it saves at equal LPIPS have paid for its weights."""

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open

from gencomp.config import ConfigError, convert
from gencomp.data.atomic import replacing
from gencomp.models.package import NETWORK_PREFIX

TALK_WEIGHTS = 651e6
"""Bytes of the weights that a talk on the paper (2018) gives as what made it impractical."""
DECODER_PREFIXES = ("G.", NETWORK_PREFIX)
"""Of the tensors that decoding needs."""


class PracticalityError(ValueError):
    """A file of measurements or a package that cannot be read; the message is one line that names it."""


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A codec at one setting, means over the pictures."""

    setting: str
    size: float
    """Bytes of a file."""
    lpips: float
    """LPIPS 0.1 with AlexNet."""


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was measured of one codec at one setting, over the same pictures as the others."""

    codec: str
    """As people write it."""
    setting: str
    is_model: bool
    bpp: float
    """Bytes of the file x 8 / pixels, mean over pictures."""
    size: float
    """Bytes of a file, mean over pictures."""
    lpips: float
    """LPIPS 0.1 with AlexNet, mean over pictures."""
    encode_ms: float
    """Milliseconds for a picture, median over pictures of the fastest round, of a warm process; as is the next."""
    decode_ms: float
    first_ms: float
    """Milliseconds from the start of a process to the first decoded picture: with what it loads."""
    encode_peak: float
    """Most resident memory of the process that encodes, its interpreter included, 10^6 bytes; as is the next."""
    decode_peak: float
    weights: int
    """Bytes that decoding needs besides a program: of a model, its decoder; 0 for a classical codec."""
    curve: tuple[Point, ...] = ()
    """The codec over its settings; only of those that models are compared with."""


class Practicality(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole measurement, as its JSON file holds it."""

    hardware: str
    images: int
    protocol: str
    costs: tuple[Cost, ...]


class Payoff(NamedTuple):
    """A model beside a codec at equal LPIPS."""

    codec: str
    size: float | None
    """Bytes that the codec's files take at the model's LPIPS; None where its curve does not reach it."""
    saved: float | None
    """Bytes that the model saves on a picture; below 0 where it takes more."""
    pictures: int | None
    """After so many pictures the weights are paid for; None where they never are, or nothing is known."""
    why: str
    """Why something is None, else empty."""


class Line(NamedTuple):
    """A line of the table."""

    cost: Cost
    payoffs: tuple[Payoff, ...]
    """Beside each codec with a curve, in their order; none for a codec itself."""


def table(costs: Sequence[Cost]) -> list[Line]:
    """The lines of the table, in the order of `costs`: pure arithmetic on what was measured."""
    curves = [cost for cost in costs if cost.curve and not cost.is_model]
    return [Line(cost, tuple(payoff(cost, codec) for codec in curves) if cost.is_model else ()) for cost in costs]


def payoff(model: Cost, codec: Cost) -> Payoff:
    """After how many pictures a model's weights are paid for by what it saves beside a codec at equal LPIPS."""
    size = size_at(codec.curve, model.lpips)
    if size is None:
        best, worst = (pick(point.lpips for point in codec.curve) for pick in (min, max))
        why = f"LPIPS {model.lpips:.3f} is not within the {best:.3f} to {worst:.3f} that were measured"
        return Payoff(codec.codec, None, None, None, why)
    saved = size - model.size
    if saved <= 0:
        return Payoff(codec.codec, size, saved, None, "it takes more bytes")
    return Payoff(codec.codec, size, saved, math.ceil(model.weights / saved), "")


def size_at(curve: Iterable[Point], lpips: float) -> float | None:
    """Bytes at which a curve has an LPIPS: linear in the logarithm of the bytes between the first two neighbours, from
    small files to large ones, that have it between them; None where none do."""
    points = sorted(curve, key=lambda point: point.size)
    for small, large in itertools.pairwise(points):
        low, high = sorted((small.lpips, large.lpips))
        if low <= lpips <= high:
            share = 0.0 if low == high else (lpips - small.lpips) / (large.lpips - small.lpips)
            return float(small.size * (large.size / small.size) ** share)
    return None


def decoder_bytes(package: Path) -> int:
    """Bytes of a package that decoding needs: the tensors of G and of the context network as stored, tables and config.
    Raises PracticalityError."""
    try:
        with safe_open(package / "model.safetensors", framework="np") as file:
            names = [name for name in file.keys() if name.startswith(DECODER_PREFIXES)]  # noqa: SIM118
            tensors = sum(np.asarray(file.get_tensor(name)).nbytes for name in names)
        return tensors + sum((package / name).stat().st_size for name in ("tables.json", "config.json"))
    except (OSError, SafetensorError) as error:
        raise PracticalityError(f"{package}: no model package ({error})") from None


def write_practicality(path: Path, found: Practicality) -> None:
    """Write the JSON file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(msgspec.to_builtins(found), indent=1) + "\n")


def read_practicality(path: Path) -> Practicality:
    """What `write_practicality` wrote. Raises PracticalityError."""
    try:
        return convert(msgspec.json.decode(path.read_bytes()), Practicality, str(path))
    except (OSError, msgspec.DecodeError, ConfigError) as error:
        raise PracticalityError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
