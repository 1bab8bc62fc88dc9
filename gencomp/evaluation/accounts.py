"""What became of every picture that a dataset asked for, read from the manifests of download and shards."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from gencomp.data.dataset import Split
from gencomp.data.manifest import RawItem, RawManifest, ShardManifest, digest, read

SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Credit(NamedTuple):
    """Whose picture it is."""

    title: str
    """Its title, or its key where it has none."""
    by: str
    """Author and licence as one line; empty where neither is known."""


class Account(NamedTuple):
    """The account of one dataset."""

    dataset: str
    source: str
    recipe: str
    classes: int
    asked: int
    downloaded: int
    lost: list[tuple[str, int]]
    """Pictures that the download did not bring, by reason, most frequent first."""
    rejected: list[tuple[str, int]]
    """Pictures that the selection refused, by reason, most frequent first."""
    splits: list[tuple[str, int]]
    """Pictures kept, by split."""
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
    lost = {item.id for item in download.items if item.outcome != "ok"}
    return Account(
        dataset=dataset,
        source=download.source,
        recipe=manifest.recipe,
        classes=manifest.classes,
        asked=len(download.items),
        downloaded=len(download.items) - len(lost),
        lost=_counted(reject.reason for reject in manifest.rejects if reject.id in lost),
        rejected=_counted(reject.reason for reject in manifest.rejects if reject.id not in lost),
        splits=[(split, manifest.splits[split].samples) for split in SPLITS if split in manifest.splits],
        absent=[(reject.id, reject.split, reject.reason) for reject in manifest.rejects],
        credits={item.key: _credit(item) for item in download.items if item.key is not None},
        raw_digest=digest(raw / "manifest.json"),
        shards_digest=digest(shards / "manifest.json"),
    )


def _counted(reasons: Iterable[str]) -> list[tuple[str, int]]:
    return sorted(Counter(reasons).items(), key=lambda item: (-item[1], item[0]))


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
