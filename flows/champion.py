"""The flow that says by hand which registered version is champion; the pipeline decides by the gate alone."""

import os
from pathlib import Path
from typing import Literal

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.network import RETRIES
from flows.notify import tell
from flows.redaction import Redaction
from gencomp.registry.store import RegistryError

Action = Literal["promote", "rollback"]


@task(task_run_name="{action} {model}", cache_policy=NO_CACHE, persist_result=False)
def move(action: Action, model: str, reason: str, force: bool) -> State[None]:
    """Move the alias `champion` in the MLflow store of the environment."""
    from gencomp.registry.champions import promote_by_hand, roll_back

    try:
        change = roll_back(model, reason) if action == "rollback" else promote_by_hand(model, reason, force=force)
    except RegistryError as error:
        return Failed(message=Redaction(Path.cwd(), os.environ)(str(error)))
    before = f"version {change.before} was" if change.before else "there was none"
    return Completed(message=f"{change.name}: version {change.after} is the champion, {before}")


RETRIED = move.with_options(**RETRIES)
"""The same for a promotion, whose repetition changes nothing; a rollback that is repeated would go further back."""


@flow(name="release", persist_result=False)
def release(
    action: Action, model: str, reason: str, force: bool = False, notify_block: str | None = None
) -> State[None]:
    """Promote a registered version, or give the place of champion back to the one before.

    Args:
        action: `promote` or `rollback`.
        model: `models:/gencomp-gc/3` to promote, `gencomp-gc` to roll back.
        reason: Why; it stays in the history of the model.
        force: Promote also a version that did not pass the gate.
        notify_block: As of `retrain`.
    """
    run = move if action == "rollback" else RETRIED
    moved = run(action, model, reason, force, return_state=True)
    state: State[None] = (Completed if moved.is_completed() else Failed)(message=moved.message)
    if notify_block:
        tell(notify_block, "release", Path.cwd(), state)
    return state
