"""What a flow leaves to read, with a real MLflow server and a real Prefect server."""

import json
from pathlib import Path

from gencomp.registry.store import connect, prepare_store
from gencomp.registry.whereabouts import Whereabouts, whereabouts
from tests.flows.api import artifacts, ask_for_all
from tests.flows.checkouts import Family, Server
from tests.registry.project import Project, make_package
from tests.registry.server import Server as MlflowServer

PIPELINE = """\
stages:
  register:
    cmd: python -m stages.register
    deps: [models/gc]
    always_changed: true
"""


def test_a_flow_links_the_run_of_a_registered_package_without_the_stores_password(
    served: Family, checkout: Path, server: Server, tmp_path: Path
) -> None:
    (checkout / "dvc.yaml").write_text(PIPELINE)
    Project(checkout).place(make_package(tmp_path / "package", 1))
    report = checkout / "report" / "index.html"
    report.parent.mkdir(exist_ok=True)
    report.write_text("<h1>Report</h1>\n")
    mlflow = MlflowServer(tmp_path)
    prepare_store(mlflow.store)
    try:
        mlflow.wait()
        address = mlflow.uri.replace("//", "//operator:planted-in-an-address@")
        served.environment["MLFLOW_TRACKING_URI"] = address
        flow = served.start("-m", "flows.pipeline")
        output, _ = flow.communicate(timeout=200)
        assert flow.returncode == 0, output
        client = connect(mlflow.uri)
        run = client.get_run(str(client.get_model_version("gencomp-gc", "1").run_id))
        link = f"{mlflow.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        found = whereabouts({"gc": checkout / "models" / "gc", "none": checkout / "models" / "none"}, address)
        assert found == [Whereabouts("gc", run.info.run_id, link, "gencomp-gc", "1", ("champion",))]
    finally:
        mlflow.kill()
    assert artifacts(server, "run-gc")[0] == f"[Training of gc]({link})"
    page = artifacts(server, "reproduce")[0]
    assert f"| [gc `{run.info.run_id[:8]}`]({link}) | gencomp-gc version 1 champion |" in page
    assert f"Report: `{report}`, a file of the machine that ran this" in page
    assert "file://" not in page
    assert "planted-in-an-address" not in output + json.dumps(ask_for_all(server, "artifacts/filter", {}))
