"""Word of a finished retraining, to a Prefect block that the server keeps: a webhook, Slack, mail and others.

The block's address is a secret of the server; a flow knows its name only, such as `webhook/retraining`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import httpx
from prefect import get_run_logger, task
from prefect.blocks import notifications
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.blocks.webhook import Webhook
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.utilities.asyncutils import run_coro_as_sync

from flows import summary
from flows.network import RETRIES

KNOWN = notifications.__name__
"""Slack, mail and others: `Block.load` knows the classes of modules that were imported."""


class News(TypedDict):
    """What a webhook gets, as JSON."""

    flow: str
    state: str
    """`Completed` or `Failed`."""
    message: str
    run: str
    """Address of the flow run's page."""
    report: str
    """Path of the report on the machine that ran the flow; empty where there is none."""
    models: Sequence[Mapping[str, str]]
    """Variant, model, version, aliases and MLflow run of each."""


@task(name="notify", cache_policy=NO_CACHE, persist_result=False, **RETRIES)
def notify(block: str, news: News) -> State[None]:
    """Send `news` by the block of this name; fails with a line that never tells the address."""
    try:
        loaded = Block.load(block, _sync=True)  # type: ignore[call-arg]
    except ValueError:
        return Failed(message=f"there is no block {block}: make it on the server's page of blocks")
    try:
        if isinstance(loaded, Webhook):
            answer = run_coro_as_sync(loaded.call(dict(news)))
            assert answer is not None
            if answer.is_error:
                return Failed(message=f"{block}: HTTP {answer.status_code}")
        elif isinstance(loaded, NotificationBlock):
            run_coro_as_sync(_sent(loaded, news))
        else:
            return Failed(message=f"{block} cannot send anything: name a webhook or a notification")
    except httpx.HTTPError as error:  # its own words name the address
        return Failed(message=f"{block}: no connection ({type(error).__name__})")
    except Exception as error:  # whatever a notification service's library raises; its words may name the address too
        return Failed(message=f"{block}: not sent ({type(error).__name__})")
    get_run_logger().info("told %s", block)
    return Completed(message=f"told {block}")


def tell(block: str, flow: str, root: Path, state: State[None]) -> None:
    """Send what came of a flow run in the checkout `root`. What does not arrive is logged, and changes nothing else."""
    models, _ = summary.registered(root)
    news = News(
        flow=flow,
        state=state.name or "",
        message=state.message or "",
        run=flow_run.get_flow_run_ui_url() or "",
        report=summary.report_path(root),
        models=[
            {
                "variant": model.variant,
                "model": model.model,
                "version": model.version,
                "aliases": " ".join(model.aliases),
                "run": model.link or model.run,
            }
            for model in models
        ],
    )
    told = notify(block, news, return_state=True)
    if not told.is_completed():
        get_run_logger().warning("nobody was told: %s", told.message)


async def _sent(block: NotificationBlock, news: News) -> None:
    lines = [news["message"], *(" ".join(model.values()) for model in news["models"]), news["report"], news["run"]]
    with block.raise_on_failure():
        await block.notify("\n".join(filter(None, lines)), subject=f"gencomp {news['flow']}: {news['state']}")
