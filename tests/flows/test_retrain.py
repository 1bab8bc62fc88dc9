import json
from pathlib import Path

from tests.flows.api import ask_for_all, logs
from tests.flows.checkouts import Family, Server, shell
from tests.flows.receiver import receiver

RETRAIN = """
import sys
from pathlib import Path
from prefect.blocks.webhook import Webhook
from flows.retrain import retrain
Webhook(url=sys.argv[1]).save("operators", overwrite=True)
params = Path("params.yaml")
for steps in (2, 2, 3):
    params.write_text(params.read_text().replace("steps: 2", f"steps: {steps}"))
    state = retrain(notify_block="webhook/operators", return_state=True)
    print(state.type.value, state.state_details.flow_run_id, state.message, flush=True)
"""
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted-in-the-environment",
    "MLFLOW_TRACKING_URI": "http://operator:planted-in-an-address@127.0.0.1:9",
}
LEAKY = 'echo "key $AWS_SECRET_ACCESS_KEY of $MLFLOW_TRACKING_URI and $1"; grep secret .dvc/config.local\n'


def test_a_changed_source_starts_a_run_that_tells_no_secret_then_there_is_nothing_to_do_until_a_parameter_changes(
    served: Family, checkout: Path, server: Server
) -> None:
    source = checkout.parent / "list.csv"
    source.write_text("old\n")
    shell(checkout, "dvc", "import-url", str(source), "list.csv")
    pipeline = (checkout / "dvc.yaml").read_text()
    (checkout / "dvc.yaml").write_text(pipeline.replace("    params:\n      - size", "    deps: [list.csv]", 1))
    shell(checkout, "dvc", "repro")
    registered = (checkout / "registered.txt").read_text()
    local = "['remote \"store\"']\n    url = s3://bucket\n    secret_access_key = planted-in-the-configuration\n"
    (checkout / ".dvc" / "config.local").write_text(local)
    train = (checkout / "train.sh").read_text()
    (checkout / "train.sh").write_text(LEAKY + train)
    served.environment.update(SECRETS)
    source.write_text("new\n")
    report = checkout / "report" / "index.html"
    report.parent.mkdir()
    report.touch()
    with receiver() as hook:
        hook.busy.append(None)
        output, _ = served.start("-c", RETRAIN, f"{hook.url}/planted-in-the-hook").communicate(timeout=250)
    first, second, third = [line for line in output.splitlines() if line.startswith(("COMPLETED", "FAILED"))]
    assert first.startswith("COMPLETED"), output
    assert "nothing to do: " in second
    assert (checkout / "list.csv").read_text() == "new\n"
    assert third.startswith("COMPLETED"), output
    assert third.endswith(": 4 unchanged, 3 ran"), output  # training, evaluation and registration
    assert (checkout / "models" / "b" / "model.txt").read_text().endswith("3\n")
    assert (checkout / "registered.txt").read_text() == 3 * registered
    [(path, news), (_, later)] = hook.received
    assert later["message"] == third.split(maxsplit=2)[2]
    assert news["report"] == str(report)
    assert path == "/planted-in-the-hook"
    assert (news["flow"], news["state"]) == ("retrain", "Completed")
    assert str(news["message"]).endswith("6 ran") or "unchanged" in str(news["message"])
    assert "key *** of http://***@127.0.0.1:9 and a" in output
    assert "secret_access_key = ***" in output
    told = json.dumps([news, later, ask_for_all(server, "artifacts/filter", {}), logs(server, first.split()[1])])
    stored = b"".join(file.read_bytes() for file in server.home.glob("prefect.db*"))
    for place in (output, told, stored.decode(errors="replace")):
        assert "planted-in-" not in place
