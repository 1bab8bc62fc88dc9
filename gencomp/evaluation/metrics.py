"""The metrics of a picture and its reconstruction: what each is, and what measures the chosen ones.

PSNR is computed by torchmetrics, MS-SSIM in `ms_ssim`, SSIMULACRA2 in `ssimulacra2`, the others in `perceptual`.
"""

import importlib.metadata
import threading
from collections.abc import Collection, Iterable
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import peak_signal_noise_ratio

from gencomp.evaluation import distribution, perceptual
from gencomp.evaluation.cache import Cache, NoCache, code_digest, digest, picture_digest
from gencomp.evaluation.ms_ssim import prepare as prepare_ms_ssim
from gencomp.evaluation.rates import ChosenMetric, MetricName
from gencomp.evaluation.ssimulacra2 import prepare as prepare_ssimulacra2
from gencomp.weights.cache import weights_hash

Pixels = NDArray[np.uint8]
"""(H, W, 3), RGB."""
IDENTICAL_PSNR = 99.0
"""The PSNR, in dB, reported for identical pictures and the most that is ever reported."""

LPIPS_CODE = ("evaluation/perceptual.py", "models/lpips.py", "models/vgg16.py", "models/winograd.py")
DISTS_CODE = (*LPIPS_CODE, "models/dists.py", "models/features.py")
"""Source files; DISTS takes the first block of VGG16 from LPIPS."""


class Metric(NamedTuple):
    """What a metric is, as tables, charts and JSON say it."""

    name: MetricName
    title: str
    """As people write it."""
    better: Literal["higher", "lower"]
    unit: str
    """Empty without one."""
    decimals: int
    """That a reader is shown."""
    protocol: str
    """How it was computed, in one line: figures of different protocols are not comparable."""
    weights: tuple[str, ...] = ()
    """Names of the weights it uses."""
    version: str = ""
    """Of its definition, where there are several."""
    code: tuple[str, ...] = ()
    """Source files that compute it, beside this one, relative to the package's folder."""
    packages: tuple[str, ...] = ()
    """Whose versions its figures depend on, beside PyTorch's."""

    @property
    def axis(self) -> str:
        """Its title and unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 (hex) of the weights it uses, by their names."""
        return {name: weights_hash(name) for name in self.weights}

    @property
    def identity(self) -> str:
        """A digest of all that its figures depend on but the pictures and the machine: its definition, the source files
        that compute it, versions, weights."""
        code = code_digest("evaluation/metrics.py", *self.code), f"torch {torch.__version__}"
        packages = (f"{name} {importlib.metadata.version(name)}" for name in self.packages)
        weights = (f"{name} {sha}" for name, sha in self.hashes.items())
        return digest(self.name, self.protocol, self.version, *code, *packages, *weights)


METRICS: dict[MetricName, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            *("psnr", "PSNR", "higher", "dB", 2),
            "mean over pictures of the PSNR of 8-bit RGB, at most 99 dB",
            packages=("torchmetrics",),
        ),
        Metric(
            *("ms_ssim", "MS-SSIM", "higher", "", 4),
            "as torchmetrics 1.9 has it, 8-bit RGB in double precision, five scales, 11 x 11 Gaussian of sigma 1.5; "
            "sides of 161 to 175 pixels are mirrored to 176, smaller pictures left out",
            code=("evaluation/ms_ssim.py",),
        ),
        Metric(
            *("lpips_alex", "LPIPS", "lower", "", 3),
            "LPIPS 0.1, AlexNet, full size, RGB in [-1, 1], no crops; pictures under 32 pixels left out",
            ("lpips-alex",),
            code=LPIPS_CODE,
        ),
        Metric(
            *("lpips_vgg", "LPIPS-VGG16", "lower", "", 3),
            "LPIPS 0.1, VGG16, full size, RGB in [-1, 1], no crops; pictures under 32 pixels left out",
            ("lpips-vgg",),
            code=LPIPS_CODE,
        ),
        Metric(
            *("dists", "DISTS", "lower", "", 3),
            "DISTS, VGG16, full size, RGB in [0, 1], no resizing; pictures under 16 pixels left out",
            ("dists", "lpips-vgg"),
            code=DISTS_CODE,
        ),
        Metric(
            *("ssimulacra2", "SSIMULACRA2", "higher", "", 1),
            "as the original program has it since April 2023, by its recursive Gaussian with zeros around the picture, "
            "full size, 8-bit sRGB; pictures under 8 pixels left out",
            version="2.1",
            code=("evaluation/ssimulacra2.py",),
        ),
    )
}


class Record(msgspec.Struct, frozen=True):
    """How a metric was computed, for `protocols.json`: beside figures, so that they can be compared or not."""

    title: str
    unit: str
    better: Literal["higher", "lower"]
    protocol: str
    version: str
    """Of the metric's definition; empty where there is one alone."""
    weights: dict[str, str]
    """SHA-256 (hex) of the weights it used, by their names."""


def records(names: Collection[ChosenMetric]) -> dict[str, Record]:
    """What the metrics named are, and PSNR always."""
    found: dict[str, Record] = {
        name: Record(metric.title, metric.unit, metric.better, metric.protocol, metric.version, metric.hashes)
        for name, metric in METRICS.items()
        if name in {"psnr", *names}
    }
    if "kid" in names:
        hashes = {"inception": weights_hash("inception")}
        found |= {
            name: Record(title, "", "lower", distribution.PROTOCOL, "", hashes)
            for name, title in (("kid", "KID"), ("fid", "FID"))
        }
    return found


class Figures(NamedTuple):
    """What the metrics say of one reconstruction; None where a metric was not asked for or the picture is too small."""

    psnr: float
    ms_ssim: float | None = None
    lpips_alex: float | None = None
    lpips_vgg: float | None = None
    dists: float | None = None
    ssimulacra2: float | None = None


class Measurer:
    """Measures pairs of uint8 pictures (H, W, 3) by those of the metrics named that compare pairs, and PSNR always.

    Its networks are loaded once, when it is made; it may be used by several threads. What a cache holds is not measured
    again. Raises MissingWeightsError, a FileNotFoundError.
    """

    def __init__(self, names: Iterable[ChosenMetric], cache: Cache | None = None) -> None:
        self.names = tuple(name for name in METRICS if name in {"psnr", *names})
        self.cache = cache or NoCache()
        self.preparing = {name: _preparing(name) for name in self.names}
        self.identities = {name: METRICS[name].identity for name in self.names}

    def __call__(self, x: Pixels, y: Pixels) -> Figures:
        return self.beside(x)(y)

    def beside(self, x: Pixels) -> "Original":
        """What measures reconstructions of `x`, whose features are computed once, if at all."""
        return Original(self, x)


class Original:
    """A picture that is ready to be compared with its reconstructions, by several threads."""

    def __init__(self, measurer: Measurer, x: Pixels) -> None:
        self.measurer, self.x = measurer, x
        self.digest = picture_digest(x)
        self._prepared: dict[MetricName, perceptual.Prepared] = {}
        self._lock = threading.Lock()

    def __call__(self, y: Pixels) -> Figures:
        """What the metrics say of one reconstruction. Raises ValueError when the shapes differ."""
        _check_shapes(self.x, y)
        decoded = picture_digest(y)
        found = self._kept(decoded)
        missing = [name for name in self.measurer.names if self.measurer.identities[name] not in found]
        for name in missing:
            found[self.measurer.identities[name]] = self._measure(name)(y)
        if missing:
            self.measurer.cache.put(self._key(decoded), msgspec.json.encode(found))
        return self._figures(found)

    def known(self, decoded: str) -> Figures | None:
        """The figures of a reconstruction of that picture digest; None where the cache does not hold all of them."""
        found = self._kept(decoded)
        return self._figures(found) if set(self.measurer.identities.values()) <= set(found) else None

    def _measure(self, name: MetricName) -> perceptual.Prepared:
        with self._lock:
            if name not in self._prepared:
                self._prepared[name] = self.measurer.preparing[name](self.x)
            return self._prepared[name]

    def _figures(self, found: dict[str, float | None]) -> Figures:
        rest = {name: found[identity] for name, identity in self.measurer.identities.items() if name != "psnr"}
        value = found[self.measurer.identities["psnr"]]
        assert value is not None, "every picture has a PSNR"
        return Figures(value, **rest)

    def _kept(self, decoded: str) -> dict[str, float | None]:
        data = self.measurer.cache.get(self._key(decoded))
        try:
            return msgspec.json.decode(data, type=dict[str, float | None]) if data else {}
        except msgspec.DecodeError:  # damaged: measured again
            return {}

    def _key(self, decoded: str) -> str:
        return digest("figures", self.digest, decoded)


def _preparing(name: MetricName) -> perceptual.Preparing:
    if name == "psnr":
        return lambda x: lambda y: psnr(x, y)
    if name == "ms_ssim":
        return prepare_ms_ssim
    if name == "dists":
        return perceptual.dists()
    if name == "ssimulacra2":
        return prepare_ssimulacra2
    return perceptual.lpips("alex" if name == "lpips_alex" else "vgg")


def psnr(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels of two (H, W, 3) pictures, at most 99."""
    _check_shapes(x, y)
    a, b = (torch.from_numpy(np.array(z)).double() for z in (x, y))
    return min(float(peak_signal_noise_ratio(a, b, data_range=255.0)), IDENTICAL_PSNR)


def ms_ssim(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> float | None:
    """Multi-scale structural similarity of two (H, W, 3) pictures, in [0, 1], by `gencomp.evaluation.ms_ssim`; None
    when a side is shorter than 161 pixels."""
    _check_shapes(x, y)
    return prepare_ms_ssim(x)(y)


def _check_shapes(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> None:
    if x.shape != y.shape or x.ndim != 3 or x.shape[2] != 3:
        raise ValueError(f"expected two pictures of one shape (H, W, 3), got {x.shape} and {y.shape}")
