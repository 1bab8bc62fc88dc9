"""The context network beside static frequencies, and beside a reference that need be neither exact nor fast.

The reference is autoregressive in the same order, in floating point, of some five million weights: for each channel a
perceptron with hidden layers of 768 and 256 that sees the 24 symbols before one in its own channel (7 x 7) and 5 x 5 in
every channel before, each as one of six things. It learns from the same images' symbols.

Needs photographs as shards (stage `shard` makes them) and pictures to judge by.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from benchmarks.codec import CHANNELS, NEAR, coding_times, made
from benchmarks.rows import Bar, Row, arguments, compared, finish, measured, say
from gencomp.codec.codec import Codec
from gencomp.codec.coder import encode
from gencomp.codec.context import Coding, ContextModel, Symbols
from gencomp.training.tables import training_latents

OWN_REACH, BEFORE_REACH, FRAME = 3, 2, 3
OUTSIDE = 5
"""What a position outside a latent holds, where symbols are 0 to 4."""
STEPS, BATCH, RATE = 1500, 4096, 3e-3
QUICK_STEPS, QUICK_IMAGES, QUICK_PICTURES = 40, 12, 3
IMAGES = 2000
MOST = Bar(">=", 0.85)
"""Of the bits that the reference saves over static frequencies."""

Frames = npt.NDArray[np.uint8]
"""Latents of one set in frames of one size, (N, C, side, side), OUTSIDE where there is nothing."""


def main() -> int:
    parser = arguments("Compares entropy models on the symbols of one model.")
    parser.add_argument("--model", metavar="REF", default="light", help="a model with a context network of 5 levels")
    parser.add_argument("--shards", type=Path, default=Path("data/shards/photos"), help="training photographs")
    parser.add_argument("--pictures", type=Path, default=Path("../shared/kodak"), help="a folder of pictures to code")
    parser.add_argument(
        "--hidden", type=int, nargs=2, default=[768, 256], help="sizes of the reference's hidden layers"
    )
    args = parser.parse_args()
    torch.set_num_threads(2)
    codec = Codec.from_reference(args.model)
    steps, images = (QUICK_STEPS, QUICK_IMAGES) if args.quick else (STEPS, IMAGES)
    paths = sorted(path for path in args.pictures.rglob("*") if path.suffix.lower() in (".png", ".jpg"))
    paths = paths[:QUICK_PICTURES] if args.quick else paths
    tested = [codec.symbols(Image.open(path))[:CHANNELS] for path in paths]
    compressor = codec.package.compressor
    trained = [
        latent[:CHANNELS]
        for mirrored in (False, True)
        for latent in training_latents(compressor, args.shards, images, mirrored=mirrored)
    ]
    say(f"{len(trained)} latents to learn from, {len(tested)} to judge by")
    times = coding_times(codec, codec.symbols(made())[:CHANNELS], 15, ("context",))
    return finish([*bits(codec, trained, tested, steps, args.hidden), *times], args.json)


def bits(codec: Codec, trained: list[Symbols], tested: list[Symbols], steps: int, hidden: list[int]) -> Iterator[Row]:
    """What symbols cost by each model, bits each, and what that is worth."""
    assert codec.package.network is not None
    model = ContextModel(codec.package.network)
    count = sum(latent.size for latent in tested)
    rows = codec.package.frequencies[:CHANNELS] / 2**24
    static = sum(-np.log2(rows[c])[latent[c]].sum() for latent in tested for c in range(CHANNELS)) / count
    ours = sum(Coding(model, latent).bits(CHANNELS) for latent in tested) / count
    reference, weights = learned(frames(trained), frames(tested), steps, hidden)
    whole = f"static, {CHANNELS} channels"
    yield (first := measured(whole, static, "bits"))
    yield (best := compared(f"reference, {weights / 1e6:.1f} million weights", reference, "bits", first))
    yield compared("context network", ours, "bits", first)
    there = best._replace(value=static - reference, name="saved by the reference")
    yield compared("saved by the context network", static - ours, "bits", there, MOST)
    written = said = 0.0
    for latent in tested:
        coding = Coding(model, latent)
        payload = encode(latent, codec.package.frequencies[:CHANNELS], None, "context", None, coding).payload
        written, said = written + len(payload) - 5, said + coding.bits(CHANNELS) / 8
    yield compared(
        "payload, less 5 bytes", written / len(tested), "bytes", measured("its bits", said / len(tested), "bytes"), NEAR
    )


def frames(latents: list[Symbols]) -> Frames:
    side = max(max(latent.shape[1:]) for latent in latents) + 2 * FRAME
    found = np.full((len(latents), CHANNELS, side, side), OUTSIDE, np.uint8)
    for place, latent in zip(found, latents, strict=True):
        place[:, FRAME : FRAME + latent.shape[1], FRAME : FRAME + latent.shape[2]] = latent
    return found


def learned(trained: Frames, tested: Frames, steps: int, hidden: list[int]) -> tuple[float, int]:
    """Bits per symbol of the reference on `tested`, and how many weights it has."""
    total, weights = 0.0, 0
    for channel in range(CHANNELS):
        network = reference(channel, trained, steps, hidden)
        places = positions(tested)
        with torch.inference_mode():
            for part in np.array_split(places, max(1, len(places) // BATCH), 0):
                inputs, symbols = seen(tested, part, channel)
                total += cross_entropy(network(inputs), symbols, reduction="sum").item() / np.log(2)
        weights += sum(parameter.numel() for parameter in network.parameters())
        say(f"channel {channel}: {total / len(places) / (channel + 1):.4f} bits per symbol so far")
    return total / len(places) / CHANNELS, weights


def reference(channel: int, trained: Frames, steps: int, hidden: list[int]) -> nn.Module:
    random, places = np.random.default_rng(channel), positions(trained)
    torch.manual_seed(channel)
    inputs, _ = seen(trained, places[:1], channel)
    first, second = hidden
    sizes = [nn.Linear(inputs.shape[1], first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, 5)]
    network = nn.Sequential(*sizes)
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for _ in range(steps):
        inputs, symbols = seen(trained, places[random.integers(len(places), size=BATCH)], channel)
        loss = cross_entropy(network(inputs), symbols)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network


def positions(found: Frames) -> npt.NDArray[np.intp]:
    """(n, 3): number of the latent, row and column of every position."""
    return np.argwhere(found[:, 0] != OUTSIDE)


def seen(found: Frames, places: npt.NDArray[np.intp], channel: int) -> tuple[Tensor, Tensor]:
    """What the reference sees of each place (n, K), and the symbol that is there (n,)."""
    side = found.shape[2]
    window = [(dy, dx) for dy in range(-OWN_REACH, 1) for dx in range(-OWN_REACH, OWN_REACH + 1)]
    offsets = [dy * side + dx for dy, dx in window if (dy, dx) < (0, 0)]
    around = range(-BEFORE_REACH, BEFORE_REACH + 1)
    offsets += [dy * side + dx - back * side**2 for back in range(1, channel + 1) for dy in around for dx in around]
    n, i, j = places.T
    flat, here = found.reshape(-1), ((n * CHANNELS + channel) * side + i) * side + j
    around_here = torch.from_numpy(flat[here[:, None] + np.array(offsets)].astype(np.int64))
    return one_hot(around_here, OUTSIDE + 1).flatten(1).float(), torch.from_numpy(flat[here].astype(np.int64))


if __name__ == "__main__":
    sys.exit(main())
