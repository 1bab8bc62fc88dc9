"""What became of every picture that a dataset asked for, read from the manifests of download and shards."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from gencomp.data.dataset import SPLITS, Split
from gencomp.data.manifest import REFUSALS, RawItem, RawManifest, ShardManifest, digest, read

End = Literal["kept", "refused", "lost"]
ENDS: tuple[End, ...] = ("kept", "refused", "lost")


class Credit(NamedTuple):
    """Whose picture it is."""

    title: str
    """Its title, or its key where it has none."""
    by: str
    """Author and licence as one line; empty where neither is known."""


class Outcome(NamedTuple):
    """How many pictures came to one end."""

    end: End
    """`refused` by the selection, `lost` where the download did not bring them."""
    reason: str
    """As the manifest says it; empty for those kept."""
    counts: list[int]
    """By split, in the order of the account's."""

    @property
    def total(self) -> int:
        """Over all splits."""
        return sum(self.counts)


class Account(NamedTuple):
    """The account of one dataset."""

    dataset: str
    source: str
    recipe: str
    classes: int
    splits: list[Split]
    """Those that were asked for."""
    asked: list[int]
    """Pictures by split."""
    outcomes: list[Outcome]
    """Those kept, those refused, those lost; the most frequent reason first. They add up to `asked` in every split."""
    samples: int
    """In the shards: more than pictures kept, where those were cut into tiles."""
    labelled: int
    """Pictures kept that have a label map."""
    absent: list[tuple[str, str, str]]
    """(id, split, reason) of each picture asked for and not kept."""
    credits: dict[str, Credit]
    """By key."""
    raw_digest: str
    """SHA-256 (hex) of the download's manifest, which names the hash of every picture."""
    shards_digest: str
    """SHA-256 (hex) of the shards' manifest, which names the hash of every shard."""


def read_account(dataset: str, raw: Path, shards: Path) -> Account:
    """The account of a dataset from its two folders. Raises DataError when a manifest is missing or does not fit."""
    download = read(raw / "manifest.json", RawManifest)
    manifest = read(shards / "manifest.json", ShardManifest)
    asked = Counter(item.split for item in download.items)
    splits = [split for split in SPLITS if split in asked]
    return Account(
        dataset=dataset,
        source=download.source,
        recipe=manifest.recipe,
        classes=manifest.classes,
        splits=splits,
        asked=[asked[split] for split in splits],
        outcomes=_outcomes(download, manifest, splits),
        samples=sum(split.samples for split in manifest.splits.values()),
        labelled=manifest.counts.labelled,
        absent=[(reject.id, reject.split, reject.reason) for reject in manifest.rejects],
        credits={item.key: _credit(item) for item in download.items if item.key is not None},
        raw_digest=digest(raw / "manifest.json"),
        shards_digest=digest(shards / "manifest.json"),
    )


def _outcomes(download: RawManifest, shards: ShardManifest, splits: Sequence[Split]) -> list[Outcome]:
    rejected = {reject.id: reject.reason for reject in shards.rejects}
    found: dict[tuple[End, str], Counter[Split]] = defaultdict(Counter)
    found["kept", ""] = Counter()
    for item in download.items:
        end: End = "refused" if item.id in rejected else "kept"
        lost = item.outcome == "rejected" and item.reason not in REFUSALS
        found["lost" if lost else end, rejected.get(item.id, "")][item.split] += 1
    ordered = sorted(found.items(), key=lambda entry: (ENDS.index(entry[0][0]), -entry[1].total(), entry[0][1]))
    return [Outcome(end, reason, [counts[split] for split in splits]) for (end, reason), counts in ordered]


def license_name(text: str) -> str:
    """The short name of a Creative Commons licence given by its address; other texts as they are."""
    found = re.search(r"creativecommons\.org/(licenses|publicdomain)/([a-z-]+)/([0-9.]+)", text)
    if found is None:
        return text
    kind, name, version = found.groups()
    return (
        f"{'CC0' if name == 'zero' else 'Public domain' if kind == 'publicdomain' else f'CC {name.upper()}'} {version}"
    )


def _credit(item: RawItem) -> Credit:
    license_ = item.license and license_name(item.license)
    return Credit(item.title or item.key or item.id, ", ".join(filter(None, (item.author, license_))))
