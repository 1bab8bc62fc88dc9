"""Judge a variant by itself: exact symbols, files within the bound, sane metrics, the package that was evaluated."""

import json
from pathlib import Path

import msgspec

from gencomp.codec.container import bound_bytes
from gencomp.config import convert
from gencomp.data.atomic import replacing
from gencomp.evaluation.gate import GateConfig, Measured, Verdict, absolute_checks, passed, verdict_json
from gencomp.evaluation.rates import RateRow, mean, read_rows
from gencomp.models.content import content_hash
from stages.entry import params, run

SMALLEST_SIDE = 32
"""Pixels; the codec pads smaller pictures to it."""


class Latent(msgspec.Struct, frozen=True):
    """What decides the bound on the rate, out of a package's config.json."""

    channels: int
    """C."""
    levels: int
    """L."""
    downsamplings: int
    """Steps of stride 2 from the picture to the latent."""


def main(variant: str) -> None:
    """Write gate/<variant>.json; a failed verdict is a result, not an error."""
    metrics = Path(f"metrics/{variant}.json")
    measured = convert(json.loads(metrics.read_text()), Measured, str(metrics))
    package = Path(f"models/{variant}")
    config = package / "config.json"
    latent = convert(json.loads(config.read_text()), Latent, str(config))
    bound = bound_bpp(latent, read_rows(Path(f"evaluation/{variant}/images.csv")))
    digest = content_hash(package)
    checks = absolute_checks(measured, digest, bound, params(GateConfig, "gate"))
    verdict = Verdict(variant, digest, passed(checks), checks)
    with replacing(Path(f"gate/{variant}.json")) as temporary:
        temporary.write_bytes(verdict_json(verdict))
    print(f"{variant}: {'passed' if verdict.passed else 'failed'}")
    for check in checks:
        if not check.passed:
            print(f"  {check.name}: {check.reason}")


def bound_bpp(latent: Latent, rows: list[RateRow]) -> float:
    """The mean over pictures of header + dim(w_hat) log2(L) bits per pixel; 0 when there are no pictures."""
    return mean([_bound_bytes(latent, row.width, row.height) * 8 / (row.width * row.height) for row in rows]) or 0.0


def _bound_bytes(latent: Latent, width: int, height: int) -> int:
    stride = 2**latent.downsamplings
    smallest = max(SMALLEST_SIDE, 2 * stride)
    h, w = (max(smallest, -(-side // stride) * stride) // stride for side in (height, width))
    return bound_bytes(latent.channels, h, w, latent.levels)


if __name__ == "__main__":
    run(main)
