"""How soon a page of two dozen pictures is there in a browser, and how large it is.

The page is the real one, of JPEG and WebP beside JPEG 2000 at three rates in the place of a model: to a browser it is
all one who coded a picture. `--page FILE` takes one that `gencomp evaluate` or `compare` has made instead. The
time is that to the load event, and that from a press on a picture until the two that it compares are decoded and drawn.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.browser import Browser, chromium
from benchmarks.rows import Bar, Row, arguments, finish, measured, say
from gencomp.evaluation.cache import picture_digest
from gencomp.evaluation.classical import CODECS, setting_name
from gencomp.evaluation.entry import Entry
from gencomp.evaluation.gallery import Source, candidates, gather, webp
from gencomp.evaluation.held_out import HeldOutError, HeldOutImage, HeldOutSample, folder_images
from gencomp.evaluation.metrics import psnr
from gencomp.evaluation.page import Fact, Page, PictureSet, make_part, render, result
from gencomp.evaluation.protocols import protocols
from gencomp.evaluation.rates import RateRow
from gencomp.evaluation.report import GALLERY_BYTES
from gencomp.evaluation.summary import sentences

PICTURES = 24
OPEN = Bar("<=", 2.0)
"""Seconds."""
SIZE = Bar("<=", 40.0)
"""10^6 bytes."""
MODEL, RATES = "jpeg2000", (0.05, 0.1, 0.2)
"""Codec in the place of a model, and its bits per pixel."""
LADDERS = {"jpeg": (1, 5, 10, 20), "webp": (0, 5, 10, 20)}

Pixels = NDArray[np.uint8]


class Opened(NamedTuple):
    """How a page came up."""

    load: float
    """Seconds until the load event had ended."""
    press: float
    """Seconds from the first press on a picture until both that it compares were drawn."""
    thread: float
    """Seconds of processor time of the page's main thread until then."""


class _Coded(NamedTuple):
    size: int
    decoded: Pixels
    psnr: float


def build(images: Sequence[HeldOutImage]) -> bytes:
    """The page of these pictures. Equal pictures are coded and embedded once."""
    files: dict[tuple[str, str, float], _Coded] = {}

    def coded(image: HeldOutImage, codec: str, setting: float) -> _Coded:
        key = picture_digest(image.pixels), codec, setting
        if key not in files:
            data, decoded = CODECS[codec].round_trip(image.pixels, setting)
            files[key] = _Coded(len(data), decoded, psnr(image.pixels, decoded))
        return files[key]

    def row(image: HeldOutImage, codec: str, setting: float, name: str) -> RateRow:
        height, width, _ = image.pixels.shape
        found = coded(image, codec, setting)
        return RateRow(image.key, name, setting_name(setting), width, height, found.size, None, None, found.psnr, None)

    by_key = {image.key: image for image in images}
    names = {f"model within {rate:g} bpp": rate for rate in RATES}
    entries = [
        Entry(name, "model", "model-0", name, {image.key: row(image, MODEL, rate, "model") for image in images})
        for name, rate in names.items()
    ]
    anchors = [
        row(image, codec, setting, codec) for image in images for codec, ladder in LADDERS.items() for setting in ladder
    ]
    pictures = PictureSet("pictures", entries, anchors, public=False)
    source = Source(
        map(HeldOutSample, images),
        lambda entry, key: coded(by_key[key], MODEL, names[entry]).decoded,
        lambda one: coded(by_key[one.key], one.codec, float(one.setting)).decoded,
        encode=_once(webp),
    )
    found = candidates(entries, anchors, source, pictures.primary, GALLERY_BYTES)
    part = make_part(pictures, *gather([found], GALLERY_BYTES))
    summary = sentences([result(part, item, 0, 0)._replace(pictures="") for item in part.entries], focus=1)
    known = protocols(["psnr"], (CODECS[name] for name in LADDERS), lambda codec: LADDERS[codec.name])
    facts = [Fact("Pictures", "", f"{len(images)}")]
    return render(Page("a model on pictures", summary, [part], facts, protocols=[known]))


def opened(browser: Browser, address: str, width: int, height: int) -> Opened:
    """Open a page, press the first picture of a model, close what that opens."""
    browser.call("Page.navigate", url="about:blank")
    browser.call("Performance.enable")
    browser.open(address, width, height, touch=width < 500)
    load = browser.value("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000
    press = browser.value("""(async () => {
        const start = performance.now();
        document.querySelector('.shot.model button').click();
        await Promise.all([...document.querySelectorAll('.stage img')].map(image => image.decode()));
        await new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)));
        return performance.now() - start; })()""")
    found = {one["name"]: one["value"] for one in browser.call("Performance.getMetrics")["metrics"]}
    browser.value("viewer.close()")
    return Opened(load, press / 1000, found["ThreadTime"])


def rows(page: Path, browser: Browser) -> Iterator[Row]:
    """The page's size, and the better of three openings in a wide and in a narrow window."""
    yield measured("page", page.stat().st_size / 1e6, "MB", SIZE)
    for width, height in ((1280, 900), (390, 844)):
        tries = [opened(browser, page.as_uri(), width, height) for _ in range(3)]
        best = min(tries, key=lambda one: one.load + one.press)
        say(f"{width} wide: {', '.join(f'{one.load:.2f} + {one.press:.2f} s' for one in tries)}")
        yield measured(f"{width} wide: load event", best.load, "s")
        yield measured(f"{width} wide: first press until drawn", best.press, "s")
        yield measured(f"{width} wide: both", best.load + best.press, "s", OPEN)
        yield measured(f"{width} wide: processor time of the page's thread", min(one.thread for one in tries), "s")


def main() -> int:
    parser = arguments("Measures how soon a page of pictures is there in a headless Chromium.")
    parser.add_argument("images", type=Path, nargs="?", help="a folder of pictures, such as Kodak's")
    parser.add_argument("--page", type=Path, metavar="FILE", help="a page that was made before")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the page there too")
    args = parser.parse_args()
    if (args.images is None) == (args.page is None):
        parser.error("give a folder of pictures, or --page")
    command = chromium()
    if command is None:
        parser.error("no Chromium is on the path; GENCOMP_CHROMIUM may name one")
    with tempfile.TemporaryDirectory() as folder:
        page = args.page or Path(folder, "index.html")
        if args.images:
            try:
                images = list(folder_images(args.images))[: 4 if args.quick else PICTURES]
            except HeldOutError as error:
                parser.error(str(error))
            page.write_bytes(build(images))
            if args.keep:
                args.keep.write_bytes(page.read_bytes())
        with closing(Browser(command, Path(folder))) as browser:
            return finish(list(rows(page.resolve(), browser)), args.json)


def _once(encode: Callable[[Pixels, bool], bytes]) -> Callable[[Pixels, bool], bytes]:
    known: dict[tuple[str, bool], bytes] = {}

    def encoded(pixels: Pixels, lossless: bool) -> bytes:
        key = picture_digest(pixels), lossless
        if key not in known:
            known[key] = encode(pixels, lossless)
        return known[key]

    return encoded


if __name__ == "__main__":
    sys.exit(main())
