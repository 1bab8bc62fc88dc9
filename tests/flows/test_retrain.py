from pathlib import Path

from tests.flows.checkouts import Family, shell

RETRAIN = (
    "from flows.retrain import retrain; state = retrain(return_state=True); print(state.type.value, state.message)"
)


def test_a_checkout_that_is_up_to_date_has_nothing_to_do(served: Family, checkout: Path) -> None:
    shell(checkout, "dvc", "repro")
    registered = (checkout / "registered.txt").read_text()
    output, _ = served.start("-c", RETRAIN).communicate(timeout=120)
    assert output.splitlines()[-1].startswith("COMPLETED nothing to do: ")
    assert (checkout / "registered.txt").read_text() == registered
