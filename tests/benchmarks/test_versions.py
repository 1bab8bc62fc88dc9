"""What is compared between machines, and that a difference is found."""

import numpy as np

from benchmarks.versions import HEIGHT, WIDTH, compared, digest, of_vector, picture
from gencomp.codec.codec import Codec
from gencomp.codec.conformance import read_vectors


def test_hashes_are_of_the_symbols_and_of_the_stream_itself() -> None:
    one = next(one for one in reversed(read_vectors()) if len(one.data) > 100)
    codec = Codec.from_reference(one.model)
    found = [line.split(" ", 1) for line in of_vector(codec, one.model, one.data)]
    assert found[0][0] == one.symbols
    assert digest(one.data) in [hashed for hashed, _ in found[1:]]  # as it was written, by its coder
    assert len({name for _, name in found}) == len(found) == 4


def test_what_differs_or_is_missing_is_named() -> None:
    assert list(compared(["a x: symbols", "b y"], ["b y", "a x: symbols"], "elsewhere")) == []
    assert list(compared(["a x: symbols", "b y"], ["c x: symbols"], "elsewhere")) == [
        "x: symbols: a here, c elsewhere",
        "y: b here, None elsewhere",
    ]


def test_its_picture_is_of_whole_numbers() -> None:
    pixels = np.asarray(picture())
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert pixels[0, :4, 0].tolist() == [255, 252, 249, 246]
    assert digest(pixels.tobytes()) == "ca2650e7c497d27ce8a638460a519366678bc5b4f2dae627301538aa1bb0f4ab"
