"""The flow that a schedule starts: reproduce what changed, or say that there is nothing to do."""

import os
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.environment import for_stages
from flows.lock import CheckoutBusyError, hold_checkout
from flows.repro import Dvc, DvcError
from flows.reproduce import reproduce

NOTHING_TO_DO = "nothing to do: data, code and parameters are those of the last run"


@flow(name="retrain", persist_result=False)
def retrain(parallel: int = 1, gpu_slots: int | None = None) -> State[None]:
    """Reproduce the checkout in the working folder, unless `dvc status` is clean; arguments as of `reproduce`."""
    root = Path.cwd()
    dvc = Dvc(root, for_stages(os.environ))
    try:
        with hold_checkout(root):
            if not dvc.stale():
                get_run_logger().info(NOTHING_TO_DO)
                return Completed(message=NOTHING_TO_DO)
            state = reproduce(parallel, gpu_slots, return_state=True)
            return (Completed if state.is_completed() else Failed)(message=state.message)
    except (CheckoutBusyError, DvcError) as error:
        return Failed(message=str(error))
    finally:
        dvc.end()
