"""Compress and decode the held-out pictures with a variant's model, and measure rates and quality."""

from pathlib import Path

from gencomp.codec.container import StreamError
from gencomp.data.atomic import replacing
from gencomp.evaluation.cache import ResultCache, results_folder
from gencomp.evaluation.evaluate import evaluate, metrics_json
from gencomp.evaluation.held_out import EvaluationConfig, HeldOutError, evaluation_samples
from gencomp.evaluation.segmentation import SegmentationError, named_network
from gencomp.models.package import PackageError
from stages.entry import StageError, params, run


def main(variant: str, package: str = "", output: str = "") -> None:
    """Evaluate models/<variant>, or the package folder given, on the current evaluation.

    With --output, the files and metrics.json go to that folder and the declared outputs stay as they are:
    python -m stages.evaluate gc --package models/gc --output /tmp/evaluation
    """
    config = params(EvaluationConfig, "evaluation")
    dataset = params(str, "variants", variant, "dataset")
    samples = evaluation_samples(config, Path("data/shards", dataset))
    folder = Path(output or f"evaluation/{variant}")
    try:
        model = Path(package or f"models/{variant}")
        coding = config.entropy, variant, folder, config.preserve, config.max_bpp
        named = config.segmentation.get(dataset)
        network = named_network(named) if named else None
        metrics = evaluate(model, samples, *coding, config.metrics, ResultCache(results_folder()), network)
    except (PackageError, StreamError, HeldOutError, SegmentationError) as error:
        raise StageError(str(error)) from None
    with replacing(folder / "metrics.json" if output else Path(f"metrics/{variant}.json")) as temporary:
        temporary.write_bytes(metrics_json(metrics))
    side = f" ({metrics.side_bpp:.4f} of it side information)" if metrics.side_bpp else ""
    seen = (
        "" if metrics.miou is None else f", mIoU {metrics.miou:.3f} ({metrics.miou_of_originals:.3f} of the originals)"
    )
    print(f"{variant}: {metrics.images} pictures, {metrics.bpp:.4f} bpp{side}, {metrics.psnr:.2f} dB{seen}")


if __name__ == "__main__":
    run(main)
