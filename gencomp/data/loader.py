"""Training batches from shards, in an order that is a pure function of seed and step.

The epochs' orders follow each other in one endless sequence; batch t is samples [tB, (t + 1)B) of it. Ranks take
slices of a batch and worker processes take whole batches, so that their number changes nothing, and a resumed run
starts at any batch.
"""

import functools
import hashlib
import io
import itertools
import json
import os
import random
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks the package index at import otherwise

import albumentations as A
import cv2
import numpy as np
import torch
import webdataset as wds
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from gencomp.data.archive import read_samples
from gencomp.data.places import Place, content, place, within

SHUFFLE_BUFFER = 2000
"""Encoded samples that the shuffle of an epoch holds at a time."""
IMAGE_SUFFIXES = ("png", "jpg")
REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
"""OpenCV's flag for each reduction, to which one for the colours is added."""
UNLABELLED = 65535
"""The id of all pixels of a picture without a label map, beyond those of any dataset's classes."""


Number = TypeVar("Number", bound=np.generic)
Encoded = tuple[str, dict[str, bytes]]
"""Key of a sample, and its files by the ending of their names."""
Metadata = dict[str, object]
"""What a sample's JSON says, such as its author and licence; empty where it has none."""


class Sample(NamedTuple):
    """One decoded sample of a shard."""

    key: str
    image: NDArray[np.uint8]
    """(H, W, 3), RGB."""
    labels: NDArray[np.int64] | None
    """(H, W), class ids; None where the dataset has no label maps."""
    edges: NDArray[np.uint8] | None
    """(H, W), 1 on the borders of instances."""
    metadata: Metadata


class Batch(NamedTuple):
    """One training batch of crops."""

    keys: list[str]
    images: Tensor
    """(N, 3, h, w) uint8, RGB; `scaled` makes them float32 where they are used, so that a quarter of it travels."""
    labels: Tensor | None
    """(N, h, w) int64, other ids than a class's where there is none; None when the batch has no label map."""
    edges: Tensor | None
    """(N, 1, h, w) float32, 0 or 1; None with `labels`."""
    metadata: tuple[Metadata, ...] = ()
    """Of each sample, beside `keys`."""


class Window(NamedTuple):
    """The square of an image that a crop is made of."""

    side: int
    """Pixels of the image after its reduction, those of the crop or more."""
    reduction: int = 1
    """The image, and so the square, is decoded at 1 / 2, 1 / 4 or 1 / 8 where the square has pixels to spare."""


class Loader(NamedTuple):
    """What decides the batches."""

    shards: Place
    """Folder of the shards, or its URL."""
    split: str
    batch: int
    """Samples of the whole batch, over all ranks."""
    crop: int
    """Side of the square crops, pixels; smaller images are reflected up to it."""
    seed: int
    colour_jitter: float = 0.0
    """Largest relative change of brightness, contrast and saturation, and a fifth of it of hue; 0 leaves colours."""
    largest_reduction: float = 1.0
    """Crops come from windows of up to this many times their side, drawn uniformly, reduced by area averaging; JPEGs
    by their decoder, first, as far as it can."""
    cache_megabytes: int = 0
    """Decoded images that each worker process keeps, in 10^6 bytes of pixels, so that a small set is decoded once."""

    def batches(self, start: int, rank: int = 0, ranks: int = 1, workers: int = 0) -> Iterator[Batch]:
        """Endless batches from number `start` on: this rank's slice of each, in order.

        Raises ValueError when the batch does not divide among the ranks or the split is empty.
        """
        check_batch(self.batch, ranks)
        dataset = _Batches(self, start, rank, ranks)
        loading = DataLoader(dataset, batch_size=None, num_workers=workers, collate_fn=_as_it_is)  # type: ignore[arg-type]
        return iter(loading)


def check_batch(batch: int, ranks: int) -> None:
    """Raise ValueError when a batch does not divide among the ranks."""
    if batch % ranks:
        raise ValueError(f"a batch of {batch} does not divide among {ranks} processes: make it a multiple")


def _as_it_is(batch: Batch) -> Batch:
    """PyTorch's own would make lists of tuples."""
    return batch


class _Batches(IterableDataset[Batch]):
    def __init__(self, loader: Loader, start: int, rank: int, ranks: int) -> None:
        self.loader, self.start, self.rank, self.ranks = loader, start, rank, ranks

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        share = self.loader.batch // self.ranks
        decoder = _Decoder(self.loader.cache_megabytes * 1_000_000)
        for index, members in enumerate(_members(self.loader, self.start)):
            if index % count == number:
                mine = members[self.rank * share : (self.rank + 1) * share]
                yield _collate([_drawn(self.loader, epoch, decoder, raw) for epoch, raw in mine])


class _Decoder:
    """Decodes samples, and keeps what fits into `room` bytes of pixels, first come, first kept."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: dict[tuple[str, int], Sample] = {}

    def sample(self, raw: Encoded, reduction: int) -> Sample:
        # What a decoder reduces is not to the bit what is reduced later: each is kept for itself.
        name = raw[0], reduction
        if name in self._kept:
            return self._kept[name]
        sample = decode(raw, reduction)
        size = sum(array.nbytes for array in (sample.image, sample.labels, sample.edges) if array is not None)
        if size <= self._room:
            self._room -= size
            self._kept[name] = sample
        return sample


def _members(loader: Loader, start: int) -> Iterator[list[tuple[int, Encoded]]]:
    """(epoch, encoded sample) of each batch from number `start` on."""
    size = split_size(loader.shards, loader.split)
    if size == 0:
        raise ValueError(f"{loader.shards} has no samples in split {loader.split}")
    first, skip = divmod(start * loader.batch, size)
    endless = ((epoch, raw) for epoch in itertools.count(first) for raw in encoded_samples(loader, epoch))
    stream = itertools.islice(endless, skip, None)
    while True:
        yield list(itertools.islice(stream, loader.batch))


def split_size(shards: Place, split: str) -> int:
    """Samples of a split, from the manifest of its shards."""
    splits = json.loads(content(within(shards, "manifest.json")))["splits"]
    return int(splits[split]["samples"]) if split in splits else 0


def label_classes(shards: Place) -> int:
    """Classes of the label maps of a dataset's shards; 0 when it has none."""
    return int(json.loads(content(within(shards, "manifest.json"))).get("classes", 0))


def encoded_samples(loader: Loader, epoch: int) -> Iterator[Encoded]:
    """The split's samples as their tars hold them, in the order of an epoch: shards shuffled, then samples."""
    seed = derived_seed(loader.seed, "order", epoch)
    return iter(
        wds.DataPipeline(
            wds.SimpleShardList(shard_paths(loader.shards, loader.split)),
            wds.detshuffle(SHUFFLE_BUFFER, SHUFFLE_BUFFER, seed=seed),
            _expanded,
            wds.detshuffle(SHUFFLE_BUFFER, SHUFFLE_BUFFER, seed=seed),
        )
    )


def stored_samples(shards: Place, split: str) -> Iterator[Sample]:
    """Every sample of a split, decoded, in the order of the tars."""
    return (decode(raw) for path in shard_paths(shards, split) for raw in read_samples(place(path)))


def _expanded(tars: Iterable[dict[str, str]]) -> Iterator[Encoded]:
    """A stage of a WebDataset pipeline: the samples of each tar, in place. WebDataset's own copies them block by block,
    as from a network."""
    return (raw for tar in tars for raw in read_samples(place(tar["url"])))


def shard_paths(shards: Place, split: str) -> list[str]:
    """The tars of a split, sorted, from the manifest: paths or URLs."""
    splits = json.loads(content(within(shards, "manifest.json")))["splits"]
    names = [shard["name"] for shard in splits.get(split, {"shards": []})["shards"]]
    return [str(within(shards, name)) for name in sorted(names)]


def decode(raw: Encoded, reduction: int = 1) -> Sample:
    """An encoded sample as arrays, a JPEG and its maps with every side divided by `reduction`, rounded up. Decoders are
    named one by one, since generic ones unpickle."""
    key, files = raw
    image = next(files[suffix] for suffix in IMAGE_SUFFIXES if suffix in files)
    labels, edges = files.get("labels.png"), files.get("edges.png")
    metadata = json.loads(files.get("json", b"{}"))
    return Sample(
        key,
        _rgb(image, key, reduction),
        None if labels is None else _every(_pixels(labels), reduction).astype(np.int64),
        None if edges is None else _any_of(_pixels(edges) > 0, reduction).astype(np.uint8),
        metadata if isinstance(metadata, dict) else {},
    )


def _pixels(png: bytes) -> NDArray[np.integer]:
    return np.asarray(Image.open(io.BytesIO(png)))


def _rgb(data: bytes, key: str, reduction: int) -> NDArray[np.uint8]:
    # OpenCV fills the array that is returned; Pillow would copy twice. Shards hold 8-bit RGB, upright.
    flags = REDUCED[reduction] | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise ValueError(f"sample {key}: the image cannot be decoded")
    return np.asarray(image, np.uint8)


def _every(ids: NDArray[np.integer], step: int) -> NDArray[np.integer]:
    """The id in the middle of each square of `step` pixels; those at the right and lower border may be cut."""
    rows, columns = (np.minimum(np.arange(0, side, step) + step // 2, side - 1) for side in ids.shape)
    return ids if step == 1 else ids[np.ix_(rows, columns)]


def _any_of(edges: NDArray[np.bool_], step: int) -> NDArray[np.bool_]:
    """Whether any pixel of each square is set: nearest neighbour would tear thin lines."""
    if step == 1:
        return edges
    down = np.logical_or.reduceat(edges, np.arange(0, edges.shape[0], step), axis=0)
    return np.asarray(np.logical_or.reduceat(down, np.arange(0, edges.shape[1], step), axis=1))


def derived_seed(*parts: object) -> int:
    """A seed that is a pure function of its parts, 32 bits."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:4], "big")


def _drawn(loader: Loader, epoch: int, decoder: _Decoder, raw: Encoded) -> Sample:
    window = _window(loader, epoch, raw)
    return _augmented(loader, epoch, decoder.sample(raw, window.reduction), window.side)


def _window(loader: Loader, epoch: int, raw: Encoded) -> Window:
    """The window of one sample in one epoch, before it is decoded."""
    if loader.largest_reduction == 1:
        return Window(loader.crop)
    key, files = raw
    suffix = next(suffix for suffix in IMAGE_SUFFIXES if suffix in files)
    with Image.open(io.BytesIO(files[suffix])) as header:
        largest = min(round(loader.crop * loader.largest_reduction), *header.size)
    draw = random.Random(derived_seed(loader.seed, "window", epoch, key))
    side = draw.randint(loader.crop, max(loader.crop, largest))
    # The decoders of other formats would decode the whole image first.
    reductions = REDUCED if suffix == "jpg" else (1,)
    reduction = max(reduction for reduction in reductions if reduction * loader.crop <= side)
    return Window(side // reduction, reduction)


def _augmented(loader: Loader, epoch: int, sample: Sample, window: int) -> Sample:
    """The crop and flip of one sample in one epoch, the same for its image, label map and edges."""
    small = min(sample.image.shape[:2]) < loader.crop
    seed = derived_seed(loader.seed, "augmentation", epoch, sample.key)
    if window == loader.crop and not small and not loader.colour_jitter:
        return _cut(sample, loader.crop, random.Random(seed))
    transform = _transform(loader.crop, window, loader.colour_jitter, small)
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
    maps = [m for m in (sample.labels, sample.edges) if m is not None]
    result = transform(image=sample.image, masks=[m.astype(np.int32) for m in maps])
    cropped = iter(result["masks"])
    return sample._replace(
        image=result["image"],
        labels=None if sample.labels is None else next(cropped).astype(np.int64),
        edges=None if sample.edges is None else next(cropped).astype(np.uint8),
    )


def _cut(sample: Sample, crop: int, draw: random.Random) -> Sample:
    """The crop and flip that Albumentations would draw, without what it does around them, which takes as long as the
    tar does."""
    draw.random()  # it asks first whether to do anything at all
    starts = [int((side - crop + 1) * draw.random()) for side in sample.image.shape[:2]]
    square = tuple(slice(start, start + crop) for start in starts)
    flipped = draw.random() < 0.5
    image, labels, edges = sample.image[square], sample.labels, sample.edges
    return sample._replace(
        image=np.asarray(cv2.flip(image, 1), np.uint8) if flipped else image.copy(),
        labels=None if labels is None else _part(labels, square, flipped),
        edges=None if edges is None else _part(edges, square, flipped),
    )


def _part(array: NDArray[Number], square: tuple[slice, ...], flipped: bool) -> NDArray[Number]:
    """A copy: a view would keep the whole array."""
    return array[square][:, ::-1].copy() if flipped else array[square].copy()


@functools.cache  # one for each side of a window, since making one takes as long as using it
def _transform(crop: int, window: int, jitter: float, small: bool) -> A.Compose:
    """`window`: side of the window that a crop is reduced from, pixels; `small` images are reflected first."""
    pad = A.PadIfNeeded(crop, crop, border_mode=cv2.BORDER_REFLECT_101)
    reduced = A.RandomSizedCrop((window, window), (crop, crop), interpolation=cv2.INTER_AREA)
    cut = A.RandomCrop(crop, crop) if window == crop else reduced
    spread = (1 - jitter, 1 + jitter)
    colours = A.ColorJitter(brightness=spread, contrast=spread, saturation=spread, hue=jitter / 5, p=1.0)
    # What does nothing is left out: each costs a copy of the whole image, or of the crop.
    return A.Compose([*([pad] if small else []), cut, A.HorizontalFlip(p=0.5), *([colours] if jitter else [])])


def _collate(samples: list[Sample]) -> Batch:
    """A batch; beside images with label maps, one without counts as unlabelled."""
    keys, images = [sample.key for sample in samples], _stacked([sample.image for sample in samples])
    metadata = tuple(sample.metadata for sample in samples)
    if all(sample.labels is None for sample in samples):
        return Batch(keys, images, None, None, metadata)
    size = samples[0].image.shape[:2]
    labels = [np.full(size, UNLABELLED) if s.labels is None else s.labels for s in samples]
    edges = [np.zeros(size, np.uint8) if s.edges is None else s.edges for s in samples]
    ids, borders = torch.from_numpy(np.stack(labels)).long(), torch.from_numpy(np.stack(edges))
    return Batch(keys, images, ids, borders.unsqueeze(1).float(), metadata)


def images_to_tensor(images: list[NDArray[np.uint8]]) -> Tensor:
    """RGB images of one size, (H, W, 3) uint8, as (N, 3, H, W) float32 in [-1, 1]."""
    return scaled(_stacked(images))


def scaled(images: Tensor, layout: torch.memory_format = torch.contiguous_format) -> Tensor:
    """uint8 images as float32 in [-1, 1], on the same device."""
    return images.to(torch.float32, memory_format=layout).div_(127.5).sub_(1)


def _stacked(images: list[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
