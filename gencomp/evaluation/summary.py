"""The report in three sentences, each computed from the numbers."""

from collections.abc import Sequence
from typing import NamedTuple

from gencomp.evaluation.equal_bytes import EqualBytes


class VariantResult(NamedTuple):
    """What the summary needs to know of one variant."""

    variant: str
    dataset: str
    table: list[EqualBytes]
    """The codecs beside it; its own row first."""
    bound_violations: int
    symbol_mismatches: int


def sentences(results: Sequence[VariantResult]) -> list[str]:
    """What the models spend and reach, what the classical codecs do with those bytes, and whether files are exact."""
    return [_spent(results), _at_equal_bytes(results[0]), _exact(results)]


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _spent(results: Sequence[VariantResult]) -> str:
    datasets = dict.fromkeys(result.dataset for result in results)
    parts = []
    for number, dataset in enumerate(datasets):
        spent = listed([_cost(result) for result in results if result.dataset == dataset])
        parts.append(f"{'one' if number else 'A held-out picture'} of {dataset} takes {spent}")
    return "; ".join(parts) + "."


def _cost(result: VariantResult) -> str:
    own = result.table[0]
    similarity = "" if own.ms_ssim is None else f", MS-SSIM {own.ms_ssim:.3f}"
    return f"{result.variant} {own.size:.0f} bytes ({own.bpp:.4f} bpp, {own.psnr:.2f} dB{similarity})"


def _at_equal_bytes(result: VariantResult) -> str:
    anchors = [row for row in result.table if not row.is_model]
    if not anchors:
        return "No classical codec was measured beside them."
    fitting = [row for row in anchors if not row.too_large]
    some = [row for row in anchors if 0 < row.too_large < row.images]
    none = [row for row in anchors if row.too_large == row.images]
    parts = [listed([f"{row.title} reaches {row.psnr:.2f} dB" for row in fitting])] if fitting else []
    parts += [f"{row.title} goes that low for {row.images - row.too_large} of {row.images} pictures" for row in some]
    if none:
        names, ratios = listed([row.title for row in none]), listed([f"{row.ratio:.1f}" for row in none])
        parts.append(f"{names} cannot go that low, with smallest files {ratios} times as large")
    return f"With the bytes of {result.variant}, {'; '.join(parts)}."


def _exact(results: Sequence[VariantResult]) -> str:
    files = sum(result.table[0].images for result in results)
    mismatches = sum(result.symbol_mismatches for result in results)
    violations = sum(result.bound_violations for result in results)
    if not mismatches and not violations:
        return f"All {files} files decode to exactly the symbols that were encoded, and none is above its bound."
    faults = f"{violations} are above their bound, and {mismatches} symbols came back changed"
    return f"Of {files} files, {faults}: not fit for use."
