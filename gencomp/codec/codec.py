"""The codec: pictures to .gnc streams and back with one model."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from gencomp.codec.coder import Symbols, decode, encode
from gencomp.codec.container import FINGERPRINT_BYTES, Entropy, Header, Stream, StreamError, pack, parse
from gencomp.codec.pixels import canonical, check_size
from gencomp.models.package import Package, PackageError, load_package
from gencomp.references import UnknownModelError, resolve

SMALLEST_SIDE = 32
"""Pixels; smaller pictures are padded to it, so that reflection padding finds enough latent positions."""
MAX_UNTILED_PIXELS = 1 << 24
"""Largest picture, in pixels. Instance normalisation reads the statistics of the whole picture, so it cannot be tiled,
and the networks hold it in memory at once: at width 60 about 0.9 GB per megapixel."""


class Codec:
    """`compress(image) -> bytes` and `decompress(bytes) -> image` with the model of one package.

        codec = Codec.from_reference("models/gc")
        stream = codec.compress(Image.open("photo.jpg"))
        codec.decompress(stream).save("photo.png")

    Networks run in float32. One codec may serve several threads; it sets no global state.
    """

    def __init__(self, package: Package, device: str = "cpu") -> None:
        """Prefer `from_reference` or `from_package`."""
        self.package = package
        self._device = torch.device(device)
        self._compressor = package.compressor.to(self._device).eval()
        self._fingerprint = package.fingerprint[:FINGERPRINT_BYTES]

    @classmethod
    def from_reference(cls, ref: str | Path, *, device: str = "cpu", cache: Path | None = None) -> "Codec":
        """The codec of a package folder or an MLflow URI (`models:/name@alias`, `models:/name/version`).

        `cache` keeps pulled packages; ~/.cache/gencomp/models where none is given. Raises UnknownModelError.
        """
        try:
            return cls(load_package(resolve(ref, cache=cache)), device)
        except PackageError as error:
            raise UnknownModelError(str(error)) from None

    @classmethod
    def from_package(cls, package: Package, *, device: str = "cpu") -> "Codec":
        """The codec of a loaded package; its networks are moved to `device` and set to evaluation mode."""
        return cls(package, device)

    def compress(self, image: Image.Image, *, entropy: Entropy = "static") -> bytes:
        """A picture of any mode and size up to 2**24 pixels as a stream. Raises PictureError.

        The stream is never larger than `bound_bytes` of its latent: where `static` does not save, it is `raw`.
        """
        rgb = _checked(image)
        coded = encode(self._symbols(rgb), self.package.frequencies, entropy)
        header = Header(rgb.width, rgb.height, self.package.config.channels, coded.entropy, self._fingerprint)
        return pack(header, coded.payload)

    def decompress(self, data: bytes) -> Image.Image:
        """The RGB picture of a stream. Raises StreamError when it is damaged or another model's."""
        stream = parse(data, max_pixels=MAX_UNTILED_PIXELS)
        width, height = stream.header.width, stream.header.height
        pixels = self._generate(self._decode(stream))[:height, :width]
        return Image.fromarray(np.ascontiguousarray(pixels))

    def symbols(self, image: Image.Image) -> Symbols:
        """The symbols (C, h, w) that `compress` codes for a picture. Raises PictureError."""
        return self._symbols(_checked(image))

    def decode_symbols(self, data: bytes) -> Symbols:
        """The symbols (C, h, w) of a stream, the same on every machine; runs no network. Raises StreamError."""
        return self._decode(parse(data))

    def _symbols(self, rgb: Image.Image) -> Symbols:
        config = self.package.config
        height, width = self._padded_side(rgb.height), self._padded_side(rgb.width)
        edges = ((0, height - rgb.height), (0, width - rgb.width), (0, 0))
        pixels = np.pad(np.asarray(rgb), edges, mode="edge")  # (H, W, 3)
        with torch.inference_mode():
            x = torch.from_numpy(pixels).to(self._device).permute(2, 0, 1)[None]  # (1, 3, H, W)
            w = self._compressor.E(x.float() / 127.5 - 1)
            symbols = self._compressor.q.symbols(w)[0]  # (C, h, w)
        assert symbols.shape == (config.channels, height // config.stride, width // config.stride)
        return symbols.to("cpu", torch.uint8).numpy()

    def _generate(self, symbols: Symbols) -> npt.NDArray[np.uint8]:
        """Symbols (C, h, w) -> pixels (H, W, 3), padding included."""
        with torch.inference_mode():
            indices = torch.from_numpy(symbols).to(self._device, torch.int64)[None]
            x_hat = self._compressor.G(self._compressor.q.values(indices))[0]  # (3, H, W)
            pixels = ((x_hat + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(1, 2, 0).cpu().numpy()

    def _decode(self, stream: Stream) -> Symbols:
        header, config = stream.header, self.package.config
        if header.fingerprint != self._fingerprint:
            raise StreamError(
                f"this stream was made by model {header.fingerprint.hex()}, and this is model {self._fingerprint.hex()}"
            )
        if header.channels != config.channels:
            raise StreamError(f"this stream has {header.channels} latent channels, and its model has {config.channels}")
        h, w = (self._padded_side(side) // config.stride for side in (header.height, header.width))
        return decode(stream.payload, header.entropy, (config.channels, h, w), self.package.frequencies)

    def _padded_side(self, side: int) -> int:
        """The next multiple of the stride, and at least what the networks need; pixels."""
        config = self.package.config
        smallest = max(SMALLEST_SIDE, config.smallest_side)
        return max(smallest, -(-side // config.stride) * config.stride)


def _checked(image: Image.Image) -> Image.Image:
    check_size(image, MAX_UNTILED_PIXELS)
    return canonical(image)
