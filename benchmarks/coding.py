"""A process that encodes or decodes files and does nothing else, for `benchmarks.practicality`:

    encode|decode CODEC ROUNDS THREADS SETTING FILE...

CODEC is a classical codec's name, and SETTING its quality; or a model reference, and SETTING the limit of a nested one
in bits per pixel, or None. Only what the codec itself needs is imported.
"""

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from gencomp.evaluation.classical import CODECS


def main(what: str, name: str, rounds: str, threads: str, setting: str, *paths: str) -> int:
    """Print when the first file was done, in seconds since 1970, and the milliseconds of each in every round."""
    call = calls(what, name, setting, int(threads))
    call(Path(paths[0]).read_bytes())
    first = time.time()
    milliseconds = []
    for data in [Path(path).read_bytes() for path in paths] * int(rounds):
        start = time.perf_counter()
        call(data)
        milliseconds.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"first": first, "pictures": len(paths), "milliseconds": milliseconds}))
    return 0


def calls(what: str, name: str, setting: str, threads: int) -> Callable[[bytes], object]:
    """From a picture's PNG to its file, or from a file to its picture."""
    if name in CODECS:
        classical = CODECS[name]
        return classical.decode if what == "decode" else lambda data: classical.encode(_opened(data), float(setting))
    import torch

    from gencomp import Codec

    torch.set_num_threads(threads)
    codec, limit = Codec.from_reference(name), None if setting == "None" else float(setting)
    return codec.decompress if what == "decode" else lambda data: codec.compress(_opened(data), max_bpp=limit)


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
