"""What a store holds of a run, for tests."""

from mlflow.tracking import MlflowClient

from gencomp.registry.store import CONTENT_TAG, experiment_id, find_run


def steps(client: MlflowClient, run: str, name: str) -> list[tuple[int, float]]:
    """Step and value of every logged point of a metric."""
    return [(metric.step, metric.value) for metric in client.get_metric_history(run, name)]


def run_of(client: MlflowClient, uri: str, content: str) -> str:
    """Id of the run with this content tag, which must be there."""
    found = find_run(client, experiment_id(client, uri), CONTENT_TAG, content)
    assert found is not None
    return found
