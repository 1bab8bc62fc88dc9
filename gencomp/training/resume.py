"""The state that an interrupted training goes on from: one file, replaced atomically."""

import os
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

FILE = "resume.pt"


class TrainingState(TypedDict):
    """Everything that a step depends on; random streams are derived from the step, so none is stored."""

    step: int
    compressor: dict[str, Tensor]
    discriminator: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimiser_G: dict[str, object]
    optimiser_D: dict[str, object]
    history: list[dict[str, float]]


def save_state(folder: Path, state: TrainingState) -> None:
    """Replace the state in `folder`; a kill at any moment leaves the old one or the new one."""
    temporary = folder / f"{FILE}.tmp"
    torch.save(state, temporary)
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    os.replace(temporary, folder / FILE)


def load_state(folder: Path) -> TrainingState | None:
    """The state in `folder`, on the CPU; None when there is none. Only tensors and plain containers are read."""
    path = folder / FILE
    if not path.exists():
        return None
    state: TrainingState = torch.load(path, map_location="cpu", weights_only=True)
    return state
