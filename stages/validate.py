"""Check the whole of params.yaml before anything runs: every key, type and range, and that names refer to something."""

import msgspec

from gencomp.data.dataset import DatasetConfig
from gencomp.evaluation.anchors import AnchorsConfig
from gencomp.evaluation.gate import GateConfig
from gencomp.evaluation.held_out import EvaluationConfig
from stages.entry import PARAMS, StageError, params, run
from stages.register import RegistryConfig
from stages.train import VariantConfig


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of params.yaml."""

    seed: int
    """Every random stream of training is derived from it."""
    threads: int
    """CPU threads of training and evaluation; on a CPU they are part of what a result depends on."""
    datasets: dict[str, DatasetConfig]
    variants: dict[str, VariantConfig]
    evaluation: EvaluationConfig
    anchors: AnchorsConfig
    gate: GateConfig
    registry: RegistryConfig


def main() -> None:
    """Check params.yaml."""
    for name in params(dict[str, object], "datasets"):
        params(DatasetConfig, "datasets", name)
    for name in params(dict[str, object], "variants"):
        params(VariantConfig, "variants", name)
    whole = params(Params)
    for name, variant in whole.variants.items():
        if variant.dataset not in whole.datasets:
            known = ", ".join(whole.datasets)
            raise StageError(f"{PARAMS}: variants.{name}.dataset: no dataset {variant.dataset!r}; known: {known}")


if __name__ == "__main__":
    run(main)
