"""The journal: nothing committed is lost, nothing waits for the disk, nothing private is kept."""

import logging
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.events import Usage
from router.telemetry.journal import BACKLOG, DAY_S, MEMORY, Attempt, Journal, Record, journal_path
from router.telemetry.journal_file import MEMORY_ROWS, MIGRATIONS, PURGE_ROWS, JournalFile
from tests.support import paths

HOME = paths.ROOT
NOON = 1_800_014_400.0


def record(id: str = "r1", **values: object) -> Record:
    return Record(**{"id": id, "time": NOON, "target": "local"} | values)  # type: ignore[arg-type]


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
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(path, clock=lambda: NOON)
    yield journal
    journal.close()


def ids(path: Path) -> list[str]:
    return [row[0] for row in JournalFile(path).rows("SELECT id FROM requests ORDER BY rowid")]


def test_a_record_comes_back_as_it_was(journal: Journal) -> None:
    journal.add(FULL)
    journal.add(record("bare", target=None, time=NOON + 1))
    assert journal.flush()
    assert journal.file.records("ORDER BY time") == [
        FULL,
        record("bare", target=None, time=NOON + 1),
    ]


def test_records_are_on_disk_within_200_ms(journal: Journal, path: Path) -> None:
    journal.add(record("first"))
    journal.flush()  # the thread runs, the file is there
    began = time.monotonic()
    journal.add(record("second"))
    while "second" not in ids(path):
        assert time.monotonic() - began < 5
    assert time.monotonic() - began < 0.2 or os.getloadavg()[0] > 2


def test_a_record_after_a_long_silence_does_not_wait_for_the_next_look(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.telemetry.journal.AWAKE_S", 0)
    journal.add(record("first"))
    journal.flush()
    until = time.monotonic() + 5
    while not journal._dozing:
        assert time.monotonic() < until
    journal.add(record("second"))
    while "second" not in ids(path):
        assert time.monotonic() < until


def test_the_file_is_for_its_owner_alone(journal: Journal, path: Path) -> None:
    journal.add(record())
    journal.flush()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_prompt_is_kept_only_when_asked_for_and_not_private(path: Path, tmp_path: Path) -> None:
    for prompts in (False, True):
        journal = Journal(tmp_path / f"{prompts}.db", prompts=prompts)
        journal.add(record("open", prompt="hello"))
        journal.add(record("secret", prompt="my key", private=True))
        kept = {r.id: r.prompt for r in journal.recent()}
        assert kept == {"open": "hello" if prompts else None, "secret": None}
        journal.close()
        assert b"my key" not in (tmp_path / f"{prompts}.db").read_bytes()
        assert (b"hello" in (tmp_path / f"{prompts}.db").read_bytes()) is prompts


def test_texts_that_are_not_unicode_are_kept_readable(journal: Journal) -> None:
    journal.add(record("odd", user_agent="caf\udce9", error="\ud800"))
    journal.add(record("plain"))
    journal.flush()
    stored = {r.id: r for r in journal.file.records("")}
    assert stored["odd"].user_agent == "caf?"
    assert "plain" in stored


def test_a_record_that_cannot_be_stored_loses_no_other(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.add(record("before"))
    journal.add(record("absurd", usage=Usage(10**30, 1)))
    journal.add(record("after"))
    journal.flush()
    assert [r.id for r in journal.file.records("")] == ["before", "after"]
    assert "cannot be journalled" in caplog.text
    assert journal.trouble == ""


def test_of_a_very_long_prompt_the_beginning_is_kept(tmp_path: Path) -> None:
    journal = Journal(None, prompts=True)
    journal.add(record(prompt="x" * 1_000_000))
    assert journal.recent()[0].prompt == "x" * 20_000
    journal.close()


def test_recent_is_newest_first_and_includes_earlier_runs_and_unwritten_records(path: Path) -> None:
    before = Journal(path)
    for i in range(3):
        before.add(record(f"old{i}", time=NOON + i))
    before.close()
    after = Journal(path)
    after.add(record("new", time=NOON + 9))
    assert [r.id for r in after.recent(3)] == ["new", "old2", "old1"]
    after.close()


def test_off_keeps_the_last_records_in_memory_and_nothing_on_disk(tmp_path: Path) -> None:
    journal = Journal(journal_path("off"))
    for i in range(MEMORY_ROWS + 50):
        journal.add(record(f"r{i}", time=NOON + i))
        if i % 4_000 == 0:
            journal.flush()
    journal.flush()
    assert journal.recent(1)[0].id == f"r{MEMORY_ROWS + 49}"
    assert journal.file.rows("SELECT count(*) FROM requests") == [(MEMORY_ROWS,)]
    assert list(tmp_path.iterdir()) == []
    journal.close()


def test_the_default_path_is_in_the_users_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    chosen = journal_path(None)
    assert chosen is not None
    assert chosen.parts[-2:] == ("llm-router", "journal.db")
    assert journal_path("~/j.db") == Path.home() / "j.db"


# ---- feedback


def test_feedback_reaches_records_in_memory_and_on_disk(path: Path) -> None:
    before = Journal(path)
    before.add(record("old"))
    before.close()
    journal = Journal(path)
    journal.add(record("new"))
    assert journal.feedback("new", "bad", "chat")
    assert journal.feedback("old", "good")
    assert not journal.feedback("unheard of", "good")
    journal.close()
    stored = {r.id: (r.feedback, r.feedback_source) for r in journal.file.records("")}
    assert stored == {"new": ("bad", "chat"), "old": ("good", "caller")}


def test_asking_the_cloud_the_same_again_marks_the_local_answer_as_bad(journal: Journal) -> None:
    question = journal.hashed("why is the sky blue?")
    journal.add(record("local", question=question))
    journal.add(record("again", question=question, target="cloud", forced=True, time=NOON + 60))
    journal.flush()
    (first,) = journal.file.records("WHERE id = 'local'")
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


def test_spent_today_counts_written_and_unwritten_records_and_other_processes(path: Path) -> None:
    now = NOON
    journal = Journal(path, clock=lambda: now)
    journal.add(record("a", target="cloud", cost_usd=1.5))
    assert journal.spent_today_usd() == 1.5
    journal.flush()
    assert journal.spent_today_usd() == 1.5
    other = Journal(path, clock=lambda: now)
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


# ---- bounds


def test_rows_older_than_journal_days_are_deleted(path: Path) -> None:
    filled = Journal(path)
    filled.file.write([record(f"r{i}", time=NOON - i * DAY_S) for i in range(3)])
    filled.file.write([record(f"o{i}", time=NOON - 31 * DAY_S - i) for i in range(4_100)])
    filled.close()
    journal = Journal(path, days=30, clock=lambda: NOON)
    journal.add(record("new"))
    for _ in range(1 + 4_100 // PURGE_ROWS):  # a bite after each batch: writing goes on meanwhile
        assert journal.flush()
    assert sorted(ids(path)) == ["new", "r0", "r1", "r2"]
    journal.close()


def test_memory_is_bounded(journal: Journal) -> None:
    for i in range(3 * MEMORY):
        journal.add(record(f"r{i}", question=f"q{i}"))
    assert len(journal._recent) == MEMORY
    assert len(journal._asked) <= MEMORY


def test_the_queue_in_front_of_a_slow_disk_is_bounded(path: Path) -> None:
    journal = Journal(path)
    journal._thread = threading.Thread()  # one that writes nothing
    for i in range(BACKLOG + 10):
        journal.add(record(f"r{i}"))
    assert journal._queue.qsize() == BACKLOG


# ---- bad disks

WRITER = """
import sys
from pathlib import Path
from router.telemetry.journal import Journal, Record
journal = Journal(Path(sys.argv[1]))
n = 0
while n < int(sys.argv[3]):
    for _ in range(20):
        journal.add(Record(id=f"{sys.argv[2]}{n}", time=1_800_000_000.0 + n, target="local"))
        n += 1
    journal.flush()
    print(n, flush=True)
journal.close()
"""


def writer(path: Path, name: str, count: int, **options: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        command, cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def test_kill_9_loses_nothing_that_was_committed_and_leaves_the_file_whole(path: Path) -> None:
    process = writer(path, "k", 1_000_000)
    assert process.stdout is not None
    committed = 0
    while committed < 200:
        committed = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest = process.communicate()[0].split()
    committed = int(rest[-1]) if rest else committed
    kept = ids(path)
    assert kept[:committed] == [f"k{n}" for n in range(committed)]
    assert JournalFile(path).rows("PRAGMA integrity_check") == [("ok",)]
    journal = Journal(path)
    journal.add(record("after"))
    journal.close()
    assert ids(path)[-1] == "after"


def test_two_processes_write_one_journal(path: Path) -> None:
    one, two = writer(path, "a", 400), writer(path, "b", 400)
    for process in (one, two):
        assert process.communicate(timeout=60)[1] == ""
    kept = ids(path)
    assert len(kept) == 800
    for name in "ab":
        mine = [int(id[1:]) for id in kept if id[0] == name]
        assert mine == sorted(mine)
        assert len(mine) == 400


def test_a_full_disk_costs_one_warning_and_no_record_that_was_there(path: Path) -> None:
    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = writer(path, "f", 4_000, preexec_fn=small_disk)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.split()[-1] == "4000"
    assert err.count("The journal cannot be written") == 1
    assert "JOURNAL_PATH" in err
    kept = ids(path)
    assert 0 < len(kept) < 4_000
    assert kept == [f"f{n}" for n in range(len(kept))]


def test_a_place_that_cannot_be_written_costs_one_warning_and_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    journal = Journal(tmp_path / "data" / "journal.db", retry_s=0)
    with caplog.at_level(logging.WARNING):
        for i in range(3):
            journal.add(record(f"r{i}", cost_usd=1.0))
            journal.flush()
    assert [r.message for r in caplog.records] == [journal.trouble]
    assert "JOURNAL_PATH" in journal.trouble
    assert len(journal.recent()) == 3
    assert not journal.feedback("unheard of", "bad")
    (tmp_path / "data").unlink()
    journal.add(record("r3"))
    journal.flush()
    assert journal.trouble == ""
    assert ids(tmp_path / "data" / "journal.db") == ["r0", "r1", "r2", "r3"]
    journal.close()


def test_a_read_only_disk_costs_one_warning_and_no_record_that_was_there(path: Path) -> None:
    journal = Journal(path)
    journal.add(record("old"))
    journal.close()

    script = """
import os, sys
from pathlib import Path
from router.telemetry.journal import Journal, Record
if os.geteuid() == 0:  # root may write everywhere
    os.setgid(65_534)
    os.setuid(65_534)
journal = Journal(Path(sys.argv[1]))
journal.add(Record(id="new", time=1_900_000_000.0, target="local"))
journal.flush()
print([r.id for r in journal.recent()])
journal.close()
"""
    chain = [path.parent, *path.parent.parents]
    modes = {folder: folder.stat().st_mode for folder in chain[:-2]}
    try:
        path.chmod(0o444)
        for folder in modes:
            folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)],
            cwd=HOME,
            capture_output=True,
            text=True,
        )
    finally:
        for folder, mode in modes.items():
            folder.chmod(mode & 0o7777)
    assert done.stdout.strip() == "['new']", done.stderr
    assert done.stderr.count("The journal cannot be written") == 1
    assert ids(path) == ["old"]


def test_a_file_of_an_older_version_is_migrated(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.executescript(MIGRATIONS[0] + "; PRAGMA user_version = 1")
        columns = [row[1] for row in db.execute("PRAGMA table_info(requests)")]
        old: dict[str, object] = dict.fromkeys(columns, 0) | {
            "id": "old",
            "signals": "{}",
            "gates": "[]",
        }
        old |= {"attempts": "[]", "time": record().time}
        marks = ", ".join("?" * len(columns))
        db.execute(f"INSERT INTO requests VALUES ({marks})", tuple(old.values()))
    db.close()
    journal = Journal(path)
    journal.add(record(id="new", fix="lms load qwen"))
    journal.flush()
    assert {one.id: one.fix for one in journal.recent()} == {"new": "lms load qwen", "old": ""}
    journal.close()


def test_a_file_of_a_newer_version_is_left_alone(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    journal = Journal(path)
    journal.add(record())
    journal.flush()
    assert "newer version" in journal.trouble
    assert journal.recent() == [record()]
    journal.close()


@pytest.mark.parametrize("deleted", ["journal.db", "journal.db*"])
def test_a_journal_that_is_deleted_meanwhile_begins_anew(
    journal: Journal, path: Path, deleted: str
) -> None:
    journal.add(record("before"))
    journal.flush()
    for file in path.parent.glob(deleted):
        file.unlink()
    journal.add(record("after"))
    journal.flush()
    assert journal.trouble == ""
    assert ids(path) == ["after"]


def test_a_journal_can_be_closed_twice_and_used_again(journal: Journal, path: Path) -> None:
    journal.add(record("a"))
    journal.close()
    journal.close()
    journal.add(record("b"))
    journal.close()
    assert ids(path) == ["a", "b"]
