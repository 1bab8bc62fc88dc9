"""Learned codecs of others beside the models: Balle et al. 2018 and Minnen et al. 2018, as compressai has them.

Their weights are those of compressai's zoo, trained for MSE, one file for each quality. Nothing is downloaded here: the
files are taken from where torch.hub keeps them, checked against the hash in their names, and read without running what
is in them.

A file is written as follows, since compressai has strings and no format:

    1 byte quality, 2 bytes width, 2 bytes height, for each string but the last 4 bytes of its length, the strings
"""

import functools
import hashlib
import importlib.metadata
import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gencomp.evaluation.classical import ClassicalCodecError

STRIDE = 64
"""Sides are continued to multiples of so many pixels, by their last row and column."""
HEAD = struct.Struct(">BHH")
LENGTH = struct.Struct(">I")
USED = (1, 2, 3, 4)
"""Qualities that must be there: the lowest of the zoo's eight, up to about half a bit per pixel."""


class Zoo(Protocol):
    """A network of compressai."""

    def compress(self, x: Tensor) -> dict[str, list[list[bytes]]]:
        """(1, 3, H, W) in [0, 1] -> `strings`, for each latent a list with the string of the one picture."""

    def decompress(self, strings: list[list[bytes]], shape: Sequence[int]) -> dict[str, Tensor]:
        """The same strings and shape -> `x_hat`, (1, 3, H, W) in [0, 1]."""


def missing(architecture: str) -> str | None:
    """Why a codec of the zoo cannot be used here, where compressai is installed; or None."""
    try:
        files = [weights_file(architecture, quality) for quality in USED]
    except Exception as error:  # whatever its own imports raise: torchvision a RuntimeError
        return f"compressai does not import: {str(error).splitlines()[0]}"
    absent = [file.name for file in files if not file.is_file()]
    return f"no {absent[0]} in {files[0].parent}: docs/peers.md" if absent else None


def version() -> str:
    """Of what encodes and decodes; the threads, since sums of floats follow them."""
    package = importlib.metadata.version("compressai")
    return f"compressai {package}, torch {torch.__version__}, {torch.get_num_threads()} threads"


def encode(architecture: str, image: Image.Image, quality: int) -> bytes:
    """An RGB picture as a file. Raises ClassicalCodecError where the weights are missing or not the zoo's."""
    if max(image.size) > 0xFFFF:
        raise ClassicalCodecError(f"{architecture}: sides of at most 65535 pixels fit into its file")
    x = torch.from_numpy(_continued(np.asarray(image))).permute(2, 0, 1)[None].float() / 255  # (1, 3, H, W)
    with torch.inference_mode():
        strings = network(architecture, quality).compress(x)["strings"]
    return pack(quality, image.width, image.height, [string for (string,) in strings])


def decode(architecture: str, data: bytes) -> Image.Image:
    """The RGB picture of a file. Raises ClassicalCodecError for a file that is damaged."""
    quality, width, height, strings = unpack(architecture, data)
    x_hat = _decompressed(architecture, quality, width, height, strings)
    pixels = (x_hat[0, :, :height, :width] * 255).round().to(torch.uint8)  # (3, height, width)
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def pack(quality: int, width: int, height: int, strings: Sequence[bytes]) -> bytes:
    """The bytes of a file."""
    lengths = [LENGTH.pack(len(string)) for string in strings[:-1]]
    return b"".join([HEAD.pack(quality, width, height), *lengths, *strings])


def unpack(architecture: str, data: bytes) -> tuple[int, int, int, list[bytes]]:
    """Quality, width, height and strings of a file. Raises ClassicalCodecError for one that is cut short."""
    strings, position = [], HEAD.size + LENGTH.size * (_strings(architecture) - 1)
    if len(data) < position:
        raise ClassicalCodecError(f"{architecture}: a file of {len(data)} bytes is cut short")
    quality, width, height = HEAD.unpack_from(data)
    for start in range(HEAD.size, position, LENGTH.size):
        (length,) = LENGTH.unpack_from(data, start)
        strings.append(data[position : position + length])
        position += length
    if position > len(data):
        raise ClassicalCodecError(f"{architecture}: a file of {len(data)} bytes is cut short")
    return quality, width, height, [*strings, data[position:]]


@functools.lru_cache(maxsize=16)
def network(architecture: str, quality: int) -> Zoo:
    """A network of the zoo with its weights. Raises ClassicalCodecError."""
    from compressai.zoo.image import model_architectures
    from compressai.zoo.pretrained import load_pretrained

    file = weights_file(architecture, quality)
    try:
        data = file.read_bytes()
    except OSError:
        raise ClassicalCodecError(f"{architecture}: no {file.name} in {file.parent}: docs/peers.md") from None
    if not hashlib.sha256(data).hexdigest().startswith(file.name.split(".")[0].rsplit("-", 1)[1]):
        raise ClassicalCodecError(f"{file}: not what its name says; fetch it again")
    weights = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    found = model_architectures[architecture].from_state_dict(load_pretrained(weights)).eval()
    found.update()
    return found


def weights_file(architecture: str, quality: int) -> Path:
    """Where torch.hub keeps the weights of a quality. Raises ClassicalCodecError for a quality that the zoo has not."""
    from compressai.zoo.image import model_urls

    urls = model_urls[architecture]["mse"]
    if quality not in urls:
        raise ClassicalCodecError(f"{architecture}: no quality {quality}; the zoo has {min(urls)} to {max(urls)}")
    return Path(torch.hub.get_dir(), "checkpoints", urls[quality].rsplit("/", 1)[1])


def _strings(architecture: str) -> int:
    """Strings in a file: that of y, and with a hyperprior that of z."""
    return 1 if architecture == "bmshj2018-factorized" else 2


def _decompressed(architecture: str, quality: int, width: int, height: int, strings: Sequence[bytes]) -> Tensor:
    """(1, 3, H, W) in [0, 1], sides continued."""
    stride = 16 if _strings(architecture) == 1 else STRIDE
    shape = [-(-side // STRIDE) * STRIDE // stride for side in (height, width)]
    try:
        with torch.inference_mode():
            return network(architecture, quality).decompress([[string] for string in strings], shape)["x_hat"]
    except (ValueError, RuntimeError, IndexError) as error:
        raise ClassicalCodecError(f"{architecture}: a damaged file ({error})") from None


def _continued(x: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.pad(x, ((0, -x.shape[0] % STRIDE), (0, -x.shape[1] % STRIDE), (0, 0)), mode="edge")
