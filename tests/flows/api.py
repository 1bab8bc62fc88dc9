"""Questions to a Prefect server, as its pages ask them."""

import json
import time
import urllib.error
import urllib.request

from tests.flows.checkouts import Server


def ask(server: Server, path: str, body: dict[str, object] | None = None) -> dict[str, dict[str, str]]:
    """The answer to a question about one thing."""
    answer = _ask(server, path, body)
    assert isinstance(answer, dict)
    return answer


def ask_for_all(server: Server, path: str, body: dict[str, object]) -> list[dict[str, object]]:
    """The answer to a question about many."""
    answer = _ask(server, path, body)
    assert isinstance(answer, list)
    return answer


def artifacts(server: Server, key: str) -> list[str]:
    """The data of all artifacts with this key, the newest first."""
    body: dict[str, object] = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}
    return [str(artifact["data"]) for artifact in ask_for_all(server, "artifacts/filter", body)]


def logs(server: Server, run: str) -> list[str]:
    """The messages that a flow run has logged."""
    body: dict[str, object] = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
    return [str(entry["message"]) for entry in ask_for_all(server, "logs/filter", body)]


def start_run(server: Server, deployment: object, parameters: dict[str, object] | None = None) -> str:
    """Start a run of a deployment by hand; returns its id."""
    body: dict[str, object] = {"state": {"type": "SCHEDULED"}, "parameters": parameters or {}}
    return str(ask(server, f"deployments/{deployment}/create_flow_run", body)["id"])


def set_state(server: Server, run: str, kind: str, name: str) -> None:
    """What the pages' buttons `Cancel` and `Retry` do."""
    ask(server, f"flow_runs/{run}/set_state", {"state": {"type": kind, "name": name}})


def state(server: Server, run: str) -> str:
    return ask(server, f"flow_runs/{run}")["state"]["type"]


def _ask(server: Server, path: str, body: dict[str, object] | None) -> object:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{server.api}/{path}", data, {"Content-Type": "application/json"})
    for _ in range(20):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read() or "{}")
        except urllib.error.HTTPError as error:
            if error.code != 503:  # its database is locked for the moment; Prefect's own client asks again too
                raise
            time.sleep(0.5)
    raise AssertionError(f"{path}: busy for too long")
