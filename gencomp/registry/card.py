"""The model card of a registered version: what it is, how good it is, how it is used, where not; with pictures."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from PIL import Image

from gencomp.evaluation.gate import Check, Measured
from gencomp.evaluation.held_out import HeldOutImage

LONGEST = 5000
"""Characters that MLflow's stores keep of a description."""
ROWS = 3
"""Pictures that are shown."""
HEIGHT = 256
"""Pixels, of a shown picture at most."""
GAP = 8
"""Pixels between shown pictures."""
PICTURES = "card/pictures.png"
"""The sheet's path among the artifacts of the version's run."""


class Origin(NamedTuple):
    """Where a version comes from, as its tags tell; empty where it is not known."""

    package: str
    """Content hash."""
    fingerprint: str
    bitstream: str
    commit: str
    lock: str
    """Digest of dvc.lock."""
    data: str
    """Digest of the manifest of the training data."""
    dataset: str
    """Its name."""


def card(
    name: str,
    variant: str,
    origin: Origin,
    params: Mapping[str, str],
    measured: Measured,
    checks: list[Check],
    pictures: str | None,
) -> str:
    """Markdown, at most LONGEST characters; `params` as from `flatten`, `pictures` the run that has the sheet."""
    failed = [f"{check.name} ({check.reason})" for check in checks if not check.passed]
    blocks = [
        f"# {name}: {variant}\n\nA generative image compressor of gencomp: pictures to files of a few hundred bytes, "
        "and back.",
        _table(_facts(origin, params)),
        f"## Quality\n\nMeans over {measured.images} pictures that were held out from training; rates of whole files.",
        _table(_qualities(measured)),
        f"The gate: {'failed: ' + '; '.join(failed) if failed else f'passed, {len(checks)} checks'}.",
        *([] if pictures is None else [_shown(pictures)]),
        f"## Use\n\n```sh\ngencomp models pull models:/{name}@champion DIR\n"
        f"gencomp compress photo.jpg photo.gnc --model DIR{_labels(params)}\n"
        "gencomp decompress photo.gnc photo.png --model DIR\n```",
        "## What it is not\n\nIt invents: texture, faces, writing and small objects are drawn as they might have been. "
        "Do not use it where a picture is evidence: medicine, law, science, identification, news.",
    ]
    return "\n\n".join(blocks)[:LONGEST]


def sheet(pictures: Iterator[HeldOutImage], decoded: Path) -> Image.Image | None:
    """Originals on the left, reconstructions (`<key>.png` in `decoded`) on the right, one picture a row.

    None where there are no reconstructions.
    """
    rows = []
    for picture in itertools.islice(pictures, ROWS):
        file = decoded / f"{picture.key}.png"
        if file.is_file():
            with Image.open(file) as opened:
                rows.append((_fitted(Image.fromarray(picture.pixels)), _fitted(opened.convert("RGB"))))
    if not rows:
        return None
    width = max(original.width for original, _ in rows)
    height = sum(original.height + GAP for original, _ in rows) - GAP
    canvas = Image.new("RGB", (2 * width + GAP, height), "white")
    top = 0
    for original, reconstruction in rows:
        canvas.paste(original, (0, top))
        canvas.paste(reconstruction, (width + GAP, top))
        top += original.height + GAP
    return canvas


def _fitted(picture: Image.Image) -> Image.Image:
    if picture.height <= HEIGHT:
        return picture
    width = max(1, round(picture.width * HEIGHT / picture.height))
    return picture.resize((width, HEIGHT), Image.Resampling.LANCZOS)


def _facts(origin: Origin, params: Mapping[str, str]) -> list[tuple[str, str]]:
    network = "light" if any(name.startswith("model.light.") for name in params) else params.get("model.width", "")
    facts = [
        ("package", f"`{origin.package[:16]}`"),
        ("fingerprint in its files", origin.fingerprint and f"`{origin.fingerprint}`"),
        ("format of its files", origin.bitstream and f".gnc, version {origin.bitstream}"),
        ("mode", params.get("model.mode", "gc").upper()),
        ("networks", network and f"width {network}" if network.isdecimal() else network),
        ("started from", params.get("init", "noise")),
        ("trained on", origin.dataset and f"{origin.dataset}, manifest `{origin.data[:16]}`"),
        ("steps", params.get("training.steps", "")),
        ("commit", origin.commit and f"`{_shortened(origin.commit)}`"),
        ("dvc.lock", origin.lock and f"`{origin.lock[:16]}`"),
    ]
    return [(name, value) for name, value in facts if value and value != "None"]


def _shortened(commit: str) -> str:
    digits, dash, dirty = commit.partition("-")
    return f"{digits[:12]}{dash}{dirty}"


def _qualities(measured: Measured) -> list[tuple[str, str]]:
    limit = "" if measured.max_bpp is None else f", files within {measured.max_bpp:g}"
    found = [("rate", f"{measured.bpp:.4f} bpp{limit}"), ("PSNR", f"{measured.psnr:.2f} dB")]
    similar = (
        ("MS-SSIM", measured.ms_ssim),
        ("LPIPS (AlexNet)", measured.lpips_alex),
        ("LPIPS (VGG16)", measured.lpips_vgg),
        ("DISTS", measured.dists),
        ("mIoU", measured.miou),
    )
    return found + [(name, f"{value:.4f}") for name, value in similar if value is not None]


def _labels(params: Mapping[str, str]) -> str:
    return " --labels ids.png --preserve REGION" if params.get("model.mode") == "sc" else ""


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _shown(run: str) -> str:
    """The sheet as MLflow's own pages show it, whatever server they come from."""
    address = f"get-artifact?{urlencode({'path': PICTURES, 'run_uuid': run})}"
    return f"Held-out pictures on the left, what is drawn of their files on the right:\n\n![pictures]({address})"
