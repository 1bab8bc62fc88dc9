"""What the pipeline leaves before `register`, small."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import torch
import yaml
from PIL import Image

from gencomp.evaluation.gate import GateConfig, Measured, SelfTest, Verdict, absolute_checks, passed, verdict_json
from gencomp.models.compressor import Compressor, ModelConfig
from gencomp.models.content import content_hash
from gencomp.models.package import load_package, save_package

REGISTRY = {"prefix": "gencomp", "tolerances": {"psnr": 0.3, "ms_ssim": 0.01, "bpp": 0.05}}


def make_package(folder: Path, seed: int) -> Path:
    """An untrained model of the smallest width."""
    torch.manual_seed(seed)
    config = ModelConfig(width=2, blocks=0)
    frequencies = np.full((config.channels, config.levels), 2**24 // config.levels, dtype=np.int64)
    frequencies[:, 0] += 2**24 - frequencies.sum(axis=1)
    save_package(folder, config, Compressor(config), frequencies)
    return folder


def verdict_of(measured: Measured) -> Verdict:
    """What the gate says of an evaluation."""
    selftest = SelfTest(vectors=15, failed=0)
    checks = absolute_checks(measured, measured.package, 0.04, GateConfig(minimum_psnr=12.0), selftest)
    return Verdict("gc", measured.package, passed(checks), checks)


class Project:
    """A folder as the pipeline leaves it before `register`, with one variant `gc`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        params = {"threads": 1, "variants": {"gc": {"dataset": "photos", "model": {"width": 2}}}, "registry": REGISTRY}
        params |= {"datasets": {"photos": {"source": {"kind": "sample"}}}}
        params |= {"evaluation": {"split": "val", "images": None, "entropy": "static"}}
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        self._place_shards()

    def place(
        self,
        package: Path,
        psnr: float = 25.0,
        digest: str = "d" * 64,
        bpp: float = 0.03,
        encoder: int = 0,
        further: Mapping[str, object] = {},
    ) -> Measured:
        """Put a package with its evaluation, its verdict and its training curve in place of the former; `further` is
        what metrics.json has beside what the gate reads."""
        shutil.rmtree(self.folder / "models" / "gc", ignore_errors=True)
        shutil.copytree(package, self.folder / "models" / "gc")
        measured = Measured(
            images=3,
            evaluation_digest=digest,
            package=content_hash(package),
            bpp=bpp,
            psnr=psnr,
            ms_ssim=0.9,
            bound_violations=0,
            symbol_mismatches=0,
            encoder=encoder,
            fingerprint=load_package(package).fingerprint[:4].hex(),
        )
        self._write("metrics/gc.json", json.dumps(msgspec.to_builtins(measured) | further).encode())
        self._write("gate/gc.json", verdict_json(verdict_of(measured)))
        self._write("history/gc.csv", b"step,loss,psnr\n10,3.5,\n20,2.25,21.5\n")
        self._write("history/gc-centers.csv", b"channel,center,share\n0,-2,0.25\n0,0,0.75\n")
        self._write("report/rates.csv", f"dataset,codec,setting,bpp,psnr\nphotos,gc,static,{bpp},{psnr}\n".encode())
        return measured

    def manifest_digest(self) -> str:
        """SHA-256 of the training data's manifest."""
        return hashlib.sha256((self.folder / "data/shards/photos/manifest.json").read_bytes()).hexdigest()

    def _place_shards(self) -> None:
        """One held-out picture, 40 x 30, and what was drawn of its file."""
        pixels = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "PNG")
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            member = tarfile.TarInfo("noise.png")
            member.size = png.tell()
            archive.addfile(member, io.BytesIO(png.getvalue()))
        shards = [{"name": "val-000000.tar", "samples": 1}]
        manifest = {"dataset": "photos", "classes": 0, "splits": {"val": {"samples": 1, "shards": shards}}}
        self._write("data/shards/photos/val-000000.tar", tar.getvalue())
        self._write("data/shards/photos/manifest.json", json.dumps(manifest).encode())
        self._write("evaluation/gc/decoded/noise.png", png.getvalue())

    def _write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
