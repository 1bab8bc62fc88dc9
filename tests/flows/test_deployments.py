"""prefect.yaml, deployed to a real server."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.flows.api import ask, logs, set_state, start_run, state
from tests.flows.checkouts import SOURCE, WAITING_TRAIN, Family, Server, wait_for

OPERATIONS = SOURCE / "docs" / "operations"
SECRET = ("PASSWORD", "AUTH", "KEY", "BACKEND", "URL")
KINDS = ("process", "docker", "kubernetes")


@pytest.fixture
def deployed(served: Family, checkout: Path, server: Server) -> Family:
    """All deployments, with the work pools that the guides make."""
    shutil.copy(SOURCE / "prefect.yaml", checkout)
    for package in ("flows", "gencomp"):
        (checkout / package).symlink_to(SOURCE / package)
    for kind in KINDS:
        pool: dict[str, object] = {"name": f"gencomp-{kind}", "type": kind}
        if kind == "kubernetes":
            pool["base_job_template"] = json.loads((OPERATIONS / "kubernetes" / "pool.json").read_text())
        ask(server, "work_pools/", pool)
    served.environment["GENCOMP_CHECKOUT"] = str(checkout)
    deploy = served.start("-m", "flows.deploy", *KINDS, "release-process")
    output, _ = deploy.communicate(timeout=200)
    assert deploy.returncode == 0, output
    return served


@pytest.mark.slow
def test_a_worker_of_the_process_pool_runs_the_deployment_in_the_checkout_refuses_an_overlapping_run_and_cancels(
    deployed: Family, checkout: Path, server: Server
) -> None:
    for kind in ("docker", "kubernetes"):
        deployment = ask(server, f"deployments/name/retrain/{kind}")
        check_refusal(deployment)
        assert deployment["entrypoint"] == "flows/retrain.py:retrain"
    deployment = ask(server, "deployments/name/retrain/process")
    check_refusal(deployment)
    deployed.environment["PREFECT_WORKER_QUERY_SECONDS"] = "2"
    worker = deployed.start("-m", "prefect", "worker", "start", "--pool", "gencomp-process", "--type", "process")
    training = (checkout / "train.sh").read_text()
    (checkout / "train.sh").write_text(WAITING_TRAIN)
    first = start_run(server, deployment["id"])
    assert wait_for((checkout / "started-a").exists, 200), logs(server, first)
    overlapping = start_run(server, deployment["id"])
    assert wait_for(lambda: state(server, overlapping) == "CANCELLED"), state(server, overlapping)
    assert state(server, first) == "RUNNING"
    set_state(server, first, "CANCELLING", "Cancelling")
    assert wait_for(lambda: state(server, first) == "CANCELLED"), state(server, first)
    assert wait_for(lambda: not [one for one in deployed.commands() if "sleep 300" in one or "dvc" in one], 30)
    (checkout / "train.sh").write_text(training)
    run = start_run(server, deployment["id"])
    assert wait_for(lambda: state(server, run) in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"), 200)
    assert state(server, run) == "COMPLETED", logs(server, run)
    assert (checkout / "registered.txt").exists()
    worker.terminate()
    worker.communicate(timeout=60)


def check_refusal(deployment: dict[str, dict[str, str]]) -> None:
    """Overlapping runs are refused, and it is due every night."""
    assert deployment["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert deployment["global_concurrency_limit"]["limit"] == 1
    schedules = [schedule["schedule"]["cron"] for schedule in deployment["schedules"]]  # type: ignore[index]
    assert schedules == ["0 3 * * *"]


def test_each_deployment_names_a_flow_that_is_there_and_refuses_overlapping_runs() -> None:
    for deployment in yaml.safe_load((SOURCE / "prefect.yaml").read_text())["deployments"]:
        file, _, flow = deployment["entrypoint"].partition(":")
        assert f"def {flow}(" in (SOURCE / file).read_text()
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
        assert deployment["work_pool"]["name"].removeprefix("gencomp-") in KINDS


def test_no_manifest_of_the_cluster_holds_a_password_or_opens_a_service_to_the_outside() -> None:
    manifests = list(yaml.safe_load_all((OPERATIONS / "kubernetes" / "gencomp.yaml").read_text()))
    for manifest in manifests:
        if manifest["kind"] == "Service":
            assert manifest["spec"].get("type", "ClusterIP") == "ClusterIP"
        for name, value in environment(manifest):
            assert not any(word in name for word in ("PASSWORD", "AUTH", "KEY", "BACKEND", "URL")) or value is None, (
                name
            )


def environment(node: object) -> list[tuple[str, object]]:
    """Name and literal value (None: out of a Secret) of every environment variable in a manifest."""
    if isinstance(node, list):
        return [pair for part in node for pair in environment(part)]
    if not isinstance(node, dict):
        return []
    own = [(variable["name"], variable.get("value")) for variable in node.get("env", [])]
    return own + [pair for part in node.values() for pair in environment(part)]
