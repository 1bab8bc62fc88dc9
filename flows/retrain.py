"""The flow that a schedule starts: reproduce what changed, or say that there is nothing to do."""

import os
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.environment import for_stages
from flows.lock import CheckoutBusyError, hold_checkout
from flows.notify import tell
from flows.refresh import refresh
from flows.repro import Dvc, DvcError
from flows.reproduce import reproduce

NOTHING_TO_DO = "nothing to do: data, code and parameters are those of the last run"


@flow(name="retrain", persist_result=False)
def retrain(parallel: int = 1, gpu_slots: int | None = None, notify_block: str | None = None) -> State[None]:
    """Refresh the checkout in the working folder, and unless `dvc status` is clean then: reproduce, gate and promote.

    Args:
        parallel: As of `reproduce`.
        gpu_slots: As of `reproduce`.
        notify_block: Prefect block that is told what came of it, such as `webhook/retraining`; None: nobody is. Where
            there was nothing to do nobody is told.
    """
    root = Path.cwd()
    try:
        with hold_checkout(root):
            state = _retrain(root, parallel, gpu_slots)
            if notify_block and state.message != NOTHING_TO_DO:
                tell(notify_block, "retrain", root, state)
            return state
    except CheckoutBusyError as error:
        return Failed(message=str(error))


def _retrain(root: Path, parallel: int, gpu_slots: int | None) -> State[None]:
    dvc = Dvc(root, for_stages(root, os.environ))
    try:
        refreshed = refresh(dvc, return_state=True)
        if not refreshed.is_completed():
            return Failed(message=refreshed.message)
        if not dvc.stale():
            get_run_logger().info(NOTHING_TO_DO)
            return Completed(message=NOTHING_TO_DO)
        state = reproduce(parallel, gpu_slots, return_state=True)
        return (Completed if state.is_completed() else Failed)(message=state.message)
    except DvcError as error:
        return Failed(message=str(error))
    finally:
        dvc.end()
