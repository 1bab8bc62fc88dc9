"""Writes gencomp/shipped/vectors.json: `python tests/codec/vectors.py`, once a model has joined the shipped ones or the
format has a new version.

The vectors that were there before stay as they are.
"""

from collections.abc import Iterator

import msgspec
import numpy as np
from PIL import Image
from skimage import data

from gencomp.codec.codec import Codec
from gencomp.codec.conformance import VECTORS, Vector, read_vectors, vector
from gencomp.codec.container import VERSION, parse
from gencomp.references import shipped

WAYS = (
    ((208, 144), 16, "context"),
    ((131, 197), 5, "context"),
    ((160, 112), 16, "static"),
    ((33, 40), 3, "raw"),
    ((1, 1), 1, "context"),
)
"""Size, channels and entropy coder of each model's vectors."""


def made(name: str) -> Iterator[Vector]:
    codec = Codec.from_reference(name)
    picture = Image.fromarray(np.ascontiguousarray(data.astronaut()[40:104, 150:240]))
    for (width, height), channels, entropy in WAYS:
        part = picture.resize((width, height), Image.Resampling.LANCZOS)
        yield vector(codec, name, codec.compress(part, channels=channels, entropy=entropy))


def written(one: Vector) -> tuple[str, int]:
    """Its model, and the version of the format that it was written in."""
    return one.model, parse(one.data).header.version


if __name__ == "__main__":
    before = read_vectors() if VECTORS.exists() else []
    known = {written(one) for one in before}
    models = [folder.name for folder in shipped() if (folder.name, VERSION) not in known]
    added = [one for name in models for one in made(name)]
    rows = [msgspec.json.encode(one) for one in before + added]
    VECTORS.write_bytes(b"[\n" + b",\n".join(rows) + b"\n]\n")
    print(f"{len(before)} vectors kept, {len(added)} added")
