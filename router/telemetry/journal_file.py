"""The journal in an SQLite file: its schema, writing, reading, and the removal of old rows.

Written by one thread of one process at a time (others wait), read by any. Write-ahead log with
`synchronous=NORMAL`: a committed row survives kill -9, and a crash never corrupts the file.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Final

from router.telemetry.journal_queries import COLUMNS, Engine, queries
from router.telemetry.journal_store import (
    NoJournal,
    StoreError,
    Unstorable,
    Verdict,
    record_of,
    row_of,
)
from router.telemetry.record import Record
from router.telemetry.wanted import EVERYTHING, Wanted

BUSY_MS: Final = 5_000
RETRY_S: Final = 30.0
MEMORY_ROWS: Final = 10_000
PURGE_ROWS: Final = 2_000

_NAMES: Final = ", ".join(COLUMNS)
_ROW: Final = f"({', '.join('?' * len(COLUMNS))})"
INSERT: Final = f"INSERT INTO requests ({_NAMES}) VALUES {_ROW}"
AT_ONCE: Final = 999 // len(COLUMNS)
"""Rows of one statement (older SQLite takes 999 values). Fewer statements stop the event loop less
often, since each releases and takes the interpreter lock."""
INSERT_MANY: Final = INSERT + f", {_ROW}" * (AT_ONCE - 1)
UNSTORABLE: Final = (
    *(OverflowError, TypeError, ValueError),
    *(sqlite3.InterfaceError, sqlite3.ProgrammingError),
)
"""What SQLite raises for a value that it cannot store."""
JUDGE: Final = "UPDATE requests SET feedback = ?, feedback_source = ? WHERE time = ? AND id = ?"

# Step n brings a file from version n to n + 1; the version is SQLite's own user_version. There is
# one index: rows are looked up by time, and each further one would cost every request.
MIGRATIONS: Final = (
    """
    CREATE TABLE requests (
        id TEXT, time REAL, dialect TEXT, asked_model TEXT, user_agent TEXT, target TEXT,
        backend TEXT, model TEXT, score REAL, confidence REAL, threshold REAL, signals TEXT,
        gates TEXT, reason TEXT, attempts TEXT, stream INTEGER, fallback INTEGER, forced INTEGER,
        private INTEGER, first_byte_ms REAL, total_ms REAL, prompt_tokens INTEGER,
        completion_tokens INTEGER, cached_tokens INTEGER, cache_write_tokens INTEGER,
        reasoning_tokens INTEGER, cost_usd REAL, saved_usd REAL, outcome TEXT, status INTEGER,
        error TEXT, conversation TEXT, prompt TEXT, feedback TEXT, feedback_source TEXT
    );
    CREATE INDEX requests_by_time ON requests (time);
    """,
    "ALTER TABLE requests ADD COLUMN fix TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE requests ADD COLUMN message TEXT NOT NULL DEFAULT ''",
    """
    ALTER TABLE requests ADD COLUMN kind TEXT NOT NULL DEFAULT '';
    ALTER TABLE requests ADD COLUMN expected_ms REAL
    """,
    "ALTER TABLE requests ADD COLUMN answer TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE requests ADD COLUMN caller TEXT NOT NULL DEFAULT ''",
    """
    ALTER TABLE requests ADD COLUMN shadow_threshold REAL;
    ALTER TABLE requests ADD COLUMN shadow_target TEXT NOT NULL DEFAULT ''
    """,
    "ALTER TABLE requests ADD COLUMN replica TEXT NOT NULL DEFAULT ''",
)

QUERIES: Final = queries(
    Engine(
        table="requests",
        mark="?",
        slot="CAST((time - ?) / ? AS INTEGER)",
        agent="substr(user_agent, 1,"
        " min(instr(user_agent || ' ', ' '), instr(user_agent || '/', '/')) - 1)",
        signal="json_extract(signals, '$.{}')",
    )
)


class JournalFile:
    """The journal's store in an SQLite file, or for `path=None` a bounded table in memory."""

    sql: Final = QUERIES
    remedy: Final = "make room, or set JOURNAL_PATH to a file that can be written, or to off"

    def __init__(self, path: Path | None, *, retry_s: float = RETRY_S) -> None:
        self.path = path
        self.place: Final = str(path or "")
        self.retry_s: Final = retry_s
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def write(self, records: Iterable[Record], verdicts: Iterable[Verdict] = ()) -> None:
        """Write records and verdicts in one transaction.

        A verdict's request is found by its time, which is indexed.
        """
        with _store_errors(UNSTORABLE):
            rows = [row_of(record) for record in records]
            odd = len(rows) % AT_ONCE
            with self._lock, self._transaction() as db:
                db.executemany(INSERT, rows[:odd])
                for at in range(odd, len(rows), AT_ONCE):
                    db.execute(INSERT_MANY, [*chain.from_iterable(rows[at : at + AT_ONCE])])
                db.executemany(JUDGE, verdicts)
                if self.path is None:
                    newest = "(SELECT max(rowid) FROM requests)"
                    db.execute(f"DELETE FROM requests WHERE rowid <= {newest} - {MEMORY_ROWS}")

    def forget(self, before: float) -> bool:
        """Delete some older rows; True when none are left. Portions keep others from waiting."""
        old = "SELECT rowid FROM requests WHERE time < ? LIMIT ?"
        sql = f"DELETE FROM requests WHERE rowid IN ({old})"
        with _store_errors(), self._lock, self._transaction() as db:
            return db.execute(sql, (before, PURGE_ROWS)).rowcount < PURGE_ROWS

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query, over a connection of its own, so that writing goes on."""
        with _store_errors(), self._reading() as db:
            return db.execute(sql, parameters).fetchall()

    def recent(self, n: int, wanted: Wanted = EVERYTHING) -> list[Record]:
        """Return the last `n` wanted records, newest first."""
        found = self.rows(QUERIES.recent, wanted.side, wanted.reason, wanted.client, n)
        return [record_of(row) for row in found]

    def find(self, request_id: str) -> Record | None:
        """Return a request's record, None if there is none."""
        return next(map(record_of, self.rows(QUERIES.found, request_id)), None)

    def check(self) -> str:
        """Return in a few words what is there; raises StoreError unless it can be written."""
        if self.path is None:
            return "off"
        with _store_errors():  # a folder may not be searched
            if not self.path.exists():
                folder = next(parent for parent in self.path.parents if parent.exists())
                if not folder.is_dir():
                    raise StoreError(f"{folder} is no folder")
                if not os.access(folder, os.W_OK):
                    raise StoreError(f"the folder {folder} cannot be written")
                return f"{self.path} will be created"
            ((count,),) = self.rows(QUERIES.count)
            if not os.access(self.path, os.W_OK):
                raise StoreError("it cannot be written")
            return f"{self.path}, {count} requests"

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self._db is not None and self.path is not None and not self.path.exists():
            self._db.close()  # the user has deleted the file
            self._db = None
        if self._db is None:
            self._db = _opened(self.path)
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if self.path is None:
            with self._lock:
                self._db = self._db or _opened(None)
                yield self._db
            return
        if not self.path.exists():
            raise NoJournal("it does not exist yet")
        uri = f"{self.path.absolute().as_uri()}?mode=rw"
        db = sqlite3.connect(uri, uri=True, timeout=BUSY_MS / 1000, isolation_level=None)
        try:
            yield db
        finally:
            db.close()


@contextmanager
def _store_errors(unstorable: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    try:
        yield
    except unstorable as error:
        raise Unstorable(str(error)) from error
    except (sqlite3.Error, OSError) as error:
        raise StoreError(str(error)) from error


def _opened(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite would let everyone read it.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    db = sqlite3.connect(
        path or ":memory:",
        timeout=BUSY_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _use_wal(db)
        db.execute("PRAGMA synchronous = NORMAL")
        _migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def _use_wal(db: sqlite3.Connection) -> None:
    """Switch to a write-ahead log.

    While another process does so, SQLite fails at once instead of waiting for BUSY_MS.
    """
    until = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.01)


def _migrate(db: sqlite3.Connection) -> None:
    if _version(db) == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")  # another process may be migrating it right now
    version = _version(db)
    if version > len(MIGRATIONS):
        db.execute("ROLLBACK")
        raise sqlite3.DatabaseError("it was written by a newer version of this program")
    for script in MIGRATIONS[version:]:
        for statement in script.split(";"):
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    db.execute("COMMIT")


def _version(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version
