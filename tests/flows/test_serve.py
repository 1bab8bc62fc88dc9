import json
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.flows.checkouts import Family, Server, wait_for

SERVE = ("-m", "flows.serve")
WAITING_TRAIN = 'touch "$PWD/started-$1"; sleep 300\n'


def ask(server: Server, path: str, body: dict[str, object] | None = None) -> dict[str, dict[str, str]]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{server.api}/{path}", data, {"Content-Type": "application/json"})
    for _ in range(20):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            if error.code != 503:  # its database is locked for the moment; Prefect's own client asks again too
                raise
            time.sleep(0.5)
    raise AssertionError(f"{path}: busy for too long")


def start_run(server: Server, deployment: object) -> str:
    body: dict[str, object] = {"state": {"type": "SCHEDULED"}}
    return str(ask(server, f"deployments/{deployment}/create_flow_run", body)["id"])


def state(server: Server, run: str) -> str:
    return ask(server, f"flow_runs/{run}")["state"]["type"]


def test_an_overlapping_run_is_refused_and_a_stopped_server_leaves_nothing_behind(
    served: Family, checkout: Path, server: Server
) -> None:
    (checkout / "train.sh").write_text(WAITING_TRAIN)
    serve = served.start(*SERVE, "--cron", "0 3 29 2 *", background=True)

    def deployed() -> bool:
        try:
            ask(server, "deployments/name/retrain/scheduled")
        except OSError:
            return False
        return True

    assert wait_for(deployed)
    deployment = ask(server, "deployments/name/retrain/scheduled")
    assert [schedule["schedule"]["cron"] for schedule in deployment["schedules"]] == ["0 3 29 2 *"]  # type: ignore[index]
    first = start_run(server, deployment["id"])
    assert wait_for(lambda: (checkout / "started-a").exists(), 120)
    second = start_run(server, deployment["id"])
    assert wait_for(lambda: state(server, second) == "CANCELLED", 60), state(server, second)
    assert state(server, first) == "RUNNING"
    serve.send_signal(signal.SIGTERM)
    output, _ = serve.communicate(timeout=120)
    assert wait_for(lambda: not served.members(), 20), (served.commands(), output)
    assert "Traceback" not in output, output


def test_a_wrong_cron_expression_is_refused_before_anything_starts(family: Family, checkout: Path) -> None:
    serve = family.start(*SERVE, "--cron", "every night")
    output, _ = serve.communicate(timeout=120)
    assert serve.returncode == 2
    assert "Invalid value for --cron: 'every night' is not a cron expression" in output
    assert not (checkout / ".prefect" / "prefect.db").exists()


def test_the_help_has_an_example(family: Family) -> None:
    output, _ = family.start(*SERVE, "--help").communicate(timeout=60)
    assert "python -m flows.serve --cron '0 3 * * *'" in output
