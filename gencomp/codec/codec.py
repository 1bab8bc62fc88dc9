"""The codec: pictures to .gnc streams and back with one model."""

import binascii
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from gencomp.codec.coder import Contexts, Frequencies, Symbols, decode, encode
from gencomp.codec.container import (
    FINGERPRINT_BYTES,
    MAX_PIXELS,
    Entropy,
    Header,
    Parts,
    Stream,
    StreamError,
    join_payload,
    pack,
    parse,
)
from gencomp.codec.context import Coding, ContextModel
from gencomp.codec.filling import Chosen, Filling, Request, room
from gencomp.codec.maps import Bits
from gencomp.codec.pixels import PictureError, canonical, check_size
from gencomp.codec.pricing import costs
from gencomp.codec.rate import Limit, RateError, asked_limit
from gencomp.codec.search import Judge, Search, SearchError, Task, load_judge
from gencomp.codec.selection import BinaryMap, IdMap, Preserve, Selection, SelectionError, side_information
from gencomp.codec.side import Side, pack_side, unlabelled, unpack_mask, unpack_side
from gencomp.codec.tensors import image_tensor, nearest_symbols
from gencomp.codec.tiles import Progress, Tile, reported, tileable, tilings
from gencomp.models.latent import draw_noise
from gencomp.models.package import Package, PackageError, load_package
from gencomp.models.semantics import one_hot
from gencomp.references import DEFAULT_REFERENCE, UnknownModelError, resolve

Number = TypeVar("Number", bound=np.generic)
Pixels = npt.NDArray[np.uint8]
Place = tuple[slice, slice, slice]

MOST_SEARCHED = 1.12
"""A search begins with the most channels that cost up to so many times what they may, for what it saves in each."""
SMALLEST_SIDE = 32
"""Pixels; smaller pictures are padded to it, so that reflection padding finds enough latent positions."""
MAX_UNTILED_PIXELS = 1 << 24
"""Largest picture, in pixels, once it is padded, of models whose norms read statistics of the whole picture. It cannot
be tiled, and the networks hold it in memory at once: at width 60 about 0.9 GB per megapixel, and for SC 4 bytes more
per pixel and class. Of the others, MAX_PIXELS is the limit."""


class Codec:
    """`compress(image) -> bytes` and `decompress(bytes) -> image` with the model of one package.

        codec = Codec.from_reference()
        stream = codec.compress(Image.open("photo.jpg"))
        codec.decompress(stream).save("photo.png")

    Nested models give every rate: `compress(image, max_bpp=0.02)`, `max_bytes=2000` or `channels=4`. Models of
    selective compression (SC) also take what to keep: `compress(image, labels=label_map, preserve="classes:8,11")`;
    the rest is drawn anew from the label map, which travels in the stream.
    Networks run in float32. One codec may serve several threads; it sets no global state. Large pictures pass the
    networks tile by tile, in 0.6 GB beside the picture (light-2), and `progress` hears of the tiles done and of all.
    """

    def __init__(self, package: Package, device: str = "cpu") -> None:
        """Prefer `from_reference` or `from_package`."""
        self.package = package
        self._device = torch.device(device)
        self._compressor = package.compressor.to(self._device).eval()
        self._fingerprint = package.fingerprint[:FINGERPRINT_BYTES]
        self._context = None if package.network is None else ContextModel(package.network)
        channels = package.config.channels
        self._codable = range(1 if package.config.nested else channels, channels + 1)
        self._filling = Filling(package, self._context)
        self._tilings = tilings(package.config)
        self.max_pixels = MAX_PIXELS if tileable(package.config) else MAX_UNTILED_PIXELS
        """Largest picture and stream, once it is padded; a larger one is refused before anything is allocated."""
        self.why_max_pixels = "" if tileable(package.config) else ", since this model reads all of it at once"
        """What a refusal says of it."""

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
        entropy: Entropy = "context",
        channels: int | None = None,
        max_bpp: float | None = None,
        max_bytes: int | None = None,
        labels: IdMap | None = None,
        edges: BinaryMap | None = None,
        instances: IdMap | None = None,
        preserve: Preserve | None = None,
        effort: int = 0,
        progress: Progress | None = None,
        coded: Callable[[Symbols], None] | None = None,
    ) -> bytes:
        """A picture of any mode and size up to `max_pixels` as a stream.

        At most one rate is asked for: `channels`, the first of the latent that are coded, or a limit on the whole
        stream in bits per pixel or in bytes. Of a nested model, a limit takes the most channels that keep it, and where
        it has room for most of one more, that one too, thinned (gencomp/codec/thinning.py). Where no rate is asked for,
        the limit is DEFAULT_MAX_BPP, and pictures too small for it get one channel. Other models code all channels,
        whatever is asked for, and a limit is a check.

        SC models need `labels`, ids (H, W) of the upright picture, 255 where unlabelled (65535 for models of more than
        255 classes); `edges` (H, W) of instances are by default the borders of `labels` and of `instances` (H, W),
        where given. `preserve` is a region such as "all", the default, "none", "box:0,0,64,64", "classes:3,8" or
        "instances:2", or a mask (H, W). A latent position is coded where any of its pixels is preserved. Other models
        take none of the four.

        `effort` is the number of steps that search the symbols (gencomp/codec/search.py): a sharper picture in the same
        bytes for the encoder's time alone. 6 do most of it. Models of selective compression and those that take noise
        go without, and `gencomp weights fetch lpips-alex lpips-vgg dists` comes first.

        `coded` hears of the symbols (C, h, w) that are in the stream; of SC, L // 2 where none is coded.

        Raises PictureError, RateError for a number of channels that the model does not code or a limit that cannot be
        kept, SelectionError and RegionError; with `effort` SearchError and MissingWeightsError.
        `entropy="context"` takes the shortest of context, static and raw, and `static` that of static and raw, so that
        the stream is never larger than `bound_bytes` of its latent and its side information.
        """
        limit = asked_limit(channels, max_bpp, max_bytes)
        self._check_channels(channels)
        rgb = self._checked(image)
        side = self._side(rgb, Selection(labels, edges, instances, preserve))
        self._check_effort(effort)
        if effort:
            found = self._searched(rgb, entropy, channels, limit, effort, progress)
        elif self._fills(channels):
            found = self._filling(self._latent(rgb, progress), self._request(rgb, entropy, limit))
        else:
            found = self._chosen(rgb, self._symbols(rgb, side, progress), entropy, channels, limit, side)
        if coded is not None:
            coded(found.symbols)
        return found.stream

    def decompress(self, data: bytes, *, progress: Progress | None = None) -> Image.Image:
        """The RGB picture of a stream. Raises StreamError when it is damaged or another model's.

        It depends on the stream alone: the noise v of models that take it is drawn from the payload's CRC-32.
        """
        stream = self._parsed(data)
        return self._generate(stream, self._decode(stream), progress)

    def symbols(
        self,
        image: Image.Image,
        *,
        labels: IdMap | None = None,
        edges: BinaryMap | None = None,
        instances: IdMap | None = None,
        preserve: Preserve | None = None,
    ) -> Symbols:
        """The symbols (C, h, w) of a picture, of which nested models code the first channels.

        Of SC, with what `compress` takes: symbol L // 2, for odd L the center 0, where nothing is preserved and so
        nothing is coded. Raises as `compress` does.
        """
        rgb = self._checked(image)
        return self._symbols(rgb, self._side(rgb, Selection(labels, edges, instances, preserve)))

    def decode_symbols(self, data: bytes) -> Symbols:
        """The coded symbols (C, h, w) of a stream, the same on every machine; runs no network. Of SC, symbol L // 2
        where none is coded. Raises StreamError."""
        return self._decode(self._parsed(data))

    def encode_symbols(self, symbols: Symbols, size: tuple[int, int], *, entropy: Entropy = "context") -> bytes:
        """The stream of symbols (C, h, w) of a picture of `size` (width, height): what `decode_symbols` gives back. For
        symbols from elsewhere than E. Not for SC, whose streams carry more.

        Raises RateError for a number of channels that the model does not code, and ValueError for another shape than
        the size asks for or symbols that are no index of a center.
        """
        if self.package.config.mode == "sc":
            raise ValueError("symbols of selective compression are coded with their label map: use compress")
        self._check_channels(len(symbols))
        if symbols.shape[1:] != self._latent_size(size):
            raise ValueError(f"symbols of {symbols.shape} are not those of a picture of {size[0]} x {size[1]} pixels")
        if symbols.max(initial=0) >= self.package.config.levels:
            raise ValueError(f"symbols go up to {self.package.config.levels - 1}, not {symbols.max()}")
        return self._stream(size, symbols.astype(np.uint8), entropy)

    def decode_side(self, data: bytes) -> Side:
        """Label map, edges and mask of an SC stream, exactly as they were coded; runs no network.

        Raises StreamError, also for a stream of another kind.
        """
        stream = self._parsed(data)
        self._check_model(stream)
        if stream.header.mode != "sc":
            raise StreamError("this stream has no side information: it is not of selective compression")
        return self._unpack_side(stream)

    def _checked(self, image: Image.Image) -> Image.Image:
        """The picture in RGB. Raises PictureError for one that is empty or, once padded, too large."""
        check_size(image, MAX_PIXELS)
        if refusal := self._too_large(*image.size):
            raise PictureError(refusal)
        return canonical(image)

    def _parsed(self, data: bytes) -> Stream:
        """The stream, of which nothing is decoded yet. Raises StreamError, also for one that pads to too much."""
        stream = parse(data)
        if refusal := self._too_large(stream.header.width, stream.header.height):
            raise StreamError(refusal)
        return stream

    def _too_large(self, width: int, height: int) -> str:
        """Why a picture of a size cannot be coded, or nothing."""
        if self._padded_side(width) * self._padded_side(height) <= self.max_pixels:
            return ""
        padded = "" if width * height > self.max_pixels else ", padded,"
        limit = f"the limit of {self.max_pixels} pixels{self.why_max_pixels}"
        return f"a picture of {width} x {height} pixels is{padded} over {limit}"

    def _check_channels(self, channels: int | None) -> None:
        if channels is not None and channels not in self._codable:
            raise RateError(f"this model codes {self._spelled()} channels, not {channels}")

    def _check_effort(self, effort: int) -> None:
        config = self.package.config
        if effort and (config.mode == "sc" or config.noise):
            kind = "of selective compression" if config.mode == "sc" else "with noise"
            raise SearchError(f"models {kind} take no effort: their symbols are not searched")
        if effort < 0:
            raise SearchError(f"effort is a number of steps from 0 up, not {effort}")

    @cached_property
    def _judge(self) -> Judge:
        return load_judge(self._device)

    def _searched(
        self,
        rgb: Image.Image,
        entropy: Entropy,
        channels: int | None,
        limit: Limit | None,
        effort: int,
        progress: Progress | None,
    ) -> Chosen:
        """Searched symbols. Their stream takes what `limit` allows, or, where channels are asked for, no more than E's
        symbols of them; where the search ends with nothing, what is written without one."""
        pixels, request, fills = rgb.width * rgb.height, self._request(rgb, entropy, limit), self._fills(channels)
        w = self._latent(rgb, None)
        symbols = nearest_symbols(self._compressor.q, w)
        plain = self._chosen(rgb, symbols, entropy, channels, limit, None)
        count, aim = len(plain.symbols), request.aim if fills else limit
        if aim is None or not aim.allows(len(plain.stream), pixels):
            aim = Limit(size=len(plain.stream))
        pricing = self._filling.pricing(entropy)
        sums = costs(pricing(symbols), symbols).cumsum()
        bits = float(sums[count - 1]) * room(aim, pixels, len(plain.stream))
        if fills:
            count = max(count, int((sums <= MOST_SEARCHED * bits).sum()))
        size = self._padded_side(rgb.height), self._padded_side(rgb.width)
        task = Task(
            x=_replicated(np.asarray(rgb), *size),
            w=w[:count],
            bits=bits,
            fits=lambda symbols: aim.allows(len(self._stream(rgb.size, symbols, entropy)), pixels),
        )
        found = Search(self._compressor, pricing, self._judge)(task, effort, progress)
        if found is not None:
            return Chosen(found, self._stream(rgb.size, found, entropy))
        return self._filling(w, request) if fills else plain

    def _chosen(
        self,
        rgb: Image.Image,
        symbols: Symbols,
        entropy: Entropy,
        channels: int | None,
        limit: Limit | None,
        side: Side | None,
    ) -> Chosen:
        """Of the symbols (C, h, w) as many channels as were asked for, or as keep the limit."""
        if self._fills(channels):
            return self._filling.most_channels(symbols, self._request(rgb, entropy, limit))
        stream = self._stream(rgb.size, symbols[:channels], entropy, side)
        if limit is not None and not limit.allows(len(stream), rgb.width * rgb.height):
            raise limit.refusal(len(stream), rgb.width * rgb.height)
        return Chosen(symbols[:channels], stream)

    def _fills(self, channels: int | None) -> bool:
        """Whether the number of channels is for the encoder to choose."""
        return self.package.config.nested and channels is None

    def _request(self, rgb: Image.Image, entropy: Entropy, limit: Limit | None) -> Request:
        def write(symbols: Symbols, coding: Coding | None) -> bytes:
            return self._stream(rgb.size, symbols, entropy, coding=coding)

        return Request(rgb.width * rgb.height, limit, entropy, write)

    def _stream(
        self,
        size: tuple[int, int],
        symbols: Symbols,
        entropy: Entropy,
        side: Side | None = None,
        coding: Coding | None = None,
    ) -> bytes:
        """The stream of the symbols (C, h, w) that are to be coded, of a picture of `size` (width, height); `coding` of
        them and of more channels."""
        positions = None if side is None else self._positions(side.mask, size)
        coding = coding or self._coding(symbols, positions)
        coded = encode(symbols, *self._tables(len(symbols)), entropy, positions, coding)
        mode = self.package.config.mode
        header = Header(*size, len(symbols), coded.entropy, self._fingerprint, mode)
        return pack(header, coded.payload if side is None else join_payload(Parts(pack_side(side), coded.payload)))

    def _side(self, rgb: Image.Image, selection: Selection) -> Side | None:
        """None for GC, which takes no selection."""
        config = self.package.config
        if config.mode == "sc":
            return side_information(selection, (rgb.height, rgb.width), config.classes, config.latent_stride)
        if not selection.empty:
            raise SelectionError("this model compresses whole pictures: it takes no labels, edges, instances or region")
        return None

    def _symbols(self, rgb: Image.Image, side: Side | None, progress: Progress | None = None) -> Symbols:
        config = self.package.config
        symbols = np.empty((config.channels, *self._latent_size(rgb.size)), np.uint8)
        for place, latent in self._latents(rgb, side, progress):
            symbols[place] = nearest_symbols(self._compressor.q, latent)
        if side is not None:
            symbols[:, ~self._positions(side.mask, rgb.size)] = config.levels // 2
        return symbols

    def _latent(self, rgb: Image.Image, progress: Progress | None) -> torch.Tensor:
        """w (C, h, w), not of SC."""
        w = torch.empty((self.package.config.channels, *self._latent_size(rgb.size)), device=self._device)
        for place, part in self._latents(rgb, None, progress):
            w[place] = part
        return w

    def _latents(
        self, rgb: Image.Image, side: Side | None, progress: Progress | None
    ) -> Iterator[tuple[Place, torch.Tensor]]:
        """w tile by tile: where it belongs within (C, h, w), and what belongs there."""
        config = self.package.config
        for tile in reported(self._tilings.encoder.tiles(*self._cells(rgb.size)), progress):
            rows, columns = tile.scaled(config.stride // config.latent_stride)
            w = self._encode(rgb, side, tile)
            yield (slice(None), rows.core, columns.core), w[:, rows.kept, columns.kept]

    def _encode(self, rgb: Image.Image, side: Side | None, tile: Tile) -> torch.Tensor:
        """w (C, h, w) of a tile, context included."""
        config = self.package.config
        rows, columns = tile.scaled(config.stride)
        part = rgb.crop((columns.before, rows.before, min(columns.after, rgb.width), min(rows.after, rgb.height)))
        pixels = _replicated(np.asarray(part), rows.after - rows.before, columns.after - columns.before)  # (H, W, 3)
        with torch.inference_mode():
            s = (self._semantics(side, tile),) if side is not None and config.semantics_to_encoder else ()
            latent: torch.Tensor = self._compressor.E(image_tensor(pixels, self._device), *s)
        return latent[0]

    def _semantics(self, side: Side, tile: Tile) -> torch.Tensor:
        """s (1, classes + 1, H, W) of a tile, context included."""
        rows, columns = tile.scaled(self.package.config.stride)
        size = rows.after - rows.before, columns.after - columns.before
        labels, edges = (_replicated(whole[rows.whole, columns.whole], *size) for whole in (side.labels, side.edges))
        ids = torch.from_numpy(labels).to(self._device, torch.int64)
        return one_hot(ids[None], torch.from_numpy(edges).to(self._device)[None, None], self.package.config.classes)

    def _generate(self, stream: Stream, symbols: Symbols, progress: Progress | None) -> Image.Image:
        """The picture of coded symbols (C, h, w)."""
        config, size = self.package.config, (stream.header.width, stream.header.height)
        side, v = None, None
        with torch.inference_mode():
            w_hat = self._compressor.q.values(torch.from_numpy(symbols).to(self._device, torch.int64)[None])
            if config.noise:
                v = draw_noise(w_hat, config.noise, binascii.crc32(stream.payload))
            if config.mode == "sc":
                side = self._unpack_side(stream)
                kept = torch.from_numpy(self._positions(side.mask, size)).to(self._device)
                w_hat = w_hat * kept
                if v is not None:
                    v = v * ~kept
            picture = Image.new("RGB", size)
            for tile in reported(self._tilings.generator.tiles(*self._cells(size)), progress):
                rows, columns = tile.scaled(config.stride)
                pixels = self._paint(w_hat, v, side, tile)[rows.kept, columns.kept]
                picture.paste(Image.fromarray(np.ascontiguousarray(pixels)), (columns.start, rows.start))
        return picture

    def _paint(self, w_hat: torch.Tensor, v: torch.Tensor | None, side: Side | None, tile: Tile) -> Pixels:
        """The pixels (H, W, 3) of a tile of w_hat (1, C, h, w), context included."""
        config = self.package.config
        rows, columns = tile.scaled(config.stride // config.latent_stride)
        window = (..., rows.whole, columns.whole)
        noise = None if v is None else v[window]
        if side is None:
            x_hat = self._compressor.G(w_hat[window], v=noise)
        else:
            x_hat = self._compressor.G(w_hat[window], self._semantics(side, tile), noise)
        pixels = ((x_hat[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)  # (3, H, W)
        return pixels.permute(1, 2, 0).cpu().numpy()

    def _decode(self, stream: Stream) -> Symbols:
        self._check_model(stream)
        header, config = stream.header, self.package.config
        size = (header.width, header.height)
        shape = (header.channels, *self._latent_size(size))
        parts, positions = stream.parts, None
        if header.mode == "sc":
            mask = unpack_mask(parts.side, header.height, header.width, config.latent_stride, header.version)
            positions = self._positions(mask, size)
        model = None if self._context is None else self._context.first(header.channels)
        return decode(parts.symbols, header.entropy, shape, *self._tables(header.channels), positions, model)

    def _coding(self, symbols: Symbols, positions: Bits | None) -> Coding | None:
        """None where the model has no context network."""
        return None if self._context is None else Coding(self._context, symbols, positions)

    def _tables(self, channels: int) -> tuple[Frequencies, Contexts | None]:
        """Of the first channels."""
        contexts = self.package.contexts
        return self.package.frequencies[:channels], None if contexts is None else contexts[:channels]

    def _check_model(self, stream: Stream) -> None:
        """Raise StreamError where another model made the stream, or none that is like this one."""
        header, mode = stream.header, self.package.config.mode
        if header.fingerprint != self._fingerprint:
            raise StreamError(
                f"this stream was made by model {header.fingerprint.hex()}, and this is model {self._fingerprint.hex()}"
            )
        if header.mode != mode:
            raise StreamError(f"this stream is of mode {header.mode.upper()}, and its model of mode {mode.upper()}")
        if header.channels not in self._codable:
            raise StreamError(f"this stream has {header.channels} latent channels, and its model has {self._spelled()}")

    def _unpack_side(self, stream: Stream) -> Side:
        header, config = stream.header, self.package.config
        size = (header.height, header.width)
        side = unpack_side(stream.parts.side, *size, config.latent_stride, config.classes, header.version)
        if ((side.labels >= config.classes) & (side.labels != unlabelled(config.classes))).any():
            raise StreamError(f"damaged stream: its label map has more classes than the model's {config.classes}")
        return side

    def _positions(self, mask: Bits, size: tuple[int, int]) -> Bits:
        """Where symbols are coded (h, w): a mask of the picture's own positions, none beyond them."""
        h, w = self._latent_size(size)
        return np.pad(mask, ((0, h - mask.shape[0]), (0, w - mask.shape[1])))

    def _latent_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the latent of a picture of `size` (width, height)."""
        width, height = size
        stride = self.package.config.latent_stride
        return self._padded_side(height) // stride, self._padded_side(width) // stride

    def _cells(self, size: tuple[int, int]) -> tuple[int, int]:
        """The same in cells of the networks' coarsest stride, which tiles are made of."""
        width, height = size
        stride = self.package.config.stride
        return self._padded_side(height) // stride, self._padded_side(width) // stride

    def _spelled(self) -> str:
        first, last = self._codable[0], self._codable[-1]
        return f"{first} to {last}" if first < last else f"{last}"

    def _padded_side(self, side: int) -> int:
        """The next multiple of the stride, and at least what the networks need; pixels."""
        config = self.package.config
        smallest = max(SMALLEST_SIDE, config.smallest_side)
        return max(smallest, -(-side // config.stride) * config.stride)


def _replicated(array: npt.NDArray[Number], height: int, width: int) -> npt.NDArray[Number]:
    """An array (H, W, ...) grown to height x width by its last row and column."""
    edges = ((0, height - array.shape[0]), (0, width - array.shape[1]))
    return np.pad(array, edges + ((0, 0),) * (array.ndim - 2), mode="edge")
