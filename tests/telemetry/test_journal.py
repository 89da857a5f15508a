"""The journal over each of its stores: nothing waits for it, and nothing private is kept."""

import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from router.events import Usage
from router.telemetry.journal import BACKLOG, DAY_S, MEMORY, Attempt, Journal, Record
from router.telemetry.journal_file import PURGE_ROWS
from router.telemetry.journal_store import JournalStore, StoreError, Verdict
from router.telemetry.spending import Spending
from tests.support.journals import NOON, Opened, record

FULL = record(
    "full",
    dialect="messages",
    asked_model="auto",
    user_agent="curl/8",
    backend="local",
    model="qwen",
    score=41.5,
    confidence=0.75,
    threshold=55,
    signals={"token_count": 3.25, "simple_keywords": -4.0},
    gates=("context", "vision"),
    reason="simple",
    attempts=(Attempt("claude", "sonnet", "BackendBusy", "overloaded", 12.5),),
    stream=True,
    fallback=True,
    forced=True,
    first_byte_ms=12.5,
    total_ms=100.25,
    usage=Usage(10, 20, 3, 2, 1),
    cost_usd=0.5,
    saved_usd=0.25,
    outcome="left",
    status=499,
    error="CallerLeft",
    conversation="c1",
    feedback="good",
    feedback_source="chat",
)


@pytest.fixture
def journal(opened: Opened) -> Iterator[Journal]:
    journal = Journal(opened(), clock=lambda: NOON)
    yield journal
    journal.close()


def ids(store: JournalStore) -> list[str]:
    """Return the ids of all rows, oldest first."""
    return [record.id for record in reversed(store.recent(BACKLOG))]


def test_a_record_comes_back_as_it_was(journal: Journal) -> None:
    journal.add(FULL)
    journal.add(record("bare", target=None, time=NOON + 1))
    assert journal.flush()
    assert journal.store.recent(9) == [record("bare", target=None, time=NOON + 1), FULL]


def test_records_are_stored_within_200_ms(journal: Journal, opened: Opened) -> None:
    store = opened()
    journal.add(record("first"))
    journal.flush()  # the thread runs, the file is there
    began = time.monotonic()
    journal.add(record("second"))
    while "second" not in ids(store):
        assert time.monotonic() - began < 5
    assert time.monotonic() - began < 0.2 or os.getloadavg()[0] > 2


def test_a_record_after_a_long_silence_does_not_wait_for_the_next_look(
    journal: Journal, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.telemetry.journal.AWAKE_S", 0)
    store = opened()
    journal.add(record("first"))
    journal.flush()
    until = time.monotonic() + 5
    while not journal._dozing:
        assert time.monotonic() < until
    journal.add(record("second"))
    while "second" not in ids(store):
        assert time.monotonic() < until


def test_texts_that_are_not_unicode_are_kept_readable(journal: Journal) -> None:
    journal.add(record("odd", user_agent="caf\udce9", error="\ud800"))
    journal.add(record("plain"))
    journal.flush()
    stored = {r.id: r for r in journal.store.recent(99)}
    assert stored["odd"].user_agent == "caf?"
    assert "plain" in stored


def test_a_record_that_cannot_be_stored_loses_no_other(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.add(record("before"))
    journal.add(record("absurd", usage=Usage(10**30, 1)))
    journal.add(record("after", time=NOON + 1))
    journal.flush()
    assert ids(journal.store) == ["before", "after"]
    assert "cannot be journalled" in caplog.text
    assert journal.trouble == ""


def test_of_a_very_long_prompt_the_beginning_is_kept() -> None:
    journal = Journal(None, prompts=True)
    journal.add(record(prompt="x" * 1_000_000))
    assert journal.recent()[0].prompt == "x" * 20_000
    journal.close()


def test_recent_is_newest_first_and_includes_earlier_runs_and_unwritten_records(
    opened: Opened,
) -> None:
    before = Journal(opened())
    for i in range(3):
        before.add(record(f"old{i}", time=NOON + i))
    before.close()
    after = Journal(opened())
    after.add(record("new", time=NOON + 9))
    assert [r.id for r in after.recent(3)] == ["new", "old2", "old1"]
    after.close()


# ---- feedback


def test_feedback_reaches_records_in_memory_and_on_disk(opened: Opened) -> None:
    before = Journal(opened())
    before.add(record("old"))
    before.close()
    journal = Journal(opened())
    journal.add(record("new"))
    assert journal.feedback("new", "bad", "chat")
    assert journal.feedback("old", "good")
    assert not journal.feedback("unheard of", "good")
    journal.close()
    stored = {r.id: (r.feedback, r.feedback_source) for r in journal.store.recent(99)}
    assert stored == {"new": ("bad", "chat"), "old": ("good", "caller")}


def test_feedback_that_another_router_took_is_shown(opened: Opened, journal: Journal) -> None:
    journal.add(record("r"))
    journal.flush()
    other = Journal(opened())
    assert other.feedback("r", "good")
    other.close()
    assert [r.feedback for r in journal.recent()] == ["good"]


def test_asking_the_cloud_the_same_again_marks_the_local_answer_as_bad(journal: Journal) -> None:
    question = journal.hashed("why is the sky blue?")
    journal.add(record("local", question=question))
    journal.add(record("again", question=question, target="cloud", forced=True, time=NOON + 60))
    journal.flush()
    first = journal.store.recent(2)[1]
    assert (first.feedback, first.feedback_source) == ("bad", "repeat")


@pytest.mark.parametrize(
    "again",
    [
        {"target": "cloud", "forced": False},
        {"target": "local", "forced": True},
        {"target": "cloud", "forced": True, "question": "another"},
        {"target": "cloud", "forced": True, "time": NOON + 3600},
    ],
    ids=["by score", "of the local side", "another question", "an hour later"],
)
def test_other_repeats_are_no_feedback(journal: Journal, again: dict[str, object]) -> None:
    journal.add(record("local", question="q"))
    journal.add(record("again", **{"question": "q"} | again))
    assert {r.feedback for r in journal.recent()} == {None}


def test_a_repeat_does_not_replace_feedback(journal: Journal) -> None:
    journal.add(record("local", question="q"))
    journal.feedback("local", "good")
    journal.add(record("again", question="q", target="cloud", forced=True))
    assert {r.id: r.feedback for r in journal.recent()} == {"local": "good", "again": None}


def test_hashes_tell_questions_apart_and_differ_between_processes() -> None:
    one, other = Journal(), Journal()
    assert one.hashed("a") == one.hashed("a") != one.hashed("b")
    assert one.hashed("a") != other.hashed("a")


# ---- money


def test_spent_today_counts_written_and_unwritten_records_and_other_processes(
    opened: Opened,
) -> None:
    now = NOON
    journal = Journal(opened(), clock=lambda: now)
    journal.add(record("a", target="cloud", cost_usd=1.5))
    assert journal.spent_today_usd() == 1.5
    journal.flush()
    assert journal.spent_today_usd() == 1.5
    other = Journal(opened(), clock=lambda: now)
    other.add(record("b", target="cloud", cost_usd=0.25))
    assert other.spent_today_usd() == 1.75
    other.close()
    journal.close()
    now = NOON + DAY_S
    journal.add(record("c", target="cloud", cost_usd=0.125, time=now))
    assert journal.spent_today_usd() == 0.125
    journal.close()


def test_without_a_file_the_days_spending_is_counted_in_memory() -> None:
    now = NOON
    journal = Journal(None, clock=lambda: now)
    journal.add(record("a", target="cloud", cost_usd=1.5))
    journal.add(record("b", target="cloud", cost_usd=None))
    journal.flush()
    assert journal.spent_today_usd() == 1.5
    now += DAY_S
    assert journal.spent_today_usd() == 0
    journal.close()


def test_the_cost_of_a_row_that_was_lost_counts_on_its_day_only(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.telemetry.journal.LOOK_S", 0)
    now = NOON
    journal = Journal(opened(), clock=lambda: now)
    journal.add(record("lost", target="cloud", cost_usd=4, usage=Usage(10**30, 1)))
    journal.add(record("kept", target="cloud", cost_usd=2))
    journal.flush()
    assert journal.spent_today_usd() == 6
    for day in (1, 2):
        now = NOON + day * DAY_S
        journal.add(record(f"day {day}", target="cloud", cost_usd=1, time=now))
        journal.flush()
        assert journal.spent_today_usd() == 1
    journal.close()


def test_a_row_that_is_written_after_midnight_counts_on_the_day_before(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.telemetry.journal.LOOK_S", 0)
    now = NOON
    journal = Journal(opened(), clock=lambda: now)
    write = journal.store.write
    monkeypatch.setattr(journal.store, "write", broken)
    monkeypatch.setattr(journal.store, "retry_s", 0)
    journal.add(record("late", target="cloud", cost_usd=4))
    journal.flush()
    assert journal.spent_today_usd() == 4
    now += DAY_S
    assert journal.spent_today_usd() == 0
    monkeypatch.setattr(journal.store, "write", write)
    journal.add(record("early", target="cloud", cost_usd=1, time=now))
    journal.flush()
    assert journal.spent_today_usd() == 1
    assert ids(journal.store) == ["late", "early"]
    journal.close()


def test_what_is_spent_after_the_clock_was_set_back_counts(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.telemetry.journal.LOOK_S", 0)
    earlier = Journal(opened(), clock=lambda: NOON)
    earlier.add(record("before", target="cloud", cost_usd=8))
    earlier.close()
    now = NOON + 3 * DAY_S  # wrong, until the time server answers
    journal = Journal(opened(), clock=lambda: now)
    journal.add(record("ahead", target="cloud", cost_usd=4, time=now))
    journal.flush()
    now = NOON + 1
    journal.add(record("right", target="cloud", cost_usd=2, time=now))
    assert journal.spent_today_usd() >= 6
    journal.flush()
    journal.flush()  # it has looked since the row was written
    assert journal.spent_today_usd() == 14
    journal.close()


def test_what_was_spent_still_counts_when_the_clock_goes_back_over_midnight() -> None:
    now = NOON + 3 * DAY_S
    journal = Journal(None, clock=lambda: now)
    journal.add(record("ahead", target="cloud", cost_usd=4, time=now))
    now = NOON
    assert journal.spent_today_usd() == 4
    now = NOON + DAY_S
    assert journal.spent_today_usd() == 0
    journal.close()


def test_a_figure_that_was_read_before_midnight_does_not_count_after_it() -> None:
    spending = Spending(NOON)
    spending.add(record("new", cost_usd=1, time=NOON + DAY_S), NOON + DAY_S)
    spending.seen([("", 8.0)], NOON)
    assert spending.today_usd(NOON + DAY_S) == 1


# ---- bounds


def test_rows_older_than_journal_days_are_deleted(opened: Opened) -> None:
    filled = Journal(opened())
    filled.store.write([record(f"r{i}", time=NOON - i * DAY_S) for i in range(3)])
    filled.store.write([record(f"o{i}", time=NOON - 31 * DAY_S - i) for i in range(4_100)])
    filled.close()
    journal = Journal(opened(), days=30, clock=lambda: NOON)
    journal.add(record("new"))
    for _ in range(1 + 4_100 // PURGE_ROWS):  # a bite after each batch: writing goes on meanwhile
        assert journal.flush()
    assert sorted(ids(opened())) == ["new", "r0", "r1", "r2"]
    journal.close()


def test_each_row_names_its_router(opened: Opened) -> None:
    for name in ("one", "two"):
        router = Journal(opened(), replica=name)
        router.add(record(f"of {name}"))
        router.close()
    assert {r.id: r.replica for r in opened().recent(9)} == {"of one": "one", "of two": "two"}


def test_of_the_rows_that_wait_the_oldest_are_dropped_and_counted(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("router.telemetry.journal.BACKLOG", 20)
    store = opened()
    monkeypatch.setattr(store, "retry_s", 0)
    journal = Journal(store)
    with monkeypatch.context() as failing:
        failing.setattr(store, "write", broken)
        for n in range(50):
            journal.add(record(f"r{n}", time=NOON + n))
            if n % 10 == 0:
                journal.flush()
        journal.flush()
        assert journal.dropped == 30
    journal.add(record("last", time=NOON + 60))
    journal.flush()
    assert ids(opened()) == [*[f"r{n}" for n in range(31, 50)], "last"]
    assert [r.levelname for r in caplog.records] == ["WARNING"] * 3
    assert "31 rows were dropped" in caplog.messages[-1]
    journal.close()


def broken(*_: object) -> None:
    raise StoreError("the disk is gone")


def test_a_failure_while_a_bad_row_is_looked_for_loses_no_other(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    monkeypatch.setattr(store, "retry_s", 0)
    journal = Journal(store)
    write, calls = store.write, iter(range(9))

    def failing_once(records: list[Record], verdicts: list[Verdict]) -> None:
        if next(calls) == 2:
            raise StoreError("the disk is gone")
        write(records, verdicts)

    monkeypatch.setattr(store, "write", failing_once)
    monkeypatch.setattr("router.telemetry.journal.BATCH_S", 0.5)
    for n, usage in enumerate([None, Usage(10**30, 1), None, None]):
        journal.add(record(f"r{n}", time=NOON + n, usage=usage))
    journal.flush()
    journal.close()
    assert ids(opened()) == ["r0", "r2", "r3"]


def test_memory_is_bounded(journal: Journal) -> None:
    for i in range(3 * MEMORY):
        journal.add(record(f"r{i}", question=f"q{i}"))
    assert len(journal._recent) == MEMORY
    assert len(journal._asked) <= MEMORY


def test_of_the_rows_that_wait_for_a_slow_store_the_newest_are_kept() -> None:
    journal = Journal()
    is_over = threading.Event()
    journal._thread = threading.Thread(target=is_over.wait)  # one that writes nothing
    journal._thread.start()
    for i in range(BACKLOG + 10):
        journal.add(record(f"r{i}"))
    is_over.set()
    assert journal._queue.qsize() == BACKLOG
    assert journal.dropped == 10
    first = journal._queue.get()
    assert isinstance(first, Record)
    assert first.id == "r10"


def test_a_journal_can_be_closed_twice_and_used_again(journal: Journal, opened: Opened) -> None:
    journal.add(record("a"))
    journal.close()
    journal.close()
    journal.add(record("b", time=NOON + 1))
    journal.close()
    assert ids(opened()) == ["a", "b"]


class Ending(Journal):
    """A journal in which something happens when its thread ends for the first time."""

    happens: Callable[[], None] | None = None

    def _write(self) -> None:
        super()._write()
        if self.happens is not None:
            happens, self.happens = self.happens, None
            happens()


def test_a_row_that_comes_while_the_journal_closes_is_written(opened: Opened) -> None:
    journal = Ending(opened(), clock=lambda: NOON)
    journal.happens = lambda: journal.add(record("late"))
    journal.add(record("early", time=NOON - 1))
    journal.close()
    assert ids(opened()) == ["early", "late"]


def test_a_second_close_does_not_wait_for_a_thread_that_has_ended(opened: Opened) -> None:
    journal = Ending(opened(), clock=lambda: NOON)
    second = threading.Thread(target=journal.close)

    def closed_again() -> None:
        second.start()
        second.join(0.1)

    journal.happens = closed_again
    journal.add(record("one"))
    journal.close()
    second.join(2)
    assert not second.is_alive()


class Observed(Journal):
    """A journal in which something happens when it begins to close."""

    happens: Callable[[], object] | None = None

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "_closing" and value and self.happens is not None:
            self.happens()


def test_a_journal_whose_thread_wakes_at_the_moment_of_closing_ends_at_once(
    opened: Opened,
) -> None:
    journal = Observed(opened(), clock=lambda: NOON)
    journal.add(record("before", time=NOON - 1))
    thread = journal._thread
    assert thread is not None
    journal.happens = lambda: thread.join(2)
    began = time.monotonic()
    journal.close()
    assert time.monotonic() - began < 4
    journal.add(record("after"))
    journal.close()
    assert ids(opened()) == ["before", "after"]


def test_a_row_is_written_although_the_thread_has_died(opened: Opened) -> None:
    journal = Journal(opened(), clock=lambda: NOON)
    journal._thread = threading.Thread(target=int)
    journal._thread.start()
    journal._thread.join()
    journal.add(record("late"))
    assert journal.flush(2)
    assert ids(opened()) == ["late"]
    journal.close()


def test_rows_that_wait_for_a_broken_store_are_tried_once_more_at_the_end(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.telemetry.journal.LOOK_S", 0)
    journal = Observed(opened(), clock=lambda: NOON)
    has_failed, is_closing = threading.Event(), threading.Event()
    journal.happens = is_closing.set
    write = journal.store.write

    def look() -> None:  # the thread does so after it has tried to write
        if journal.trouble:
            monkeypatch.setattr(journal.store, "write", write)
            has_failed.set()
            is_closing.wait(5)

    monkeypatch.setattr(journal, "_look", look)
    monkeypatch.setattr(journal.store, "write", broken)
    monkeypatch.setattr(journal.store, "retry_s", 60)
    journal.add(record("one"))
    assert has_failed.wait(5)
    journal.close()
    assert ids(opened()) == ["one"]
