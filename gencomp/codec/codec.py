"""The codec: pictures to .gnc streams and back with one model."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from gencomp.codec.coder import Symbols, decode, encode, least_payloads
from gencomp.codec.container import (
    FINGERPRINT_BYTES,
    HEADER_BYTES,
    Entropy,
    Header,
    Stream,
    StreamError,
    pack,
    parse,
)
from gencomp.codec.pixels import canonical, check_size
from gencomp.codec.rate import DEFAULT_MAX_BPP, Limit, RateError, asked_limit
from gencomp.models.package import Package, PackageError, load_package
from gencomp.references import DEFAULT_REFERENCE, UnknownModelError, resolve

SMALLEST_SIDE = 32
"""Pixels; smaller pictures are padded to it, so that reflection padding finds enough latent positions."""
MAX_UNTILED_PIXELS = 1 << 24
"""Largest picture, in pixels. Instance normalisation reads the statistics of the whole picture, so it cannot be tiled,
and the networks hold it in memory at once: at width 60 about 0.9 GB per megapixel."""


class Codec:
    """`compress(image) -> bytes` and `decompress(bytes) -> image` with the model of one package.

        codec = Codec.from_reference()
        stream = codec.compress(Image.open("photo.jpg"))
        codec.decompress(stream).save("photo.png")

    Nested models give every rate: `compress(image, max_bpp=0.02)`, `max_bytes=2000` or `channels=4`.
    Networks run in float32. One codec may serve several threads; it sets no global state.
    """

    def __init__(self, package: Package, device: str = "cpu") -> None:
        """Prefer `from_reference` or `from_package`."""
        self.package = package
        self._device = torch.device(device)
        self._compressor = package.compressor.to(self._device).eval()
        self._fingerprint = package.fingerprint[:FINGERPRINT_BYTES]
        channels = package.config.channels
        self._codable = range(1 if package.config.nested else channels, channels + 1)

    @classmethod
    def from_reference(
        cls, ref: str | Path = DEFAULT_REFERENCE, *, device: str = "cpu", cache: Path | None = None
    ) -> "Codec":
        """The codec of a shipped model (`light`, `light-1`), a package folder or an MLflow URI (`models:/name@alias`,
        `models:/name/version`).

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

    def compress(
        self,
        image: Image.Image,
        *,
        entropy: Entropy = "static",
        channels: int | None = None,
        max_bpp: float | None = None,
        max_bytes: int | None = None,
    ) -> bytes:
        """A picture of any mode and size up to 2**24 pixels as a stream.

        At most one rate is asked for: `channels`, the first of the latent that are coded, or a limit on the whole
        stream in bits per pixel or in bytes. Of a nested model, a limit takes the most channels that keep it; where no
        rate is asked for, the limit is DEFAULT_MAX_BPP, and pictures too small for it get one channel. Other models
        code all channels, whatever is asked for, and a limit is a check.

        Raises PictureError, and RateError for a number of channels that the model does not code or a limit that cannot
        be kept. The stream is never larger than `bound_bytes` of its latent: where `static` does not save, it is `raw`.
        """
        limit = asked_limit(channels, max_bpp, max_bytes)
        self._check_channels(channels)
        rgb = _checked(image)
        symbols = self._symbols(rgb)
        if self.package.config.nested and channels is None:
            return self._most_channels(rgb, symbols, entropy, limit)
        stream = self._stream(rgb, symbols[:channels], entropy)
        if limit is not None and not limit.allows(len(stream), rgb.width * rgb.height):
            raise limit.refusal(len(stream), rgb.width * rgb.height)
        return stream

    def decompress(self, data: bytes) -> Image.Image:
        """The RGB picture of a stream. Raises StreamError when it is damaged or another model's."""
        stream = parse(data, max_pixels=MAX_UNTILED_PIXELS)
        width, height = stream.header.width, stream.header.height
        pixels = self._generate(self._decode(stream))[:height, :width]
        return Image.fromarray(np.ascontiguousarray(pixels))

    def symbols(self, image: Image.Image) -> Symbols:
        """The symbols (C, h, w) of a picture, of which nested models code the first channels. Raises PictureError."""
        return self._symbols(_checked(image))

    def decode_symbols(self, data: bytes) -> Symbols:
        """The coded symbols (C, h, w) of a stream, the same on every machine; runs no network. Raises StreamError."""
        return self._decode(parse(data))

    def _check_channels(self, channels: int | None) -> None:
        if channels is not None and channels not in self._codable:
            raise RateError(f"this model codes {self._spelled()} channels, not {channels}")

    def _most_channels(self, rgb: Image.Image, symbols: Symbols, entropy: Entropy, limit: Limit | None) -> bytes:
        """The stream with the most channels that keeps `limit`; None is the default limit, which refuses nothing.

        Sizes may fall by a byte from one number of channels to the next, so every number that might fit is tried.
        """
        pixels = rgb.width * rgb.height
        aim = limit or Limit(bpp=DEFAULT_MAX_BPP)
        least = least_payloads(symbols, self.package.frequencies)
        for count in reversed(self._codable):
            if aim.allows(HEADER_BYTES + least[count - 1], pixels):
                stream = self._stream(rgb, symbols[:count], entropy)
                if aim.allows(len(stream), pixels):
                    return stream
        if limit is None:
            return self._stream(rgb, symbols[:1], entropy)
        sizes = [len(self._stream(rgb, symbols[:count], entropy)) for count in self._codable]
        raise limit.refusal(min(sizes), pixels)

    def _stream(self, rgb: Image.Image, symbols: Symbols, entropy: Entropy) -> bytes:
        """The stream of the symbols (C, h, w) that are to be coded."""
        coded = encode(symbols, self.package.frequencies[: len(symbols)], entropy)
        header = Header(rgb.width, rgb.height, len(symbols), coded.entropy, self._fingerprint)
        return pack(header, coded.payload)

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
        """Coded symbols (C, h, w) -> pixels (H, W, 3), padding included."""
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
        if header.channels not in self._codable:
            raise StreamError(f"this stream has {header.channels} latent channels, and its model has {self._spelled()}")
        h, w = (self._padded_side(side) // config.stride for side in (header.height, header.width))
        frequencies = self.package.frequencies[: header.channels]
        return decode(stream.payload, header.entropy, (header.channels, h, w), frequencies)

    def _spelled(self) -> str:
        first, last = self._codable[0], self._codable[-1]
        return f"{first} to {last}" if first < last else f"{last}"

    def _padded_side(self, side: int) -> int:
        """The next multiple of the stride, and at least what the networks need; pixels."""
        config = self.package.config
        smallest = max(SMALLEST_SIDE, config.smallest_side)
        return max(smallest, -(-side // config.stride) * config.stride)


def _checked(image: Image.Image) -> Image.Image:
    check_size(image, MAX_UNTILED_PIXELS)
    return canonical(image)
