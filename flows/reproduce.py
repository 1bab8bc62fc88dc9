"""The flow that brings every DVC target up to date, one Prefect task each.

DVC owns what is stale and where results are, so nothing here caches or keeps a result: `dvc repro` alone computes
the same.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import copy_context
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows import summary, worktree
from flows.environment import for_stages, for_worktree
from flows.plan import TRAINING, plan
from flows.repro import Dvc, DvcError, Graph
from flows.slots import gpu_slot, set_gpu_slots
from flows.summary import Row


class Checkout:
    """Where targets are reproduced: a checkout's `dvc`, and the rows of what it did."""

    def __init__(self, dvc: Dvc, rows: list[Row]) -> None:
        self.dvc, self.rows = dvc, rows


@task(task_run_name="{target}", cache_policy=NO_CACHE, persist_result=False)
def reproduce_target(target: str, checkout: Checkout) -> State[None]:
    """Bring one DVC target up to date, training in a GPU slot."""
    logger = get_run_logger()
    started = time.monotonic()
    try:
        with gpu_slot() if target.startswith(TRAINING) else nullcontext():
            started = time.monotonic()
            status = checkout.dvc.reproduce(target, logger.info).value
    except DvcError as error:
        checkout.rows.append(Row(target, "failed", time.monotonic() - started))
        return Failed(message=str(error))
    checkout.rows.append(Row(target, status, time.monotonic() - started))
    return Completed(message=status)


@flow(name="reproduce", persist_result=False)
def reproduce(parallel: int = 1, gpu_slots: int | None = None) -> State[None]:
    """Bring the checkout in the working folder up to date; the caller holds it (flows/lock.py).

    Args:
        parallel: Variants that run side by side, each in a git worktree of its own; 1 runs every target here, in order.
        gpu_slots: Trainings that may run at once, for all flows of the Prefect server; None keeps the server's number.
    """
    root = Path.cwd()
    rows: list[Row] = []
    main = Checkout(Dvc(root, for_stages(os.environ)), rows)
    set_gpu_slots(gpu_slots)
    try:
        graph = main.dvc.graph()
        failures = in_order(list(graph), main) if parallel == 1 else side_by_side(graph, main, parallel)
    except (DvcError, worktree.WorktreeError) as error:
        return Failed(message=str(error))
    finally:
        main.dvc.end()
    line = summary.publish(root, every_target(graph, rows), failures)
    return Failed(message="; ".join(failures)) if failures else Completed(message=line)


def in_order(targets: Sequence[str], checkout: Checkout) -> list[str]:
    """Reproduce `targets` one after the other up to the first failure; returns its message, if any."""
    for target in targets:
        state = reproduce_target(target, checkout, return_state=True)
        if not state.is_completed():
            return [state.message or f"{target}: {state.name}"]
    return []


def side_by_side(graph: Graph, main: Checkout, parallel: int) -> list[str]:
    """Reproduce independent variants in worktrees, up to `parallel` at once; returns the failures' messages.

    A variant's failure leaves the others running; what needs all of them is then not run. Results come into the main
    checkout from the shared cache, where DVC finds them as runs of its own.
    """
    split = plan(graph)
    if failures := in_order(split.before, main):
        return failures
    stale = main.dvc.stale()
    todo = {name: targets for name, targets in split.variants.items() if stale.intersection(targets)}
    done = [target for name, targets in split.variants.items() if name not in todo for target in targets]
    if failures := in_order(done, main):
        return failures
    with worktrees(main, todo) as checkouts, ThreadPoolExecutor(parallel) as pool:
        try:
            futures = [
                pool.submit(copy_context().run, one_variant, graph, todo[name], checkout, main)
                for name, checkout in checkouts.items()
            ]
            failures = [failure for future in futures for failure in future.result()]
        except BaseException:  # a signal: the threads wait for their dvc
            for checkout in (main, *checkouts.values()):
                checkout.dvc.end()
            raise
    return failures or in_order(split.after, main)


@contextmanager
def worktrees(main: Checkout, names: Iterable[str]) -> Iterator[dict[str, Checkout]]:
    """A worktree for each name, removed at the end; those that a killed flow left are removed first."""
    root = main.dvc.root
    checkouts: dict[str, Checkout] = {}
    worktree.sweep(root)
    try:
        cache = main.dvc.cache_folder()
        for name in names:
            folder = worktree.create(root, name, cache)
            checkouts[name] = Checkout(Dvc(folder, for_worktree(root, os.environ)), main.rows)
        yield checkouts
    finally:
        for checkout in checkouts.values():
            checkout.dvc.end()
        worktree.sweep(root)


def one_variant(graph: Graph, targets: Sequence[str], checkout: Checkout, main: Checkout) -> list[str]:
    """Reproduce a variant's targets in its worktree and take those that succeeded over into the main checkout."""
    inputs = dict.fromkeys(parent for target in targets for parent in graph[target] if parent not in targets)
    try:
        checkout.dvc.checkout(list(inputs))
        failures = in_order(targets, checkout)
        done = {row.target for row in main.rows if row.status != "failed"}
        take_over([target for target in targets if target in done], main.dvc)
    except DvcError as error:
        return [str(error)]
    return failures


def take_over(targets: Sequence[str], main: Dvc) -> None:
    """Restore results that a worktree put into the shared cache."""
    logger = get_run_logger()
    for target in main.restore(targets, logger.debug):
        logger.warning("%s was computed again: its run in a worktree had other inputs than this checkout", target)


def every_target(graph: Graph, rows: Sequence[Row]) -> list[Row]:
    """The rows in the order of the graph, those of targets that were not reached included."""
    found = {row.target: row for row in rows}
    return [found.get(target, Row(target, "not run", 0.0)) for target in graph]
