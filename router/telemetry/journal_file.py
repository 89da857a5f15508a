"""The journal's SQLite file: its schema, records as rows, and the removal of old ones.

Written by one thread of one process at a time (others wait), read by any. Write-ahead log with
`synchronous=NORMAL`: a committed row survives kill -9, and a crash never corrupts the file.
"""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Final

import orjson

from router.events import Usage
from router.telemetry.record import Attempt, Record

BUSY_MS: Final = 5_000
MEMORY_ROWS: Final = 10_000
PURGE_ROWS: Final = 2_000

COLUMNS: Final = (
    *("id", "time", "dialect", "asked_model", "user_agent", "target", "backend", "model"),
    *("score", "confidence", "threshold", "signals", "gates", "reason", "attempts"),
    *("stream", "fallback", "forced", "private", "first_byte_ms", "total_ms"),
    *("prompt_tokens", "completion_tokens"),
    *("cached_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("cost_usd", "saved_usd", "outcome", "status", "error"),
    *("conversation", "prompt", "feedback", "feedback_source", "fix", "message"),
    *("kind", "expected_ms", "answer", "caller", "shadow_threshold", "shadow_target"),
)
_NAMES: Final = ", ".join(COLUMNS)
_ROW: Final = f"({', '.join('?' * len(COLUMNS))})"
INSERT: Final = f"INSERT INTO requests ({_NAMES}) VALUES {_ROW}"
AT_ONCE: Final = 999 // len(COLUMNS)
"""Rows of one statement (older SQLite takes 999 values). Fewer statements stop the event loop less
often, since each releases and takes the interpreter lock."""
INSERT_MANY: Final = INSERT + f", {_ROW}" * (AT_ONCE - 1)
SELECT: Final = f"SELECT {_NAMES} FROM requests"
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
)


class JournalFile:
    """The file, or for `path=None` a bounded table in memory.

    Opens on first use, and again after `close()`. Methods raise sqlite3.Error or OSError.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def write(
        self, records: Iterable[Record], verdicts: Iterable[tuple[str, str, float, str]] = ()
    ) -> None:
        """Write records and verdicts `(feedback, source, time, request id)` in one transaction.

        A verdict's request is found by its time, which is indexed.
        """
        rows = [_row(record) for record in records]
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
        with self._lock, self._transaction() as db:
            return db.execute(sql, (before, PURGE_ROWS)).rowcount < PURGE_ROWS

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query, over a connection of its own, so that writing goes on."""
        with self._reading() as db:
            return db.execute(sql, parameters).fetchall()

    def records(self, where: str, *parameters: object) -> list[Record]:
        """Return the records of `SELECT … FROM requests` + `where`."""
        return [_record(row) for row in self.rows(f"{SELECT} {where}", *parameters)]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._db is not None and self.path is not None:
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
        uri = f"{self.path.absolute().as_uri()}?mode=rw"
        db = sqlite3.connect(uri, uri=True, timeout=BUSY_MS / 1000, isolation_level=None)
        try:
            yield db
        finally:
            db.close()


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
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        _migrate(db)
    except BaseException:
        db.close()
        raise
    return db


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


def _row(r: Record) -> tuple[object, ...]:
    tokens: tuple[int | None, ...] = (None,) * 5
    if u := r.usage:
        cached = (u.cached_tokens, u.cache_write_tokens, u.reasoning_tokens)
        tokens = (u.prompt_tokens, u.completion_tokens, *cached)
    return (
        *(r.id, r.time, r.dialect, _clean(r.asked_model), _clean(r.user_agent)),
        *(r.target, r.backend, _clean(r.model), r.score, r.confidence, r.threshold),
        *(_json(r.signals), _json(r.gates), r.reason, _json(r.attempts)),
        *(r.stream, r.fallback, r.forced, r.private, r.first_byte_ms, r.total_ms),
        *tokens,
        *(r.cost_usd, r.saved_usd, r.outcome, r.status, _clean(r.error)),
        *(r.conversation, r.prompt and _clean(r.prompt), r.feedback, r.feedback_source),
        *(r.fix, _clean(r.message), r.kind, r.expected_ms, _json(r.answer), r.caller),
        *(r.shadow_threshold, r.shadow_target),
    )


def _record(row: tuple[Any, ...]) -> Record:
    values = dict(zip(COLUMNS, row, strict=True))
    counts: dict[str, Any] = {
        name: values.pop(name) or 0 for name in COLUMNS if name.endswith("_tokens")
    }
    known = row[COLUMNS.index("prompt_tokens")] is not None
    for flag in ("stream", "fallback", "forced", "private"):
        values[flag] = bool(values[flag])
    return Record(
        **values
        | {
            "usage": Usage(**counts) if known else None,
            "answer": orjson.loads(values["answer"]),
            "signals": orjson.loads(values["signals"]),
            "gates": tuple(orjson.loads(values["gates"])),
            "attempts": tuple(Attempt(**one) for one in orjson.loads(values["attempts"])),
        }
    )


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _clean(text: str) -> str:
    # A lone surrogate (from a header or an error message) would fail the whole batch.
    return text if text.isascii() else text.encode(errors="replace").decode()
