"""The end of `make pipeline`: the champion from the registry compresses a photograph that it was not trained on."""

from pathlib import Path

import numpy as np
from PIL import Image

from gencomp.codec.codec import Codec
from gencomp.codec.container import describe
from gencomp.codec.pixels import PictureError, open_picture
from gencomp.data.atomic import replacing
from gencomp.evaluation.held_out import HeldOutError, held_out_images
from gencomp.evaluation.metrics import ms_ssim, psnr
from gencomp.references import UnknownModelError
from gencomp.registry.store import RegistryError
from stages.entry import StageError, params, run

VARIANT = "gc"
OUTPUT = Path("first-picture")
REPORT = Path("report/index.html")


def main(image: str = "") -> None:
    """Compress the first held-out photograph, or the picture file given, and say what came of it:
    python -m stages.first_picture --image photo.jpg
    """
    reference = f"models:/{params(str, 'registry', 'prefix')}-{VARIANT}@champion"
    try:
        codec = Codec.from_reference(reference, cache=Path(".scratch/pulled"))
        key, original = _photograph(image, codec.max_pixels)
    except (UnknownModelError, RegistryError, PictureError, HeldOutError) as error:
        raise StageError(str(error)) from None
    stream, decoded, kept = (OUTPUT / f"{key}{end}" for end in (".gnc", ".png", "-original.png"))
    with replacing(stream) as temporary:
        temporary.write_bytes(codec.compress(original))
    picture = codec.decompress(stream.read_bytes())
    _save(picture, decoded)
    _save(original, kept)
    print(_summary(reference, stream, np.asarray(original), np.asarray(picture)))
    print(f"  picture     {kept} -> {stream} -> {decoded}")
    print(f"  report      {REPORT}")


def _photograph(image: str, max_pixels: int) -> tuple[str, Image.Image]:
    """Key and pixels of the picture file, or of the first photograph of the split `val`."""
    if image:
        return Path(image).stem, open_picture(Path(image), max_pixels=max_pixels)
    shards = Path("data/shards") / params(str, "variants", VARIANT, "dataset")
    key, pixels = next(held_out_images(shards, "val"))
    return key, Image.fromarray(pixels)


def _save(picture: Image.Image, path: Path) -> None:
    with replacing(path) as temporary:
        picture.save(temporary, "PNG")


def _summary(reference: str, stream: Path, original: np.ndarray, decoded: np.ndarray) -> str:
    size = stream.stat().st_size
    height, width, _ = original.shape
    similarity = ms_ssim(original, decoded)
    lines = [
        f"{stream.stem}, {width} x {height}, by {reference}",
        f"  size        {size} bytes of {width * height * 3}, {describe(stream.read_bytes()).bpp:.4f} bpp",
        f"  PSNR        {psnr(original, decoded):.2f} dB",
        f"  MS-SSIM     {'- (picture too small)' if similarity is None else f'{similarity:.4f}'}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
