"""GPU slots: a global concurrency limit of the Prefect server, shared by all its flows."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import get_client
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    GlobalConcurrencyLimitUpdate,
)
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound

GPU_LIMIT = "gpu"
DEFAULT_SLOTS = 1


def set_gpu_slots(slots: int | None) -> None:
    """Make the limit where it is missing; None keeps the number that the server has.

    A missing limit would otherwise let every training run at once: Prefect only warns.
    """
    with get_client(sync_client=True) as client:
        if slots is not None:
            return client.upsert_global_concurrency_limit_by_name(GPU_LIMIT, slots)
        try:
            client.read_global_concurrency_limit_by_name(GPU_LIMIT)
        except ObjectNotFound:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=GPU_LIMIT, limit=DEFAULT_SLOTS))


@contextmanager
def gpu_slot() -> Iterator[None]:
    """Wait for a slot and hold it; a server that is away for a while does not stop what runs in it."""
    with concurrency(GPU_LIMIT, strict=True, raise_on_lease_renewal_failure=False):
        yield


def free_all_slots() -> None:
    """Free the slots of flows that were killed together with their server; only for one that has just started, alone
    over its database."""
    with get_client(sync_client=True) as client:
        for limit in client.read_global_concurrency_limits(limit=200):
            if limit.active_slots:
                client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(active_slots=0))
