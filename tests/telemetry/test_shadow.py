"""SHADOW_THRESHOLD: the effect that another threshold would have had."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from router.backend import Target
from router.telemetry.journal import Journal, Record
from router.telemetry.journal_file import MIGRATIONS, JournalFile
from router.telemetry.shadow import Shadow, shadow_since
from router.telemetry.stats import stats_json
from tests.support.journals import Opened
from tests.support.keys import CANARIES
from tests.support.running_app import local_side, refusing, running_app
from tests.support.scripted import Script

EASY = "What is 2 + 2?"
HARD = "Design a lock-free queue in C++ and prove that it is linearizable."
PRIVATE = f"Why is {CANARIES['GitHub']} refused?"
NOW = 1_800_014_400.0


@pytest.mark.parametrize(
    ("prompt", "threshold", "shadow", "headers", "went", "would_go"),
    [
        (EASY, 50, 0, {}, "local", "cloud"),
        (EASY, 50, 65, {}, "local", "local"),
        (HARD, 50, 100, {}, "cloud", "local"),
        (HARD, 50, 45, {}, "cloud", "cloud"),
        (EASY, 50, 0, {"x-force-route": "local"}, "local", "local"),
        (HARD, 50, 100, {"x-force-route": "cloud"}, "cloud", "cloud"),
        (PRIVATE, 50, 0, {}, "local", "local"),
    ],
    ids=["to cloud", "stays", "to local", "stays in cloud", "forced", "forced cloud", "private"],
)
async def test_the_journal_keeps_both_sides(
    prompt: str, threshold: float, shadow: float, headers: dict[str, str], went: str, would_go: str
) -> None:
    async with running_app(complexity_threshold=threshold, shadow_threshold=shadow) as app:
        answer = await app.ask(prompt, headers=headers)
        assert answer.headers["x-router-target"] == went
        assert (app.last.target, app.last.shadow_target) == (went, would_go)
        assert app.last.shadow_threshold == shadow


@pytest.mark.parametrize(
    ("settings", "local", "went", "would_go"),
    [
        ({"max_local_tokens": 1}, local_side, "cloud", "cloud"),
        ({"local_base_url": "http://127.0.0.1:9"}, local_side, "cloud", "cloud"),
        ({}, refusing(500, "broken"), "cloud", "cloud"),
    ],
    ids=["too long", "local down", "local failed"],
)
async def test_requests_not_decided_by_the_score_stay_the_same(
    settings: dict[str, Any], local: Script, went: str, would_go: str
) -> None:
    async with running_app(local, shadow_threshold=80, **settings) as app:
        await app.ask(EASY)
        assert (app.last.target, app.last.shadow_target) == (went, would_go)


async def test_without_the_setting_nothing_is_noted() -> None:
    async with running_app() as app:
        await app.ask(EASY)
        assert (app.last.shadow_threshold, app.last.shadow_target) == (None, "")
        assert (await app.http.get("/stats")).json()["shadow"] is None


@pytest.fixture
def journal(opened: Opened) -> Iterator[Journal]:
    journal = Journal(opened(), days=400, clock=lambda: NOW)
    yield journal
    journal.close()


def noted(
    number: int, target: Target, shadow: str, usd: float, threshold: float = 65, **values: Any
) -> Record:
    cost = {"saved_usd" if target == "local" else "cost_usd": usd}
    return Record(
        f"r{number}",
        NOW - 100 + number,
        target=target,
        shadow_target=shadow,
        shadow_threshold=threshold,
        **cost | values,
    )


def test_shares_and_costs_of_both_are_compared(journal: Journal) -> None:
    for record in (
        noted(0, "cloud", "cloud", 9, threshold=40),
        noted(1, "local", "local", 1),
        noted(2, "cloud", "local", 2),
        noted(3, "cloud", "cloud", 4),
        noted(4, "local", "cloud", 8),
        noted(5, "cloud", "local", 2),
        noted(6, "cloud", "local", 99, outcome="failed"),
        Record("without", NOW - 1, target="cloud", cost_usd=5),
    ):
        journal.add(record)
    journal.flush()
    compared = Shadow(65, 5, 0.4, 0.6, 8, 12)
    assert shadow_since(journal.store, NOW - 1000) == compared
    assert stats_json(journal, 1, NOW)["shadow"]["shadow_cost_usd"] == 12


def test_a_journal_without_shadows_has_none(journal: Journal) -> None:
    journal.add(Record("a", NOW - 1, target="cloud", cost_usd=5))
    journal.flush()
    assert shadow_since(journal.store, NOW - 1000) is None


def test_an_older_file_has_none_until_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    before = next(n for n, script in enumerate(MIGRATIONS) if "shadow_threshold" in script)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for script in MIGRATIONS[:before]:
            db.executescript(script)
        db.execute(f"PRAGMA user_version = {before}")
        db.execute("INSERT INTO requests (id, time, target) VALUES ('old', ?, 'local')", (NOW - 5,))
    db.close()
    file = JournalFile(path)
    assert shadow_since(file, NOW - 1000) is None
    file.write([noted(1, "local", "cloud", 1)])
    assert shadow_since(file, NOW - 1000) == Shadow(65, 1, 1, 0, 0, 1)
    file.close()
