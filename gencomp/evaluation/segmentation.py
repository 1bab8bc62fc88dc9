"""What a segmentation network still recognises in decoded pictures: mean IoU and pixel accuracy against true labels.

picture -> network -> label ids, which are counted against the true ones over all pictures, then judged
"""

import hashlib
import importlib.metadata
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import pad

from gencomp.config import ConfigError, convert
from gencomp.data.dataset import SegmentationNetwork
from gencomp.data.failure import DataError, Rejected
from gencomp.data.manifest import ClassTable, LabelClass, RawSidecar
from gencomp.data.segmentation import segmenter
from gencomp.evaluation.cache import Cache, NoCache, code_digest, digest, picture_digest
from gencomp.evaluation.held_out import Recogniser
from gencomp.evaluation.metrics import Record
from gencomp.models.espnet import STRIDE, ESPNet, Preset, espnet
from gencomp.weights.arrays import torch_arrays
from gencomp.weights.failure import WeightsError

RESAMPLES = 1000
"""Of the pictures, for an interval."""
PROTOCOL = "reduced to the network's longest side, bilinear; argmax; enlarged again, nearest"
"""How a picture becomes a label map."""
UNLABELLED = "no pixel of these pictures is labelled with one of the classes"
CODE = (
    *("evaluation/segmentation.py", "models/espnet.py"),
    *("data/segmentation.py", "data/photograph.py", "data/labelmap.py"),
)
"""Source files that draw and count, relative to the package's folder."""
RUNTIMES = {"onnx": "onnxruntime", "transformers": "transformers"}
"""Packages that run networks beside PyTorch, by format."""

Pixels = NDArray[np.uint8]
"""(H, W, 3), RGB."""
Ids = NDArray[np.integer]
"""(H, W), label ids."""
Counts = NDArray[np.int64]
"""(K, K + 1): pixels by true and drawn class; the last column is drawn as none of the classes."""


class SegmentationError(ValueError):
    """A network or labels that cannot be used; the message is one line that says what to do."""


class Network(NamedTuple):
    """A segmentation network for one dataset's classes."""

    name: str
    sha256: str
    """Of its file."""
    classes: tuple[str, ...]
    """The dataset's, by label id."""
    draw: Callable[[Pixels], Ids]
    """The label ids of a picture; len(classes) or more where it sees none of them. Raises SegmentationError."""
    description: str = ""
    """How pictures are put to it and what runs it, where its file does not tell."""

    @property
    def identity(self) -> str:
        """A digest of all that its maps depend on but the pictures and the machine."""
        code = code_digest(*CODE), f"torch {torch.__version__}"
        return digest(PROTOCOL, self.sha256, self.description, *code, *self.classes)


class Scores(NamedTuple):
    """How well labels were drawn."""

    miou: float
    """Mean of `iou` over the classes that occur, in [0, 1]."""
    pixel_accuracy: float
    """Share of the labelled pixels that were drawn right, in [0, 1]."""
    iou: tuple[float | None, ...]
    """Right pixels over pixels that are or were drawn as the class, by label id; None where there are none."""


class Confusion:
    """Counts labels picture by picture. Pixels whose true id is none of the classes are ignored."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.pictures: list[Counts] = []
        """One matrix for each picture, all that is kept of it."""

    def add(self, truth: Ids, drawn: Ids) -> None:
        """Count a picture. Raises SegmentationError where the two maps differ in size."""
        self.pictures.append(counted(truth, drawn, self.classes))

    def scores(self) -> Scores:
        """Over all pictures counted so far. Raises SegmentationError where no pixel is labelled."""
        counts = np.sum(self.pictures, axis=0) if self.pictures else np.zeros((1, 2), np.int64)
        if not counts.any():
            raise SegmentationError(UNLABELLED)
        iou = intersection_over_union(counts)
        right = int(np.trace(counts))
        return Scores(
            miou=float(np.nanmean(iou)),
            pixel_accuracy=right / int(counts.sum()),
            iou=tuple(None if np.isnan(value) else float(value) for value in iou),
        )

    def resampled_miou(self) -> NDArray[np.float64]:
        """mIoU of 1000 draws of as many pictures with replacement, (1000,): a bootstrap. Of two Confusions over the
        same pictures, the draws are the same, so that they can be compared draw by draw. Pictures without a labelled
        pixel are not drawn. Raises SegmentationError where no pixel is labelled."""
        return np.array([np.nanmean(intersection_over_union(counts)) for counts in self._resampled()])

    def resampled_pixel_accuracy(self) -> NDArray[np.float64]:
        """The same of pixel accuracy, over the same draws."""
        return np.array([np.trace(counts) / counts.sum() for counts in self._resampled()])

    def _resampled(self) -> Iterator[NDArray[np.float64]]:
        labelled = [counts for counts in self.pictures if counts.any()]
        if not labelled:
            raise SegmentationError(UNLABELLED)
        stack = np.stack(labelled).astype(np.float64)  # (N, K, K + 1)
        draws = np.random.default_rng(0).multinomial(len(stack), [1 / len(stack)] * len(stack), RESAMPLES)
        return (np.tensordot(draw, stack, 1) for draw in draws)


class Sight:
    """What a network sees in an original and in its reconstructions, counted against the true labels (H, W); where a
    cache holds what was counted, the network does not look again."""

    def __init__(self, network: Network, truth: Ids, cache: Cache | None = None) -> None:
        self.network, self.truth, self.cache = network, truth, cache or NoCache()
        self.labels = digest(str(truth.dtype), str(truth.shape), np.ascontiguousarray(truth).tobytes())

    def __call__(self, x: Pixels) -> Counts:
        """Of a picture (H, W, 3). Raises SegmentationError."""
        K = len(self.network.classes)
        key = digest("confusion", self.network.identity, self.labels, picture_digest(x))
        data = self.cache.get(key)
        if data is not None and len(data) == 8 * K * (K + 1):
            return np.frombuffer(data, np.int64).reshape(K, K + 1)
        counts = counted(self.truth, self.network.draw(x), K)
        self.cache.put(key, counts.tobytes())
        return counts


def counted(truth: Ids, drawn: Ids, classes: int) -> Counts:
    """The pixels of a picture by true and drawn class. Raises SegmentationError where the two maps differ in size."""
    if truth.shape != drawn.shape:
        raise SegmentationError(f"the true labels are of {truth.shape}, the drawn ones of {drawn.shape} (H, W)")
    K = classes
    labelled = (truth >= 0) & (truth < K)
    rows, columns = truth[labelled].astype(np.int64), drawn[labelled].astype(np.int64)
    columns = np.where((columns >= 0) & (columns < K), columns, K)
    return np.bincount((K + 1) * rows + columns, minlength=K * (K + 1)).reshape(K, K + 1)


def intersection_over_union(counts: NDArray[np.number]) -> NDArray[np.float64]:
    """Of each class, (K,), NaN where it neither occurs nor was drawn; `counts` (K, K + 1)."""
    right = np.diagonal(counts)
    union = counts.sum(1) + counts[:, :-1].sum(0) - right
    return np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)


def interval(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of a bootstrap's draws, or of their differences."""
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(low), float(high)


def load_network(file: Path, classes: Sequence[str] = ()) -> Network:
    """A network for a dataset of these classes, by label id; without them, the classes are the network's own.

    `file` is what the authors of ESPNet publish (.pth), or JSON with the fields of `pseudo_labels` in params.yaml
    (.json), which names a TorchScript file, an ONNX file or a model that transformers knows; its paths are relative to
    the working directory. TorchScript is code that runs with your rights. Raises SegmentationError.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SegmentationError(f"{file}: {error.strerror}") from None
    if file.suffix == ".json":
        return _configured(file, data, classes)
    if file.suffix == ".pth":
        return _espnet(file, data, classes)
    raise SegmentationError(f"{file}: give ESPNet's weights (.pth), or a .json that describes another network")


def records(network: Network) -> dict[str, Record]:
    """How the scores of what a network sees are computed, by the names that `Metrics` has for them."""
    protocol = (
        f"{network.name} on pictures {PROTOCOL}; against the true labels of {', '.join(network.classes)}, other pixels "
        "left out, counted over all pictures together; the mean over the classes that occur or are drawn, and the "
        "share of the pixels that are drawn right; intervals by the bootstrap over pictures"
    )
    titles = {"miou": "mIoU", "pixel_accuracy": "Pixel accuracy"}
    hashes = {network.name: network.sha256}
    return {name: Record(title, "", "higher", protocol, "", hashes) for name, title in titles.items()}


def named_network(named: Recogniser) -> Network:
    """The network that `evaluation.segmentation` names. Raises SegmentationError, for another one too."""
    network = load_network(Path(named.file), named.classes)
    if network.sha256 != named.sha256:
        raise SegmentationError(
            f"{named.file} has SHA-256 {network.sha256}, not the one in params.yaml, evaluation.segmentation"
        )
    return network


def _espnet(file: Path, data: bytes, classes: Sequence[str]) -> Network:
    try:
        arrays = torch_arrays(data)
        network, preset = espnet({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    except (WeightsError, ValueError) as error:
        raise SegmentationError(f"{file}: {error}") from None
    wanted = tuple(classes) or preset.classes[:-1]
    ids = _ids(file, preset.classes, wanted)

    def draw(pixels: Pixels) -> Ids:
        return ids[_channels(network, preset, pixels)]

    return Network(file.name, hashlib.sha256(data).hexdigest(), wanted, draw)


def _ids(file: Path, channels: Sequence[str], wanted: tuple[str, ...]) -> NDArray[np.int64]:
    """The label id of each channel, len(wanted) for those that are none of the dataset's classes."""
    unseen = [name for name in wanted if name not in channels]
    if unseen:
        raise SegmentationError(f"{file}: knows no {', '.join(unseen)}; its classes: {', '.join(channels)}")
    return np.array([wanted.index(name) if name in wanted else len(wanted) for name in channels])


def _channels(network: ESPNet, preset: Preset, pixels: Pixels) -> Ids:
    """The strongest channel at each pixel, (H, W). A picture larger than the network was trained on is reduced for it,
    and the map enlarged again."""
    height, width, _ = pixels.shape
    factor = min(1.0, preset.longest_side / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    seen = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)) if factor < 1 else pixels
    with torch.inference_mode():
        x = torch.from_numpy(np.array(seen)).permute(2, 0, 1)[None].float() / 127.5 - 1  # (1, 3, h, w)
        logits = network(pad(x, (0, -size[0] % STRIDE, 0, -size[1] % STRIDE), mode="replicate"))
        channels = logits[0, :, : size[1], : size[0]].argmax(0).to(torch.uint8).numpy()  # (h, w)
    return channels if factor == 1 else np.asarray(Image.fromarray(channels).resize((width, height), 0))


def _configured(file: Path, data: bytes, classes: Sequence[str]) -> Network:
    try:
        config = convert(msgspec.json.decode(data), SegmentationNetwork, str(file))
        wanted = tuple(classes) or tuple(dict.fromkeys(config.classes))
        _ids(file, config.classes, wanted)
        known = (*wanted, *dict.fromkeys(name for name in config.classes if name not in wanted))
        table = ClassTable(classes=[LabelClass(id=id, name=name) for id, name in enumerate(known)])
        network = segmenter(config, table)
    except (ConfigError, DataError) as error:
        raise SegmentationError(str(error)) from None
    except msgspec.DecodeError as error:
        raise SegmentationError(f"{file}: {error}") from None

    def draw(pixels: Pixels) -> Ids:
        try:
            return network.draw(_png(pixels), _sidecar(pixels)).labels
        except (DataError, Rejected) as error:
            raise SegmentationError(f"{config.file}: {error}") from None

    description = msgspec.json.encode(config).decode() + _runtime(config.format)
    return Network(network.network.name, network.network.sha256, wanted, draw, description)


def _runtime(name: str) -> str:
    """Package and version of what runs a format; empty for PyTorch itself, and where it is not installed, which is told
    when a picture is drawn."""
    package = RUNTIMES.get(name)
    try:
        return f"{package} {importlib.metadata.version(package)}" if package else ""
    except importlib.metadata.PackageNotFoundError:
        return ""


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _sidecar(pixels: Pixels) -> RawSidecar:
    height, width, _ = pixels.shape
    unknown = {"author": None, "license": None, "title": None}
    return RawSidecar(id="", key="", split="val", width=width, height=height, orientation=1, **unknown)
