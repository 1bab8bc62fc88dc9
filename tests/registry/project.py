"""What the pipeline leaves before `register`, small."""

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import torch
import yaml

from gencomp.evaluation.gate import GateConfig, Measured, Verdict, absolute_checks, passed, verdict_json
from gencomp.models.compressor import Compressor, ModelConfig
from gencomp.models.content import content_hash
from gencomp.models.package import save_package

REGISTRY = {"prefix": "gencomp", "tolerances": {"psnr": 0.3, "ms_ssim": 0.01, "bpp": 0.05}}


def make_package(folder: Path, seed: int) -> Path:
    """An untrained model of the smallest width."""
    torch.manual_seed(seed)
    config = ModelConfig(width=2, blocks=0)
    frequencies = np.full((config.channels, config.levels), 2**24 // config.levels, dtype=np.int64)
    frequencies[:, 0] += 2**24 - frequencies.sum(axis=1)
    save_package(folder, config, Compressor(config), frequencies)
    return folder


class Project:
    """A folder as the pipeline leaves it before `register`, with one variant `gc`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        params = {"threads": 1, "variants": {"gc": {"dataset": "photos", "model": {"width": 2}}}, "registry": REGISTRY}
        (folder / "params.yaml").write_text(yaml.safe_dump(params))

    def place(self, package: Path, psnr: float = 25.0, digest: str = "d" * 64, bpp: float = 0.03) -> Measured:
        """Put a package with its evaluation, its verdict and its training curve in place of the former."""
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
        )
        checks = absolute_checks(measured, measured.package, 0.04, GateConfig(minimum_psnr=12.0))
        verdict = Verdict("gc", measured.package, passed(checks), checks)
        self._write("metrics/gc.json", json.dumps(msgspec.to_builtins(measured)).encode())
        self._write("gate/gc.json", verdict_json(verdict))
        self._write("history/gc.csv", b"step,loss,psnr\n10,3.5,\n20,2.25,21.5\n")
        return measured

    def _write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
