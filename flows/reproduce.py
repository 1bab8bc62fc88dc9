"""The flow that brings every DVC target up to date, one Prefect task each.

DVC owns what is stale and where results are, so nothing here caches or keeps a result: `dvc repro` alone computes
the same.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Failed

from flows import summary, worktree
from flows.environment import for_stages, for_worktree
from flows.network import RETRIES, Patience, crosses
from flows.plan import TRAINING, plan
from flows.progress import Progress, artifact_key
from flows.repro import Dvc, DvcError, Graph
from flows.slots import gpu_slot, set_gpu_slots
from flows.summary import FAILED, Row


class Account:
    """What a flow run has done so far; targets of several threads enter it."""

    def __init__(self, progress: Progress, patience: Patience) -> None:
        self.progress, self.patience = progress, patience
        self.targets = 0
        """How many there are."""
        self._rows: dict[str, Row] = {}

    def enter(self, row: Row) -> None:
        """Of a target that was tried again, the last row counts."""
        self._rows[row.target] = row
        self.progress.show(len(self._rows), self.targets)
        self.patience.wait()

    def rows(self, graph: Graph) -> list[Row]:
        """The rows in the order of the graph, those of targets that were not reached included."""
        return [self._rows.get(target, Row(target, "not run", 0.0)) for target in graph]

    def succeeded(self, target: str) -> bool:
        return target in self._rows and self._rows[target].status != FAILED


class Checkout:
    """Where targets are reproduced: a checkout's `dvc`, and the account of what it does."""

    def __init__(self, dvc: Dvc, account: Account) -> None:
        self.dvc, self.account = dvc, account


@task(task_run_name="{target}", cache_policy=NO_CACHE, persist_result=False)
def reproduce_target(target: str, checkout: Checkout) -> State[None]:
    """Bring one DVC target up to date, training in a GPU slot and with a progress bar."""
    logger = get_run_logger()
    with training(target, checkout.account) as progress:
        started = time.monotonic()

        def report(line: str) -> None:
            logger.info(line)
            if progress:
                progress.line(line)

        try:
            state, status = Completed, checkout.dvc.reproduce(target, report).value
            message = status
        except DvcError as error:
            state, status, message = Failed, FAILED, str(error)
    checkout.account.enter(Row(target, status, time.monotonic() - started))
    return state(message=message)


RETRIED = reproduce_target.with_options(**RETRIES)
"""The same for a target that crosses a network."""


@contextmanager
def training(target: str, account: Account) -> Iterator[Progress | None]:
    """A GPU slot and a progress bar for a training; nothing for another target."""
    if not target.startswith(TRAINING):
        yield None
        return
    with gpu_slot():
        progress = Progress(artifact_key("progress", target), f"Steps of {target}")
        try:
            yield progress
        finally:
            progress.end()
            account.patience.wait()  # else the slot would not be given back


@flow(name="reproduce", persist_result=False)
def reproduce(parallel: int = 1, gpu_slots: int | None = None) -> State[None]:
    """Bring the checkout in the working folder up to date; the caller holds it (flows/lock.py).

    Args:
        parallel: Variants that run side by side, each in a git worktree of its own; 1 runs every target here, in order.
        gpu_slots: Trainings that may run at once, for all flows of the Prefect server; None keeps the server's number.
    """
    root = Path.cwd()
    account = Account(Progress("progress", "Targets that are up to date"), Patience(PREFECT_API_URL.value()))
    main = Checkout(Dvc(root, for_stages(root, os.environ)), account)
    set_gpu_slots(gpu_slots)
    try:
        graph = main.dvc.graph()
        account.targets = len(graph)
        failures = in_order(list(graph), main) if parallel == 1 else side_by_side(graph, main, parallel)
    except (DvcError, worktree.WorktreeError) as error:
        return Failed(message=str(error))
    finally:
        main.dvc.end()
        account.progress.end()
    line = summary.publish(root, account.rows(graph), failures)
    return Failed(message="; ".join(failures)) if failures else Completed(message=line)


def in_order(targets: Sequence[str], checkout: Checkout) -> list[str]:
    """Reproduce `targets` one after the other up to the first failure; returns its message, if any."""
    for target in targets:
        run = RETRIED if crosses(target) else reproduce_target
        state = run(target, checkout, return_state=True)
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
            checkouts[name] = Checkout(Dvc(folder, for_worktree(root, os.environ)), main.account)
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
        take_over([target for target in targets if main.account.succeeded(target)], main.dvc)
    except DvcError as error:
        return [str(error)]
    return failures


def take_over(targets: Sequence[str], main: Dvc) -> None:
    """Restore results that a worktree put into the shared cache."""
    logger = get_run_logger()
    for target in main.restore(targets, logger.debug):
        logger.warning("%s was computed again: its run in a worktree had other inputs than this checkout", target)
