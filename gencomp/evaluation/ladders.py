"""The settings at which codecs are measured beside a model on pictures at hand."""

import msgspec

from gencomp.evaluation.anchors import AnchorsConfig

LADDERS = AnchorsConfig(
    jpeg=(1, 5, 10, 20, 30),
    webp=(0, 5, 10, 20, 30),
    jpeg2000=(0.015, 0.017, 0.025, 0.036, 0.049, 0.061, 0.07, 0.1, 0.15, 0.3),
    avif=(0, 5, 10, 20, 30),
    heic=(0, 2, 5, 10, 15, 20, 30),
    jxl=(0, 5, 10, 20, 30),
    bpg=(51, 48, 45, 42, 39, 36),
)
"""Few enough for whole sets, and closer together where generative models are. JPEG 2000 keeps a rate that it
is asked for, so it has some that are just below the files of light models."""
PEERS = dict.fromkeys(("bmshj2018_factorized", "bmshj2018_hyperprior", "mbt2018_mean", "mbt2018"), (1, 2, 3, 4))
"""Learned codecs of others, at their lowest qualities."""
FULL_LADDERS = AnchorsConfig(
    jpeg=(1, 5, 10, 20),
    webp=(0, 5, 10, 20),
    jpeg2000=(0.015, 0.036, 0.061, 0.15),
    avif=(0, 5, 10, 20),
    heic=(0, 4, 10, 20),
    jxl=(0, 5, 10, 20),
    vvc=(63, 56, 50, 44),
    bpg=(51, 48, 45, 42, 39),
    **PEERS,
)
"""With VVC, and fewer of the other settings, since with every metric a file costs seconds."""
FINE_LADDERS = AnchorsConfig(
    jpeg=tuple(range(1, 96)),
    webp=tuple(range(101)),
    jpeg2000=tuple(round(0.01 * 1.03**step, 5) for step in range(190)),
    avif=tuple(range(96)),
    heic=tuple(range(96)),
    jxl=tuple(range(96)),
    bpg=tuple(range(10, 52)),
)
"""To come close to a number of bytes: the largest file that is not above it is searched for."""
FULL_FINE_LADDERS = msgspec.structs.replace(FINE_LADDERS, vvc=tuple(range(20, 64)), **PEERS)
"""With the slow codecs."""
