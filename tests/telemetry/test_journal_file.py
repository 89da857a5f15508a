"""The journal's SQLite file: nothing committed is lost, and a bad disk costs one warning."""

import logging
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from router.telemetry.journal import Journal, journal_path
from router.telemetry.journal_file import MEMORY_ROWS, MIGRATIONS, JournalFile
from tests.support import paths
from tests.support.journals import NOON, record

HOME = paths.ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(JournalFile(path), clock=lambda: NOON)
    yield journal
    journal.close()


def ids(path: Path) -> list[str]:
    return [row[0] for row in JournalFile(path).rows("SELECT id FROM requests ORDER BY rowid")]


def test_the_file_is_for_its_owner_alone(journal: Journal, path: Path) -> None:
    journal.add(record())
    journal.flush()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_prompt_is_kept_only_when_asked_for_and_not_private(path: Path, tmp_path: Path) -> None:
    for prompts in (False, True):
        journal = Journal(JournalFile(tmp_path / f"{prompts}.db"), prompts=prompts)
        journal.add(record("open", prompt="hello"))
        journal.add(record("secret", prompt="my key", private=True))
        kept = {r.id: r.prompt for r in journal.recent()}
        assert kept == {"open": "hello" if prompts else None, "secret": None}
        journal.close()
        assert b"my key" not in (tmp_path / f"{prompts}.db").read_bytes()
        assert (b"hello" in (tmp_path / f"{prompts}.db").read_bytes()) is prompts


def test_off_keeps_the_last_records_in_memory_and_nothing_on_disk(tmp_path: Path) -> None:
    journal = Journal(JournalFile(journal_path("off")))
    for i in range(MEMORY_ROWS + 50):
        journal.add(record(f"r{i}", time=NOON + i))
        if i % 4_000 == 0:
            journal.flush()
    journal.flush()
    assert journal.recent(1)[0].id == f"r{MEMORY_ROWS + 49}"
    assert journal.store.rows("SELECT count(*) FROM requests") == [(MEMORY_ROWS,)]
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


WRITER = """
import sys
from pathlib import Path
from router.telemetry.journal import Journal, Record
from router.telemetry.journal_file import JournalFile
journal = Journal(JournalFile(Path(sys.argv[1])))
n = 0
while n < int(sys.argv[3]):
    for _ in range(20):
        journal.add(Record(id=f"{sys.argv[2]}{n}", time=1_800_000_000.0 + n, target="local"))
        n += 1
    journal.flush()
    print(n, flush=True)
journal.close()
"""


def writer(path: Path, name: str, count: int, **options: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(
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
    journal = Journal(JournalFile(path))
    journal.add(record("after"))
    journal.close()
    assert ids(path)[-1] == "after"


def test_two_processes_write_one_journal(path: Path) -> None:
    one, two = writer(path, "a", 400), writer(path, "b", 400)
    assert [process.communicate(timeout=60)[1] for process in (one, two)] == ["", ""]
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
    journal = Journal(JournalFile(tmp_path / "data" / "journal.db", retry_s=0))
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
    journal = Journal(JournalFile(path))
    journal.add(record("old"))
    journal.close()

    script = """
import os, sys
from pathlib import Path
from router.telemetry.journal import Journal, Record
from router.telemetry.journal_file import JournalFile
if os.geteuid() == 0:  # root may write everywhere
    os.setgid(65_534)
    os.setuid(65_534)
journal = Journal(JournalFile(Path(sys.argv[1])))
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
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
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
    journal = Journal(JournalFile(path))
    journal.add(record(id="new", fix="lms load qwen"))
    journal.flush()
    assert {one.id: one.fix for one in journal.recent()} == {"new": "lms load qwen", "old": ""}
    journal.close()


def test_a_file_of_a_newer_version_is_left_alone(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    journal = Journal(JournalFile(path))
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
