"""A short training, its history written as JSON: `python distributed_run.py SHARDS SCRATCH OUTPUT`, or by torchrun."""

import json
import os
import sys
from pathlib import Path

import msgspec
import torch
from accelerate import PartialState

from gencomp.models.compressor import ModelConfig
from gencomp.training.trainer import Observer, TrainingConfig, train

LIGHT = {"encoder": [8, 8, 8], "encoder_blocks": [0, 1, 1], "generator": [8, 8, 8]}
MODEL = {"channels": 6, "nested": True, "noise": 1, "light": LIGHT}
TRAINING = {
    "steps": 6,
    "batch": 4,
    "crop": 64,
    "log_every": 1,
    "checkpoint_every": 3,
    "adversarial_from": 2,
    "gradient_norm": 1.0,
    "ema": 0.5,
    "losses": {"beta": 0.0, "spread": 0.0},
    "discriminator": {"width": 4, "scales": 2, "semantics": True},
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    shards, scratch, output = map(Path, sys.argv[1:])
    scratch.mkdir(exist_ok=True)
    observer = Observer(lambda report: None, lambda step, picture: None)
    model, config = msgspec.convert(MODEL, ModelConfig), msgspec.convert(TRAINING, TrainingConfig)
    trained = train(model, config, shards, 1, scratch, observer)
    if os.environ.get("RANK", "0") == "0":
        weights = {name: tensor.double().sum().item() for name, tensor in trained.compressor.state_dict().items()}
        ranks = PartialState().num_processes
        output.write_text(json.dumps({"ranks": ranks, "history": trained.history, "weights": weights}))
