"""The journal's PostgreSQL database: nothing waits for it, and every row arrives once."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from router.telemetry.journal import Journal
from router.telemetry.journal_store import NoJournal, StoreError
from tests.support.journals import NOON, record
from tests.support.paths import ROOT
from tests.support.postgres import PASSWORD, Postgres
from tests.support.processes import free_port, wait_until

pytest.importorskip("psycopg")
import psycopg

from router.telemetry import journal_database
from router.telemetry.journal_database import MIGRATIONS, JournalDatabase

SOON_S = 0.05
"""Longest time that adding a row may take on a busy machine."""


def count(url: str) -> int:
    with closing(JournalDatabase(url)) as store:
        try:
            ((rows,),) = store.rows(store.sql.count)
        except NoJournal:
            return 0
        return int(rows)


def added(journal: Journal, ids: list[str]) -> None:
    """Add rows; none may take long."""
    for number, id in enumerate(ids):
        began = time.monotonic()
        journal.add(record(id, time=NOON + number))
        assert time.monotonic() - began < SOON_S or os.getloadavg()[0] > 2


@pytest.fixture
def journal(database: str) -> Iterator[Journal]:
    journal = Journal(JournalDatabase(database, retry_s=0.1))
    yield journal
    journal.close()


@pytest.fixture
def own(postgres: Postgres, database: str) -> Iterator[Postgres]:
    """Return the server, for a test that stops it; afterwards it runs again."""
    yield postgres
    if postgres.process is None:
        postgres.start()


def test_of_routers_that_start_at_once_one_creates_the_tables(database: str) -> None:
    at_once = threading.Barrier(8)
    failed: list[Exception] = []

    def start(number: int) -> None:
        store = JournalDatabase(database)
        at_once.wait()
        try:
            store.write([record(f"r{number}")])
        except StoreError as error:
            failed.append(error)
        store.close()

    routers = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for router in routers:
        router.start()
    for router in routers:
        router.join()
    assert failed == []
    store = JournalDatabase(database)
    assert store.rows(journal_database.VERSION) == [(len(MIGRATIONS),)]
    store.close()
    assert count(database) == 8


def test_tables_of_a_newer_version_are_left_alone(database: str, journal: Journal) -> None:
    store = JournalDatabase(database)
    store.write([])
    store.close()
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("UPDATE llm_router.version SET version = version + 1")
    journal.add(record())
    journal.flush()
    assert "newer version" in journal.trouble
    assert count(database) == 0


def test_rows_wait_while_the_server_is_killed_and_arrive_once(
    own: Postgres, database: str, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    added(journal, [f"before{n}" for n in range(5)])
    assert journal.flush()
    with caplog.at_level(logging.WARNING):
        own.kill()
        added(journal, [f"down{n}" for n in range(50)])
        assert journal.flush()
        assert "JOURNAL_URL" in journal.trouble
        assert len(journal.recent(99)) == 55
        own.start()
        wait_until(lambda: not journal.trouble, "the rows were not written")
    assert count(database) == 55
    assert [r.levelname for r in caplog.records] == ["WARNING", "WARNING"]
    assert "is written again" in caplog.messages[1]


def test_nothing_waits_for_a_server_that_hangs_and_rows_arrive_once(
    own: Postgres, database: str, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.add(record("before"))
    journal.flush()
    own.freeze()
    try:
        monkeypatch.setattr(journal_database, "ANSWER_S", 0.3)
        added(journal, [f"down{n}" for n in range(50)])
        began = time.monotonic()
        for _ in range(4):  # as many as the page asks
            with pytest.raises(StoreError):
                journal.store.recent(1)
        assert time.monotonic() - began < 2 * journal_database.CONNECT_S
        wait_until(lambda: journal.trouble, "the writer waits for ever")
    finally:
        own.thaw()
    wait_until(lambda: not journal.trouble, "the rows were not written")
    assert count(database) == 51


def test_a_batch_that_was_committed_before_the_connection_broke_is_not_doubled(
    database: str,
) -> None:
    store = JournalDatabase(database)
    for _ in range(2):
        store.write([record("a"), record("b")], [("good", "caller", NOON, "a")])
    assert {r.id: r.feedback for r in store.recent(9)} == {"a": "good", "b": None}
    store.close()


def test_reads_go_on_after_the_server_has_been_restarted(own: Postgres, database: str) -> None:
    store = JournalDatabase(database)
    store.write([record("a")])
    assert [r.id for r in store.recent(9)] == ["a"]
    own.kill()
    own.start()
    assert [r.id for r in store.recent(9)] == ["a"]
    store.close()


def test_a_server_that_is_not_there_at_the_start_costs_one_warning(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgres.address().replace(str(postgres.port), str(free_port()))
    journal = Journal(JournalDatabase(url, retry_s=0))
    with caplog.at_level(logging.WARNING):
        for n in range(3):
            journal.add(record(f"r{n}", cost_usd=0.5, target="cloud"))
            journal.flush()
    assert [r.message for r in caplog.records] == [journal.trouble]
    assert journal.spent_today_usd() == 1.5
    assert len(journal.recent()) == 3
    assert not journal.feedback("unknown", "good")
    journal.close()


WRONG = "wr0ng/pass word"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("s3cr3t%2Fpass%20word", "wr0ng%2Fpass%20word"), "authentication failed"),
        (("router:", "someone:"), "authentication failed"),
        (("router:", "s3cr3t%2Fpass%20word:"), "authentication failed"),
        (("/postgres", "/none"), "does not exist"),
    ],
)
def test_no_error_has_a_password_in_it(
    postgres: Postgres, change: tuple[str, str], says: str
) -> None:
    store = JournalDatabase(postgres.address().replace(*change))
    with pytest.raises(StoreError) as caught:
        store.write([record()])
    assert says in str(caught.value)
    for shown in (str(caught.value), store.place, repr(store)):
        assert not any(secret in shown for secret in (PASSWORD, WRONG, "s3cr3t", "wr0ng"))


def test_an_address_that_is_unusable_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="address") as caught:
        JournalDatabase("postgresql://router:s3cr3t@db/x?s3cr3t=1")
    assert "s3cr3t" not in str(caught.value)


def test_a_user_without_rights_is_told_so_by_the_doctor(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("DROP ROLE IF EXISTS guest")
        db.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    guest = JournalDatabase(database.replace("router:s3cr3t%2Fpass%20word", "guest:guest"))
    with pytest.raises(StoreError, match="may not create"):
        guest.check()
    ours = JournalDatabase(database)
    assert ours.check() == f"{ours.place}, its tables will be created"
    ours.write([record()])
    assert ours.check() == f"{ours.place}, 1 requests"
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("GRANT USAGE ON SCHEMA llm_router TO guest")
        db.execute("GRANT SELECT ON llm_router.requests TO guest")
    with pytest.raises(StoreError, match="may not write"):
        guest.check()
    ours.close()
    guest.close()


def test_a_character_that_postgresql_cannot_keep_becomes_a_space(database: str) -> None:
    store = JournalDatabase(database)
    store.write([record("odd", user_agent="a\0b", signals={"x\0": 1.0}), record(r"\u0000")])
    found = {r.id: r for r in store.recent(9)}
    assert found["odd"].user_agent == "a b"
    assert found["odd"].signals == {"x\0": 1.0}
    assert r"\u0000" in found
    store.close()


WRITER = """
import sys, time
from router.telemetry.journal import Journal, Record
from router.telemetry.journal_database import JournalDatabase
journal = Journal(JournalDatabase(sys.argv[1]))
journal.add(Record(id="0", time=time.time()))
journal.flush()
for n in range(1, 100_000):
    journal.add(Record(id=str(n), time=time.time()))
    print(n, time.monotonic(), flush=True)
    time.sleep(0.005)
"""


def test_kill_9_of_a_router_loses_at_most_200_ms_of_rows(database: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, database], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        died = time.monotonic()
        lines += process.stdout.readlines()
    added_at = {id: float(at) for id, at in (line.split() for line in lines if line.count(" "))}
    with closing(JournalDatabase(database)) as store:
        kept = {r.id for r in store.recent(10_000)}
    lost = {id: died - at for id, at in added_at.items() if id not in kept}
    assert max(lost.values(), default=0) < 0.2 or os.getloadavg()[0] > 2
    assert len(kept) > 100


def test_a_query_that_takes_too_long_is_ended_on_the_server_too(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_database, "ANSWER_S", 0.2)
    with closing(JournalDatabase(database)) as store:
        for _ in range(2):
            with pytest.raises(StoreError):
                store.rows("SELECT pg_sleep(60)")
            monkeypatch.setattr(store, "_paused_until", 0.0)
        monkeypatch.setattr(journal_database, "ANSWER_S", 10.0)
        running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s AND state = 'active'"
        wait_until(lambda: store.rows(running, "%pg_sleep(60)") == [(0,)], "a query goes on")


def test_a_read_that_runs_while_the_store_is_closed_leaves_no_connection(database: str) -> None:
    others = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid != pg_backend_pid()"
    )
    store = JournalDatabase(database)
    reader = threading.Thread(target=store.rows, args=("SELECT pg_sleep(0.5)",))
    with closing(JournalDatabase(database)) as other:
        reader.start()
        wait_until(lambda: other.rows(others) == [(1,)], "the query did not begin")
        store.close()
        reader.join()
        wait_until(lambda: other.rows(others) == [(0,)], "a connection is left")


def test_tables_that_an_administrator_has_dropped_are_created_anew(
    database: str, journal: Journal
) -> None:
    journal.add(record("before"))
    journal.flush()
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("DROP SCHEMA llm_router CASCADE")
    journal.add(record("after"))
    journal.flush()
    wait_until(lambda: count(database) == 1, "the row was not written")
