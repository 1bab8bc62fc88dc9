"""`python -m flows.deploy`: `prefect deploy` of prefect.yaml, with one request mended.

Prefect 3.8.8 asks for a pool's workers with `"offset": null`, which newer releases of FastAPI refuse, so that
`prefect deploy` ends with an error once it has saved its first deployment.
"""

import sys
from typing import TYPE_CHECKING

import click

from flows.command import checkout
from flows.environment import prepare

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.filters import WorkerFilter
    from prefect.client.schemas.objects import Worker


@click.command(epilog="Example: GENCOMP_CHECKOUT=/srv/gencomp python -m flows.deploy process release-process")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def main(names: tuple[str, ...]) -> None:
    """Save the deployments NAME of prefect.yaml on the server that PREFECT_API_URL names; their pools must be there.

    GENCOMP_CHECKOUT is where a worker of the process pool finds the checkout.
    """
    prepare(checkout())
    from prefect.cli import app
    from prefect.client.orchestration import PrefectClient

    async def read_workers(
        client: "PrefectClient",
        work_pool_name: str,
        worker_filter: "WorkerFilter | None" = None,
        offset: int | None = None,
        limit: int | None = None,
    ) -> "list[Worker]":
        return await found(client, work_pool_name, worker_filter, offset or 0, limit or 200)

    found = PrefectClient.read_workers_for_work_pool
    PrefectClient.read_workers_for_work_pool = read_workers  # type: ignore[method-assign, assignment]
    sys.argv = ["prefect", "--no-prompt", "deploy", *(word for name in names for word in ("--name", name))]
    app()


if __name__ == "__main__":
    sys.exit(main())
