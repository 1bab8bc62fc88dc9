"""What a worker does for a request: bytes in, bytes and headers out; knows nothing of HTTP but its status codes."""

import io
from http import HTTPStatus
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from gencomp.codec.container import MAGIC, MAX_SIDE, StreamError, StreamInfo, describe
from gencomp.codec.pixels import PictureError, encode_picture, read_picture
from gencomp.codec.rate import RateError
from gencomp.serving.limits import Limits, padded_pixels
from gencomp.serving.models import Models
from gencomp.serving.query import KINDS, Rate
from gencomp.serving.refusal import Refusal

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "JPEG2000")
"""Pillow's names of what is read; it knows others, some of which start programs."""


class Answer(NamedTuple):
    """A picture or a stream."""

    content: bytes
    media_type: str
    file_name: str
    about: StreamInfo
    """Of the stream that was made or read."""
    notices: tuple[str, ...] = ()
    """Lines about what was not taken over from a picture."""


class Service:
    """Compresses with one model, decompresses with all that the server has; serves several threads."""

    def __init__(self, models: Models, limits: Limits) -> None:
        Image.init()  # now, and not in several workers at once
        self.models = models
        self._limits = limits

    def compress(self, data: bytes, rate: Rate) -> Answer:
        """A picture's file as a stream. Raises Refusal."""
        self._check_picture(data)
        notices: list[str] = []
        try:
            picture = read_picture(data, max_pixels=self._limits.pixels, tell=notices.append)
            stream = self.models.codec.compress(picture, **rate._asdict())
        except PictureError as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, str(error)) from None
        except RateError as error:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        return Answer(stream, "application/octet-stream", "picture.gnc", describe(stream), tuple(notices))

    def decompress(self, data: bytes, kind: str) -> Answer:
        """A stream as a picture's file of a kind in KINDS. Raises Refusal."""
        about = self.info(data)
        self._check_size(about.width, about.height)
        codec = self.models.find(bytes.fromhex(about.fingerprint))
        try:
            picture = codec.decompress(data)
        except StreamError as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, str(error)) from None
        return Answer(encode_picture(picture, f".{kind}"), KINDS[kind], f"picture.{kind}", about)

    def info(self, data: bytes) -> StreamInfo:
        """What a stream says about itself, of whatever model and size. Raises Refusal."""
        if not data.startswith(MAGIC):
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not a .gnc stream")
        try:
            return describe(data, max_pixels=MAX_SIDE**2)
        except StreamError as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, str(error)) from None

    def _check_picture(self, data: bytes) -> None:
        """Raise Refusal for what is no picture, or too large a one; reads no more than its head."""
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                size = image.size
        except UnidentifiedImageError:
            raise Refusal(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"not a picture of a kind that is read: {', '.join(FORMATS)}"
            ) from None
        except Image.DecompressionBombError:
            raise self._too_large("a picture") from None
        except Exception as error:  # whatever Pillow's readers raise on damaged heads
            reason = str(error) or type(error).__name__
            raise Refusal(HTTPStatus.BAD_REQUEST, f"the picture cannot be read ({reason})") from None
        self._check_size(*size)

    def _check_size(self, width: int, height: int) -> None:
        if padded_pixels(width, height) > self._limits.pixels:
            raise self._too_large(f"a picture of {width} x {height} pixels")

    def _too_large(self, what: str) -> Refusal:
        return Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{what} is over this server's limit of {self._limits.pixels} pixels"
        )
