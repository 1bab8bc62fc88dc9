"""Pictures to send."""

import io

import numpy as np
from PIL import Image


def scene(width: int, height: int) -> Image.Image:
    """A picture with gradients and an edge."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    pixels = np.stack([x * 255 / width, y * 255 / height, 128 + 90 * np.sin(x / 7 + y / 11)], -1)
    pixels[height // 3 : 2 * height // 3, width // 4 : width // 2] = (220, 40, 30)
    return Image.fromarray(pixels.astype(np.uint8))


def file(image: Image.Image, kind: str = "PNG") -> bytes:
    """A picture's file."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()
