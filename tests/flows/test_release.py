"""A champion made and unmade by hand, with a real store and a real Prefect server."""

from pathlib import Path

from gencomp.registry.champions import GATE_TAG, alias_holder, history
from gencomp.registry.release import CHAMPION
from gencomp.registry.store import connect
from tests.flows.api import ask_for_all
from tests.flows.checkouts import Family, Server

NAME = "gencomp-gc"
ROLL_BACK = """
from flows.champion import release
for _ in range(2):
    state = release("rollback", "gencomp-gc", "washed-out skies", return_state=True)
    print(state.type.value, state.message, flush=True)
"""


def test_a_version_is_promoted_rolled_back_and_refused_where_there_is_none_before(
    served: Family, checkout: Path, server: Server
) -> None:
    store = f"sqlite:///{checkout / 'mlflow.db'}"
    client = connect(store)
    client.create_registered_model(NAME)
    for number in ("1", "2"):
        version = client.create_model_version(NAME, str(checkout / "models"))
        assert str(version.version) == number
        client.set_model_version_tag(NAME, number, GATE_TAG, "passed")
    client.set_registered_model_alias(NAME, CHAMPION, "1")
    promote = served.start("-m", "flows.release", "promote", f"models:/{NAME}/2", "--reason", "faces are better")
    output, _ = promote.communicate(timeout=120)
    assert output.splitlines()[-1] == "gencomp-gc: version 2 is the champion, version 1 was"
    back, _ = served.start("-c", ROLL_BACK).communicate(timeout=120)
    first, second = [line for line in back.splitlines() if line.startswith(("COMPLETED", "FAILED"))]
    assert first == "COMPLETED gencomp-gc: version 1 is the champion, version 2 was"
    assert second.startswith("FAILED gencomp-gc: no champion before version 1 is known")
    champion = alias_holder(client, NAME, CHAMPION)
    assert champion is not None and str(champion.version) == "1"
    reigns = [(reign.version, reign.reason) for reign in history(NAME, uri=store)]
    assert reigns[1:] == [("2", "by hand: faces are better"), ("1", "by hand: washed-out skies")]
    runs = ask_for_all(server, "flow_runs/filter", {"flows": {"name": {"any_": ["release"]}}, "sort": "START_TIME_ASC"})
    told = [(run["parameters"]["reason"], run["state_type"]) for run in runs][-3:]  # type: ignore[index]
    assert told[0] == ("faces are better", "COMPLETED")
    assert [state for _, state in told[1:]] == ["COMPLETED", "FAILED"]
