"""Which targets belong to one variant alone, and so can run beside those of another."""

from typing import NamedTuple

from flows.repro import Graph

TRAINING = "train@"


class Plan(NamedTuple):
    """Targets in the order of the graph: what every variant needs, each variant's own, what needs the variants."""

    before: tuple[str, ...]
    variants: dict[str, tuple[str, ...]]
    after: tuple[str, ...]


def plan(graph: Graph) -> Plan:
    """Split `graph`: a variant's own targets are its training and what depends on it, on nothing of another variant's.

    A data set may share a variant's name: `download@streets` is none of `train@streets`'s own.
    """
    before: list[str] = []
    variants: dict[str, list[str]] = {}
    after: list[str] = []
    for target, parents in graph.items():
        name = target.rpartition("@")[2]
        own = variants.get(name, [])
        shared = [parent for parent in parents if parent not in own]
        if not set(shared) <= set(before):
            after.append(target)
        elif target.startswith(TRAINING):
            variants[name] = [target]
        elif len(shared) < len(parents):
            (own if "@" in target else after).append(target)
        else:
            before.append(target)
    return Plan(
        tuple(before),
        {name: tuple(targets) for name, targets in variants.items()},
        tuple(after),
    )
