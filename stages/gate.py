"""Judge a variant by itself: exact symbols, files within the bound, sane metrics, the package that was evaluated, and
a codec that decodes the shipped vectors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from gencomp.codec.container import StreamError, bound_bytes, describe
from gencomp.config import convert
from gencomp.data.atomic import replacing
from gencomp.evaluation.gate import GateConfig, Measured, SelfTest, Verdict, absolute_checks, passed, verdict_json
from gencomp.evaluation.rates import RateRow, mean, read_rows
from gencomp.models.content import content_hash
from stages.entry import StageError, params, run

SMALLEST_SIDE = 32
"""Pixels; the codec pads smaller pictures to it."""
LIGHT_STRIDE = 16
"""Pixels per position where light networks are coarsest."""


class Latent(msgspec.Struct, frozen=True):
    """What decides the bound on the rate, out of a package's config.json."""

    channels: int
    """C."""
    levels: int
    """L."""
    downsamplings: int
    """Steps of stride 2 from the picture to where the networks are coarsest, unless they are light."""
    light: dict[str, object] | None = None
    """Shape of light networks."""
    mode: Literal["gc", "sc"] = "gc"
    """SC has its latent one step finer."""
    nested: bool = False
    """Whether any first channels may be coded."""

    @property
    def stride(self) -> int:
        """Pixels; the codec pads pictures to multiples of it."""
        return LIGHT_STRIDE if self.light else 2**self.downsamplings

    @property
    def latent_stride(self) -> int:
        """Pixels per position of the latent."""
        return self.stride // 2 if self.mode == "sc" else self.stride


def main(variant: str) -> None:
    """Write gate/<variant>.json; a failed verdict is a result, not an error."""
    metrics = Path(f"metrics/{variant}.json")
    measured = convert(json.loads(metrics.read_text()), Measured, str(metrics))
    package = Path(f"models/{variant}")
    config = package / "config.json"
    latent = convert(json.loads(config.read_text()), Latent, str(config))
    evaluation = Path(f"evaluation/{variant}")
    rows = read_rows(evaluation / "images.csv")
    bound = bound_bpp(latent, rows, coded_channels(evaluation / "streams", rows) if latent.nested else {})
    digest = content_hash(package)
    vectors = Path("selftest/cpu.json")
    selftest = convert(json.loads(vectors.read_text()), SelfTest, str(vectors))
    checks = absolute_checks(measured, digest, bound, params(GateConfig, "gate"), selftest)
    verdict = Verdict(variant, digest, passed(checks), checks)
    with replacing(Path(f"gate/{variant}.json")) as temporary:
        temporary.write_bytes(verdict_json(verdict))
    print(f"{variant}: {'passed' if verdict.passed else 'failed'}")
    for check in checks:
        if not check.passed:
            print(f"  {check.name}: {check.reason}")


def coded_channels(streams: Path, rows: list[RateRow]) -> dict[str, int]:
    """Of the pictures whose streams are there, how many channels are coded."""
    paths = {row.key: streams / f"{row.key}.gnc" for row in rows}
    try:
        return {key: describe(path.read_bytes()).channels for key, path in paths.items() if path.is_file()}
    except StreamError as error:
        raise StageError(f"{streams}: {error}") from None


def bound_bpp(latent: Latent, rows: list[RateRow], coded: Mapping[str, int]) -> float:
    """The mean over pictures of header + side information + dim(w_hat) log2(L) bits per pixel; 0 without pictures.

    `coded` says of which pictures only the first channels are coded. Of SC, the whole latent counts as preserved.
    """
    bounds = [
        _bound_bytes(latent, row, coded.get(row.key, latent.channels)) * 8 / (row.width * row.height) for row in rows
    ]
    return mean(bounds) or 0.0


def _bound_bytes(latent: Latent, row: RateRow, channels: int) -> int:
    smallest = max(SMALLEST_SIDE, 2 * latent.stride)
    padded = (max(smallest, -(-side // latent.stride) * latent.stride) for side in (row.height, row.width))
    h, w = (side // latent.latent_stride for side in padded)
    return bound_bytes(channels, h, w, latent.levels, latent.latent_stride) + (row.side_bytes or 0)


if __name__ == "__main__":
    run(main)
