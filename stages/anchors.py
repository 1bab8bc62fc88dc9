"""Code the held-out pictures of a dataset with the classical codecs, each over its ladder of rates."""

from pathlib import Path

from gencomp.evaluation.anchors import AnchorsConfig, measure_anchors
from gencomp.evaluation.classical import ClassicalCodecError
from gencomp.evaluation.held_out import EvaluationConfig, HeldOutError, evaluation_images
from stages.entry import StageError, params, run


def main(dataset: str) -> None:
    """Measure the anchors of a dataset into anchors/<dataset>."""
    config = params(EvaluationConfig, "evaluation")
    images = evaluation_images(config, Path("data/shards", dataset))
    try:
        anchors = measure_anchors(
            images, params(AnchorsConfig, "anchors"), Path("anchors", dataset), params(int, "threads"), config.metrics
        )
    except (HeldOutError, ClassicalCodecError) as error:
        raise StageError(str(error)) from None
    for title, reason in anchors.left_out.items():
        print(f"{dataset}: {title} is left out: {reason}")
    print(f"{dataset}: {len(anchors.rows)} files of {len({row.codec for row in anchors.rows})} codecs")


if __name__ == "__main__":
    run(main)
