"""The step before a retraining: what was imported into the checkout is compared with its source.

`dvc import-url` and `dvc import` keep a list or a data set with its source's version; a dataset whose `watch` names it
is downloaded again when it changes. What lies in the checkout or on a local disk needs no refreshing: DVC looks itself.
"""

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.network import RETRIES
from flows.repro import Dvc, DvcError


@task(name="refresh", cache_policy=NO_CACHE, persist_result=False, **RETRIES)
def refresh(dvc: Dvc) -> State[None]:
    """Fetch again every import that has changed at its source."""
    try:
        imports = dvc.imports(dvc.graph())
        dvc.update(imports, get_run_logger().info)
    except DvcError as error:
        return Failed(message=str(error))
    return Completed(message=f"{len(imports)} imports compared with their sources")
