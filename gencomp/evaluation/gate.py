"""The gate: named checks of a model by itself, and of a candidate against the champion. Pure functions of numbers."""

import math
from collections.abc import Iterable
from typing import Annotated

import msgspec

Amount = Annotated[float, msgspec.Meta(ge=0)]


class GateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What any model must reach."""

    minimum_psnr: Amount
    """dB, mean over the evaluated pictures; far below it a decoder shows nothing of the picture."""


class Tolerances(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much worse than the champion a candidate may be and still take its place."""

    psnr: Amount
    """dB below the champion."""
    ms_ssim: Amount
    """Below the champion, absolute."""
    bpp: Amount
    """Above the champion, as a share of its rate: 0.05 is 5 %."""
    lpips: Amount = 0.01
    """Of both networks, above the champion, absolute."""
    dists: Amount = 0.01
    """Above the champion, absolute."""
    miou: Amount = 0.02
    """Below the champion, absolute."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate reads of `metrics/<variant>.json`, means over the evaluated pictures."""

    images: int
    """Pictures evaluated."""
    evaluation_digest: str
    """Identity of the pictures; only equal ones can be compared."""
    package: str
    """Content hash of the evaluated package."""
    bpp: float
    """Bits per pixel of whole files."""
    psnr: float
    """dB."""
    ms_ssim: float | None
    """In [0, 1]; None when all pictures are too small for it."""
    bound_violations: int
    """Files above the bound."""
    symbol_mismatches: int
    """Symbols that came out of a file other than they went in."""
    max_bpp: float | None = None
    """The limit that a nested model was asked to keep; none: its rate is its own."""
    encoder: int = 0
    """How symbols were chosen, `ENCODER` of gencomp/codec/filling.py."""
    lpips_alex: float | None = None
    """LPIPS with AlexNet, lower is better; None: not measured, as all that follows."""
    lpips_vgg: float | None = None
    """LPIPS with VGG16, lower is better."""
    dists: float | None = None
    """Lower is better."""
    miou: float | None = None
    """Of labels that a segmentation network finds in reconstructions, in [0, 1]."""
    fingerprint: str = ""
    """Head of the model's fingerprint, 8 hex digits, as files carry it; empty where an evaluation did not tell."""


class SelfTest(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the codec here decodes the shipped vectors as it must; the content of `selftest/cpu.json`."""

    vectors: int
    """Decoded, those of every shipped model."""
    failed: int
    """Of which symbols or colours came out otherwise."""


class Check(msgspec.Struct, frozen=True):
    """One question to a model, and its answer."""

    name: str
    """Lower case, words joined by `-`."""
    passed: bool
    """The answer."""
    value: float | str | None
    """What was found."""
    bound: float | str | None
    """What was asked for."""
    reason: str
    """Both, in one line for a reader."""


class Verdict(msgspec.Struct, frozen=True):
    """What the gate says of one variant; the content of `gate/<variant>.json`."""

    variant: str
    """Name of the variant."""
    package: str
    """Content hash of the package that was judged."""
    passed: bool
    """All checks passed."""
    checks: list[Check]
    """Every check, failed or not."""


def absolute_checks(
    measured: Measured, package: str, bound_bpp: float, config: GateConfig, selftest: SelfTest
) -> list[Check]:
    """Is it this package, exact, within its rate, and sane, and does the codec decode what all versions of it must?

    `package` is the content hash of the package at hand, `bound_bpp` the bound on its rate on the same pictures,
    header included.
    """
    found = _numbers(measured)
    return [
        _check("package", measured.package == package, measured.package, package, "evaluated {}, at hand {}"),
        _check("images", measured.images > 0, measured.images, 1, "{} pictures evaluated, at least {}"),
        _check(
            "symbols", measured.symbol_mismatches == 0, measured.symbol_mismatches, 0, "{} symbols differ, at most {}"
        ),
        _check(
            "files", measured.bound_violations == 0, measured.bound_violations, 0, "{} files above bound, at most {}"
        ),
        _check("rate", 0 < measured.bpp <= bound_bpp, measured.bpp, bound_bpp, "{} bpp, above 0 and at most {}"),
        _check(
            "finite", all(map(math.isfinite, found)), sum(map(math.isfinite, found)), len(found), "{} of {} metrics"
        ),
        _check("psnr", measured.psnr >= config.minimum_psnr, measured.psnr, config.minimum_psnr, "{} dB, at least {}"),
        *_share("ms-ssim", measured.ms_ssim),
        *_share("miou", measured.miou),
        _check(
            "conformance",
            selftest.vectors > 0 and selftest.failed == 0,
            selftest.failed,
            0,
            f"{{}} of {selftest.vectors} shipped vectors decode otherwise, at most {{}}",
        ),
    ]


def compare(candidate: Measured, champion: Measured, tolerances: Tolerances) -> list[Check]:
    """Is the candidate, on the same pictures, not worse than the champion beyond the tolerances?

    Two models that fill up one limit are free to take more or less of it. What the
    champion was measured by, the candidate has to be; what neither was measured by is not compared.
    """
    same = candidate.evaluation_digest == champion.evaluation_digest
    psnr = champion.psnr - tolerances.psnr
    shared = candidate.max_bpp if candidate.max_bpp == champion.max_bpp else None
    bpp = champion.bpp * (1 + tolerances.bpp) if shared is None else shared
    return [
        _check("pictures", same, candidate.evaluation_digest, champion.evaluation_digest, "evaluated on {} and {}"),
        _check("psnr", candidate.psnr >= psnr, candidate.psnr, psnr, "{} dB, at least {}"),
        *_at_least("ms-ssim", candidate.ms_ssim, champion.ms_ssim, tolerances.ms_ssim),
        *_at_most("lpips-alex", candidate.lpips_alex, champion.lpips_alex, tolerances.lpips),
        *_at_most("lpips-vgg", candidate.lpips_vgg, champion.lpips_vgg, tolerances.lpips),
        *_at_most("dists", candidate.dists, champion.dists, tolerances.dists),
        *_at_least("miou", candidate.miou, champion.miou, tolerances.miou),
        _check("rate", candidate.bpp <= bpp, candidate.bpp, bpp, "{} bpp, at most {}"),
    ]


def passed(checks: Iterable[Check]) -> bool:
    """Whether no check failed."""
    return all(check.passed for check in checks)


def verdict_json(verdict: Verdict) -> bytes:
    """The canonical JSON of a verdict; a value that is not finite becomes null."""
    return msgspec.json.format(msgspec.json.encode(verdict), indent=2) + b"\n"


def _numbers(measured: Measured) -> list[float]:
    """All that was measured of the pictures."""
    similar = (measured.ms_ssim, measured.lpips_alex, measured.lpips_vgg, measured.dists, measured.miou)
    return [measured.bpp, measured.psnr, *(value for value in similar if value is not None)]


def _share(name: str, value: float | None) -> list[Check]:
    return [] if value is None else [_check(name, 0 <= value <= 1, value, 1, "{}, from 0 to {}")]


def _at_least(name: str, candidate: float | None, champion: float | None, tolerance: float) -> list[Check]:
    if champion is None or candidate is None:
        return _unmeasured(name, champion)
    bound = champion - tolerance
    return [_check(name, candidate >= bound, candidate, bound, "{}, at least {}")]


def _at_most(name: str, candidate: float | None, champion: float | None, tolerance: float) -> list[Check]:
    if champion is None or candidate is None:
        return _unmeasured(name, champion)
    bound = champion + tolerance
    return [_check(name, candidate <= bound, candidate, bound, "{}, at most {}")]


def _unmeasured(name: str, champion: float | None) -> list[Check]:
    """A candidate that was not measured by what the champion was, so that no change of a list disarms the gate."""
    if champion is None:
        return []
    return [_check(name, False, None, champion, "not measured ({}), and the champion has {}")]


def _check(name: str, holds: bool, value: float | str | None, bound: float | str, sentence: str) -> Check:
    return Check(name, holds, value, bound, sentence.format(_short(value), _short(bound)))


def _short(value: float | str | None) -> str:
    if isinstance(value, str):
        return value[:12]
    return "none" if value is None else f"{value:.6g}"
