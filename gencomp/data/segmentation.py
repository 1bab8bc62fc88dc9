"""Label maps drawn by a segmentation network of the user's own, on the CPU: a TorchScript file, an ONNX file, or one
that the library transformers knows.

    image -> reduced to `longest_side` -> (pixels * scale - mean) / std -> logits -> argmax -> as large as the image

Each process opens the network for its first image and runs it in one thread: processes share the machine's cores, and
an image's map depends on nothing but the image.
"""

import functools
import hashlib
import io
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gencomp.data.dataset import SegmentationNetwork
from gencomp.data.failure import DataError, Rejected
from gencomp.data.labelmap import MAP_PIXELS, LabelMap
from gencomp.data.manifest import ClassTable, LabelClass, LabelNetwork, RawSidecar
from gencomp.data.photograph import decode_reduced, upright

if TYPE_CHECKING:
    import torch

MODEL_FILES = ("config.json", "model.safetensors")
"""What is read of a model that transformers knows."""
PACKAGES = {"onnx": "gencomp[onnx]", "torchscript": "torch", "transformers": "gencomp[transformers]"}
"""What runs each format."""
Logits = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(1, 3, H, W) -> (1, K, H', W')."""


class Segmenter(NamedTuple):
    """A network, and what its classes are in the dataset."""

    config: SegmentationNetwork
    file: Path
    """Absolute: workers may run elsewhere."""
    table: ClassTable
    ids: tuple[int, ...]
    """The dataset's label id of each channel of the logits."""

    @property
    def network(self) -> LabelNetwork:
        """Name and hash of the file, or the id and the revision of a model and its hash."""
        revision = self.config.revision
        name = f"{self.config.file}@{revision}" if revision else self.file.name
        return LabelNetwork(name=name, sha256=self.config.sha256)

    def draw(self, image: bytes, sidecar: RawSidecar) -> LabelMap:
        """The label map of an image file; its regions count as instances.

        Raises Rejected: `labels-not-finite` (logits), and what the image's decoder says. Raises DataError for a network
        that cannot be opened or run, or whose logits are not of its classes.
        """
        shown = upright(decode_reduced(image, MAP_PIXELS, self.config.longest_side), sidecar.orientation)
        logits = self._logits(network_input(shown.convert("RGB"), self.config))
        if not np.isfinite(logits).all():
            raise Rejected("labels-not-finite")
        ids = np.array(self.ids, np.uint8 if max(self.ids) < 256 else np.uint16)
        drawn = Image.fromarray(ids[logits[0].argmax(0)])  # (H', W')
        stored = (sidecar.width, sidecar.height)
        size = stored[::-1] if sidecar.orientation >= 5 else stored
        labels = np.asarray(drawn.resize(size, Image.Resampling.NEAREST))
        return LabelMap(labels, labels, 0, 0)

    def _logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        network = _opened(self.file, self.config)
        try:
            logits = network(images)
        except Exception as error:  # each runtime has its own, and TorchScript raises what its author does
            height, width = images.shape[2:]
            raise DataError(f"{self.file}: fails on an image of {width} x {height}: {_one_line(error)}") from None
        if logits.ndim != 4 or logits.shape[:2] != (1, len(self.ids)):
            raise DataError(
                f"{self.file}: gives {logits.shape}, not the logits of {len(self.ids)} classes (1, K, H, W)"
            )
        return logits


def segmenter(config: SegmentationNetwork, annotated: ClassTable | None) -> Segmenter:
    """The network of a config; `annotated`: the classes of the source's own annotations.

    Raises DataError for a file that is missing or another one, and for a class that the annotations do not have.
    """
    file = _model_folder(config) if config.format == "transformers" else Path(config.file).absolute()
    _read(file, config)
    if annotated is None:
        names = list(dict.fromkeys(config.classes))
        table = ClassTable(classes=[LabelClass(id=id, name=name) for id, name in enumerate(names)])
    else:
        table = annotated
    known = {label.name: label.id for label in table.classes}
    strangers = [name for name in config.classes if name not in known]
    if strangers:
        raise DataError(
            f"pseudo_labels: class {', '.join(strangers)} is none of those that the source's annotations have; "
            f"known: {', '.join(known)}"
        )
    return Segmenter(config, file, table, tuple(known[name] for name in config.classes))


def network_input(image: Image.Image, config: SegmentationNetwork) -> NDArray[np.float32]:
    """An RGB image as the network takes it, (1, 3, H, W)."""
    factor = min(1.0, config.longest_side / max(image.size))
    width, height = (
        max(config.multiple, int(side * factor) // config.multiple * config.multiple) for side in image.size
    )
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.float32)  # (H, W, 3)
    ordered = pixels if config.order == "RGB" else pixels[..., ::-1]
    mean, std = (np.array(values, np.float32) for values in (config.mean, config.std))
    return np.ascontiguousarray(((ordered * np.float32(config.scale) - mean) / std).transpose(2, 0, 1)[None])


@functools.lru_cache(maxsize=1)
def _opened(file: Path, config: SegmentationNetwork) -> Logits:
    data = _read(file, config)
    try:
        match config.format:
            case "onnx":
                return _onnx(data)
            case "torchscript":
                return _torchscript(data)
            case "transformers":
                return _transformers(file)
    except ImportError as error:
        raise DataError(f"{file}: {error}: pip install '{PACKAGES[config.format]}'") from None
    except Exception as error:
        raise DataError(f"{file}: is no {config.format} network that can be opened: {_one_line(error)}") from None


def _read(file: Path, config: SegmentationNetwork) -> bytes:
    """The file that was named, or the files of a folder one behind the other: what is opened is what was hashed."""
    paths = [file / name for name in MODEL_FILES] if config.format == "transformers" else [file]
    try:
        data = b"".join(path.read_bytes() for path in paths)
    except OSError as error:
        raise DataError(f"pseudo_labels: {error.filename}: {error.strerror}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != config.sha256:
        raise DataError(f"pseudo_labels: {config.file} has SHA-256 {found}, not {config.sha256}")
    return data


def _model_folder(config: SegmentationNetwork) -> Path:
    """The folder of a model that transformers knows; one that is named by its id is fetched once, into the cache of
    Hugging Face's tools, and not at all with HF_HUB_OFFLINE=1. Raises DataError."""
    name = f"pseudo_labels: {config.file}"
    if find_spec("transformers") is None:
        raise DataError(f"{name}: transformers is not installed: pip install '{PACKAGES['transformers']}'")
    folder = Path(config.file).absolute()
    if config.revision is None:
        if not folder.is_dir():
            raise DataError(f"{name}: no such folder; a model id needs its `revision`, the commit")
        return folder
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(config.file, revision=config.revision, allow_patterns=list(MODEL_FILES)))
    except Exception as error:  # its own, those of its client, and of the disk
        raise DataError(f"{name}: revision {config.revision} cannot be had: {_one_line(error)}") from None


def _onnx(data: bytes) -> Logits:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False  # both keep memory for each size that they see
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0])


def _torchscript(data: bytes) -> Logits:
    import torch

    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch.jit will be replaced
        network = torch.jit.load(io.BytesIO(data), map_location="cpu").eval()

    def logits(images: NDArray[np.float32]) -> NDArray[np.float32]:
        # Optimised, the first calls would be others than those that follow, and so depend on what came before.
        with torch.inference_mode(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            found = network(torch.from_numpy(images))
        return np.asarray(_first(found).float())

    return logits


def _transformers(folder: Path) -> Logits:
    import torch
    from transformers import AutoModelForSemanticSegmentation

    torch.set_num_threads(1)
    network = AutoModelForSemanticSegmentation.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
    ).eval()

    def logits(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found = network(pixel_values=torch.from_numpy(images))
        return np.asarray(found.logits)

    return logits


def _first(found: object) -> "torch.Tensor":
    """The logits, of a network that gives them alone, first of several, or under the first of several names."""
    import torch

    while isinstance(found, dict | tuple | list):
        found = next(iter(found.values() if isinstance(found, dict) else found))
    if not isinstance(found, torch.Tensor):
        raise TypeError(f"gives a {type(found).__name__}, no tensor")
    return found


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
