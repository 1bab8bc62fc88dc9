"""How figures and files were made: what `protocols.json` holds beside them, and what the page tells of it."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from gencomp.evaluation.classical import ClassicalCodec, setting_name
from gencomp.evaluation.metrics import Record, records
from gencomp.evaluation.rates import ChosenMetric


class CodecRecord(msgspec.Struct, frozen=True):
    """How a codec made its files."""

    title: str
    protocol: str
    version: str
    """Of what encodes and decodes."""
    settings: tuple[str, ...]
    """Its ladder, in ascending order."""


class Protocols(msgspec.Struct, frozen=True):
    """What `protocols.json` holds."""

    metrics: dict[str, Record]
    codecs: dict[str, CodecRecord] = {}


def protocols(
    metrics: Sequence[ChosenMetric],
    codecs: Iterable[ClassicalCodec] = (),
    ladder: Callable[[ClassicalCodec], Sequence[float]] = lambda codec: (),
) -> Protocols:
    """Of the metrics named, PSNR always among them, and of codecs, which must be usable here."""
    return Protocols(
        records(metrics),
        {
            codec.name: CodecRecord(
                codec.title, codec.protocol, codec.version(), tuple(map(setting_name, ladder(codec)))
            )
            for codec in codecs
        },
    )


def protocols_json(found: Protocols) -> bytes:
    """The content of `protocols.json`."""
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"


def methods(found: Iterable[Protocols]) -> list[tuple[str, Record]]:
    """Titles of metrics, and how these were computed; metrics that were computed alike share a line."""
    known: dict[str, tuple[list[str], Record]] = {}
    for record in (record for one in found for record in one.metrics.values()):
        titles, _ = known.setdefault(f"{record.protocol} {record.version} {record.weights}", ([], record))
        if record.title not in titles:
            titles.append(record.title)
    return [(" and ".join(titles), record) for titles, record in known.values()]


def codecs(found: Iterable[Protocols]) -> list[CodecRecord]:
    """How codecs made their files, each way once."""
    return list(dict.fromkeys(record for one in found for record in one.codecs.values()))
