"""The costs of the last day by client, and the filters of decisions."""

from collections.abc import Iterator
from typing import Any

import pytest

from router.events import Usage
from router.telemetry.clients import MOST_CLIENTS, OTHERS, last_day
from router.telemetry.journal import DAY_S, Journal, Record
from router.telemetry.log_line import client_name
from router.telemetry.stats import decisions_json, stats_json
from router.telemetry.wanted import Wanted
from tests.support.journals import NOON, Opened

AGENTS = {
    "": "",
    "curl/8.14.1": "curl",
    "codex_cli_rs/0.169.0 (Debian 13; x86_64)": "codex_cli_rs",
    "My Agent/2": "My",
    "Mozilla/5.0 (X11; Linux x86_64)": "browser",
    "MozillaBot/1": "MozillaBot",
    "100%_sure/'; DROP TABLE requests": "100%_sure",
}


def record(id: str, **values: Any) -> Record:
    defaults: dict[str, Any] = {"id": id, "time": NOON - 60, "target": "local", "reason": "simple"}
    return Record(**defaults | values)


@pytest.fixture
def journal(opened: Opened) -> Iterator[Journal]:
    journal = Journal(opened(), days=400, clock=lambda: NOON)
    yield journal
    journal.close()


def filled(journal: Journal, *records: Record) -> Journal:
    for one in records:
        journal.add(one)
    journal.flush()
    return journal


def ids(journal: Journal, wanted: Wanted, limit: int = 50) -> list[str]:
    return [one["id"] for one in decisions_json(journal, limit, wanted)["decisions"]]


@pytest.mark.parametrize(("agent", "name"), AGENTS.items())
def test_the_file_names_a_client_as_the_log_does(agent: str, name: str, journal: Journal) -> None:
    filled(journal, record("r", user_agent=agent))
    assert [one["client"] for one in last_day(journal, NOON)["clients"]] == [name]
    assert client_name(agent) == name


def test_the_last_day_is_added_up_by_client(journal: Journal) -> None:
    filled(
        journal,
        record("a", user_agent="curl/8", usage=Usage(100, 20), saved_usd=0.5),
        record("b", user_agent="curl/7", target="cloud", usage=Usage(10, 2), cost_usd=1.5),
        record("c", user_agent="curl/8", outcome="failed"),
        record("d", user_agent="aider", target="cloud", first_byte_ms=9.0, cost_usd=None),
        record("old", user_agent="aider", time=NOON - DAY_S - 1, cost_usd=9.0),
    )
    found = last_day(journal, NOON)
    assert (found["cost_usd"], found["saved_usd"]) == (1.5, 0.5)
    curl, aider = found["clients"]
    assert curl == {
        **{"client": "curl", "requests": 3, "local": 1, "cloud": 1, "unpriced": 0},
        **{"prompt_tokens": 110, "completion_tokens": 22, "cost_usd": 1.5, "saved_usd": 0.5},
    }
    assert (aider["client"], aider["requests"], aider["unpriced"]) == ("aider", 1, 1)


def test_the_last_day_is_the_same_whatever_time_is_shown(journal: Journal) -> None:
    filled(journal, record("a", user_agent="curl/8", target="cloud", cost_usd=1.0))
    days = [stats_json(journal, days, NOON)["last_day"] for days in (1 / 24, 7)]
    assert days[0] == days[1]
    assert days[0]["cost_usd"] == 1.0


def test_rare_clients_are_added_up(journal: Journal) -> None:
    agents = [f"client{i}" for i in range(MOST_CLIENTS + 5)]
    filled(
        journal,
        *(record(f"{agent}-1", user_agent=agent, saved_usd=1.0) for agent in agents),
        *(record(f"{agent}-2", user_agent=agent) for agent in agents[:MOST_CLIENTS]),
    )
    clients = last_day(journal, NOON)["clients"]
    assert len(clients) == MOST_CLIENTS + 1
    assert (clients[-1]["client"], clients[-1]["requests"]) == (OTHERS, 5)
    assert sum(client["saved_usd"] for client in clients) == len(agents)


def test_an_empty_journal_cost_nothing(opened: Opened) -> None:
    journal = Journal(opened())
    assert last_day(journal, NOON) == {"cost_usd": 0, "saved_usd": 0, "clients": []}


RECORDS = (
    record("plain", user_agent="curl/8"),
    record("browser", user_agent="Mozilla/5.0", reason="vision", target="cloud"),
    record("failed", user_agent="curl/8", target="cloud", reason="complex", outcome="failed"),
    record("nowhere", target=None, reason="", outcome="failed"),
    record("left", user_agent="curl/8", target="cloud", reason="complex", outcome="left"),
)


@pytest.mark.parametrize("stored", ["in memory", "on disk"])
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), {"plain", "browser", "failed", "nowhere", "left"}),
        (Wanted(side="local"), {"plain"}),
        (Wanted(side="cloud"), {"browser", "left"}),
        (Wanted(side="none"), {"failed", "nowhere"}),
        (Wanted(reason="complex"), {"failed", "left"}),
        (Wanted(reason=""), {"nowhere"}),
        (Wanted(client="curl"), {"plain", "failed", "left"}),
        (Wanted(client="browser"), {"browser"}),
        (Wanted(client="cur"), set()),
        (Wanted("cloud", "complex", "curl"), {"left"}),
    ],
)
def test_decisions_are_filtered_in_memory_as_on_disk(
    wanted: Wanted, expected: set[str], stored: str, journal: Journal, opened: Opened
) -> None:
    filled(journal, *RECORDS)
    if stored == "in memory":
        assert {one.id for one in RECORDS if wanted.has(one)} == expected
    else:
        again = Journal(opened(), days=400, clock=lambda: NOON)
        assert set(ids(again, wanted)) == expected


def test_a_filter_reaches_beyond_the_latest_decisions(journal: Journal) -> None:
    rare = record("rare", time=NOON - 1000, user_agent="aider")
    filled(journal, rare, *(record(f"r{i}", time=NOON - i) for i in range(30)))
    assert ids(journal, Wanted(client="aider"), limit=5) == ["rare"]
    assert ids(journal, Wanted(side="local"), limit=2) == ["r0", "r1"]


def test_a_request_is_found_by_its_id_after_a_restart(journal: Journal, opened: Opened) -> None:
    filled(journal, record("req_1"))
    again = Journal(opened(), days=400, clock=lambda: NOON)
    for one in (journal, again):
        found = one.find("req_1")
        assert found is not None
        assert found.reason == "simple"
        assert one.find("req_2") is None
