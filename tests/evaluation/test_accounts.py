"""What became of the images of a dataset, in the report's words."""

import msgspec
import pytest

from gencomp.data.manifest import RawItem, RawManifest, Reject, ShardCounts, ShardManifest
from gencomp.evaluation.accounts import _outcomes

UNKNOWN = {"bytes": 9, "sha256": None, "width": None, "height": None, "author": None, "license": None, "title": None}


def item(id: str, reason: str | None) -> RawItem:
    fields = {"id": id, "key": id, "split": "train", "reason": reason, "part": None, **UNKNOWN}
    return msgspec.convert(fields | {"outcome": "rejected" if reason else "ok"}, RawItem)


@pytest.mark.parametrize("on_arrival", [True, False])
def test_what_the_recipe_refused_is_not_lost_whoever_applied_it(on_arrival: bool) -> None:
    items = [item("a", None), item("b", "missing"), item("c", "bright" if on_arrival else None)]
    raw = RawManifest(dataset="d", source="list", items=items, counts={}, parts=[], annotations=[])
    rejects = [
        Reject(id=id, key=id, split="train", reason=reason) for id, reason in (("b", "missing"), ("c", "bright"))
    ]
    counts = ShardCounts(asked=3, kept=1, labelled=0, rejected={})
    shards = ShardManifest(dataset="d", recipe="none", classes=0, splits={}, rejects=rejects, counts=counts)
    found = {(outcome.end, outcome.reason): outcome.counts for outcome in _outcomes(raw, shards, ["train"])}
    assert found == {("kept", ""): [1], ("refused", "bright"): [1], ("lost", "missing"): [1]}
