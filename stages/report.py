"""Make the report of all variants: one page, and the points of its rate curves."""

import hashlib
import json
import sys
from pathlib import Path

import msgspec

from gencomp.data.atomic import replacing
from gencomp.data.failure import DataError
from gencomp.evaluation.cache import ResultCache, results_folder
from gencomp.evaluation.held_out import EvaluationConfig, HeldOutError
from gencomp.evaluation.page import Fact, too_large
from gencomp.evaluation.practicality import PracticalityError, read_practicality
from gencomp.evaluation.provenance import locked, machine
from gencomp.evaluation.rates import RatesError
from gencomp.evaluation.report import Inputs, build_report
from gencomp.evaluation.segmentation import SegmentationError, named_network
from stages.entry import StageError, params, run


class Variant(msgspec.Struct, frozen=True):
    """What this stage needs to know of a variant; its other keys belong to the training."""

    dataset: str
    """Name of its dataset."""


def main(output: str = "", costs: str = "") -> None:
    """Write report/index.html and report/rates.csv.

    With --output, the page goes to that file instead and tells of the commit, the machine and the moment too, which
    the declared output cannot: python -m stages.report --output shown.html --costs practicality.json
    So it tells of what models cost, where --costs names the file of benchmarks.practicality --table.
    """
    sections = params(dict[str, object])
    digests = [
        Fact(f"params, {name}", _digest(sections.get(name)))
        for name in ("datasets", "variants", "evaluation", "anchors")
    ]
    facts = [*(machine() if output else []), *digests, *locked(Path("dvc.lock"))]
    variants = params(dict[str, Variant], "variants")
    datasets = {name: variant.dataset for name, variant in variants.items()}
    if costs and not output:
        raise StageError("--costs are facts of a machine, which the declared report cannot tell: add --output FILE")
    try:
        known = read_practicality(Path(costs)) if costs else None
        config = params(EvaluationConfig, "evaluation")
        shown = {name: named for name, named in config.segmentation.items() if name in datasets.values()}
        networks = {name: named_network(named) for name, named in shown.items()}
        cache = ResultCache(results_folder()) if networks else None
        report = build_report(Inputs(Path(), datasets, config, facts, known, networks, cache))
    except (PracticalityError, DataError, HeldOutError, RatesError, SegmentationError) as error:
        raise StageError(str(error)) from None
    page = Path(output or "report/index.html")
    for path, data in ((page, report.html), *([] if output else [(Path("report/rates.csv"), report.rates_csv)])):
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    print(f"{page}: {len(report.html) / 1e6:.1f} MB")
    if warning := too_large(len(report.html)):
        print(warning, file=sys.stderr)


def _digest(section: object) -> str:
    return hashlib.sha256(json.dumps(section, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    run(main)
