"""The Prefect server that flows start."""

from pathlib import Path

import pytest

from flows.server import is_alone, prefect_server
from tests.flows.api import ask, ask_for_all
from tests.flows.checkouts import Server

LIMITS = "v2/concurrency_limits"
NAME = "one-slot"  # of no other test: they share the database


def test_a_slot_comes_back_to_a_server_that_was_started_again_and_a_dead_ones_log_is_no_server(
    migrated_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(migrated_home))
    with prefect_server(migrated_home) as api:
        server = Server(api, migrated_home)
        ask(server, f"{LIMITS}/", {"name": NAME, "limit": 1})
        lent = ask(server, f"{LIMITS}/increment-with-lease", {"names": [NAME], "slots": 1, "mode": "concurrency"})
        assert active_slots(server) == 1
        (migrated_home / "server-9.log").touch()  # nobody listens there
        assert not is_alone(migrated_home)
        assert not (migrated_home / "server-9.log").exists()
    assert is_alone(migrated_home)
    with prefect_server(migrated_home) as api:
        server = Server(api, migrated_home)
        ask(server, f"{LIMITS}/decrement-with-lease", {"lease_id": lent["lease_id"]})
        assert active_slots(server) == 0


def active_slots(server: Server) -> object:
    (limit,) = [found for found in ask_for_all(server, f"{LIMITS}/filter", {}) if found["name"] == NAME]
    return limit["active_slots"]
