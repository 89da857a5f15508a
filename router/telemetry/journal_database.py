"""The journal in PostgreSQL, for several routers: its schema, writing, reading, and the removal of
old rows.

Imported only where JOURNAL_URL is set: the driver takes time and memory. psycopg rather than
asyncpg, because the journal's writer and its readers are threads.

The tables are in a schema of their own, `llm_router`. No call waits longer than CONNECT_S plus
ANSWER_S for a server that does not answer.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import orjson
import psycopg
from psycopg.abc import RV, PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from router.privacy.redact import redact
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

CONNECT_S: Final = 3
ANSWER_S: Final = 10.0
RETRY_S: Final = 2.0
CLOSE_S: Final = 1.0
"""How long closing waits for a write that hangs."""
READERS: Final = 2
"""Reads at a time, and TURN_S how long one more waits. Threads are few, and requests need them."""
TURN_S: Final = 2.0
IDLE_S: Final = 60.0
"""How long an unused connection is kept for the next read; connecting takes 10 ms and more."""
PAUSE_S: Final = 2.0
"""After a failure, reads fail at once for this time."""
PURGE_ROWS: Final = 2_000
TIME_LIMIT: Final = "SELECT set_config('statement_timeout', %s, true)"
LOCK: Final = 0x6C6C6D72
"""Number of the advisory lock that is held during a migration. It has no meaning."""

_NAMES: Final = ", ".join(COLUMNS)
# One parameter for all rows: one statement, one answer. A row that is already there was committed
# before the connection broke.
INSERT: Final = f"""
    INSERT INTO llm_router.requests ({_NAMES})
    SELECT {_NAMES} FROM json_populate_recordset(NULL::llm_router.requests, %s::json)
    ON CONFLICT DO NOTHING
"""
JUDGE: Final = """
    UPDATE llm_router.requests SET feedback = %s, feedback_source = %s WHERE time = %s AND id = %s
"""
FORGET: Final = """
    DELETE FROM llm_router.requests WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM llm_router.requests WHERE time < %s LIMIT %s FOR UPDATE SKIP LOCKED
    ))
"""
VERSION: Final = "SELECT version FROM llm_router.version"
# Not to_regclass(): in a transaction it may not see what another one has just created.
HAS_VERSION: Final = """
    SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = 'llm_router' AND relname = 'version'
"""
HAS_SCHEMA: Final = "SELECT FROM pg_namespace WHERE nspname = 'llm_router'"
MAY_WRITE: Final = "SELECT has_table_privilege('llm_router.requests', 'INSERT, UPDATE, DELETE')"
MAY_CREATE: Final = "SELECT has_database_privilege(current_database(), 'CREATE')"

# Step n brings a database from version n to n + 1.
MIGRATIONS: Final = (
    """
    CREATE TABLE llm_router.requests (
        id text NOT NULL, time double precision NOT NULL, dialect text, asked_model text,
        user_agent text, target text, backend text, model text, score double precision,
        confidence double precision, threshold double precision, signals text, gates text,
        reason text, attempts text, stream boolean, fallback boolean, forced boolean,
        private boolean, first_byte_ms double precision, total_ms double precision,
        prompt_tokens bigint, completion_tokens bigint, cached_tokens bigint,
        cache_write_tokens bigint, reasoning_tokens bigint, cost_usd double precision,
        saved_usd double precision, outcome text, status integer, error text, conversation text,
        prompt text, feedback text, feedback_source text, fix text, message text, kind text,
        expected_ms double precision, answer text, caller text,
        shadow_threshold double precision, shadow_target text, replica text,
        PRIMARY KEY (id, time)
    );
    CREATE INDEX requests_by_time ON llm_router.requests (time);
    CREATE INDEX requests_paid ON llm_router.requests (time) INCLUDE (caller, cost_usd)
        WHERE cost_usd > 0;
    CREATE INDEX requests_judged ON llm_router.requests (time) WHERE feedback IS NOT NULL
    """,
)

QUERIES: Final = queries(
    Engine(
        table="llm_router.requests",
        mark="%s",
        slot="floor((time - %s) / %s)::integer",
        agent="split_part(split_part(user_agent, ' ', 1), '/', 1)",
        signal="(signals::json ->> '{}')::float8",
    )
)


class _NoAnswer(psycopg.OperationalError):
    """The server has not answered within ANSWER_S."""


class _Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits at most ANSWER_S for an answer."""

    migrates: bool = False
    """Whether it waits without a limit, because the change of a large table takes long."""

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        try:
            limit_s = None if self.migrates else ANSWER_S
            return super().wait(gen, interval, timeout or limit_s)
        except psycopg.errors._WaitTimeout:
            self.close()  # a late answer would be taken for that of the next query
            raise _NoAnswer(f"no answer within {ANSWER_S:g} s") from None


class JournalDatabase:
    """The journal's store in PostgreSQL."""

    sql: Final = QUERIES
    remedy: Final = "start the database, or correct JOURNAL_URL"

    def __init__(self, url: str, *, retry_s: float = RETRY_S) -> None:
        """Read the address; open nothing. Raises ValueError, without it, if it is unusable."""
        try:
            asked = conninfo_to_dict(url)
        except psycopg.Error:
            raise ValueError("is no address of a PostgreSQL database.") from None
        # What the address itself asks for wins.
        usual: dict[str, Any] = {"connect_timeout": CONNECT_S, "application_name": "llm-router"}
        self._address = make_conninfo(**(usual | asked))
        self._secrets = [str(asked[name]) for name in ("password", "sslpassword") if name in asked]
        host, port = asked.get("host", "localhost"), asked.get("port", 5432)
        self.place: Final = f"postgresql://{host}:{port}/{asked.get('dbname', '')}"
        self.retry_s: Final = retry_s
        self._writer: _Connection | None = None
        self._lock = threading.Lock()
        self._readers = threading.BoundedSemaphore(READERS)
        self._idle: list[tuple[float, _Connection]] = []
        self._times_closed = 0
        self._failure: StoreError | None = None
        self._paused_until = 0.0

    def write(self, records: Iterable[Record], verdicts: Iterable[Verdict] = ()) -> None:
        """Commit the records, then the verdicts, all or nothing.

        Rows that a broken connection has committed already are not written twice.
        """
        try:
            batch = _json_of([row_of(record) for record in records])
        except (TypeError, ValueError) as error:
            raise Unstorable(str(error)) from error
        with self._writing() as db:
            db.execute(INSERT, (batch,))
            for verdict in verdicts:
                db.execute(JUDGE, verdict)

    def forget(self, before: float) -> bool:
        """Delete some older rows; True when none are left. Several routers may do so at once."""
        with self._writing() as db:
            return db.execute(FORGET, (before, PURGE_ROWS)).rowcount < PURGE_ROWS

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query, over another connection than the writer's.

        Fails at once for PAUSE_S after a failure, so that a caller with several queries waits once.
        """
        self._fail_in_pause()
        if not self._readers.acquire(timeout=TURN_S):
            raise StoreError("too many reads are waiting")
        try:
            self._fail_in_pause()
            with self._store_errors():
                return self._fetched(sql, parameters)
        except NoJournal:
            raise
        except StoreError as error:
            self._failure = error
            self._paused_until = time.monotonic() + PAUSE_S
            raise
        finally:
            self._readers.release()

    def _fetched(self, sql: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """Return the rows of a query, over a connection that is left from an earlier one if any."""
        times_closed = self._times_closed
        while True:
            db = self._left_over()
            is_new = db is None
            db = db or self._connect()
            try:
                with db.transaction():
                    db.execute(TIME_LIMIT, (f"{ANSWER_S}s",))
                    found = db.execute(sql.encode(), parameters).fetchall()
            except BaseException as error:
                db.close()
                took_long = isinstance(error, _NoAnswer | psycopg.errors.QueryCanceled)
                if is_new or took_long or not isinstance(error, psycopg.OperationalError):
                    raise
                continue  # the server has been restarted since
            if times_closed == self._times_closed:
                self._idle.append((time.monotonic(), db))
            else:
                db.close()  # the store was closed meanwhile and will not close it
            return found

    def _left_over(self) -> _Connection | None:
        with suppress(IndexError):  # other threads take some too
            while True:
                since, db = self._idle.pop()
                if time.monotonic() - since < IDLE_S:
                    return db
                db.close()
        return None

    def _fail_in_pause(self) -> None:
        if time.monotonic() < self._paused_until:
            raise StoreError(str(self._failure))

    def recent(self, n: int, wanted: Wanted = EVERYTHING) -> list[Record]:
        """Return the last `n` wanted records, newest first."""
        found = self.rows(QUERIES.recent, wanted.side, wanted.reason, wanted.client, n)
        return [record_of(row) for row in found]

    def find(self, request_id: str) -> Record | None:
        """Return a request's record, None if there is none."""
        return next(map(record_of, self.rows(QUERIES.found, request_id)), None)

    def check(self) -> str:
        """Return in a few words what is there; raises StoreError unless it can be written."""
        try:
            ((count,),) = self.rows(QUERIES.count)
        except NoJournal:
            if self.rows(MAY_CREATE) == [(False,)]:
                raise StoreError("its user may not create a schema there") from None
            return f"{self.place}, its tables will be created"
        if self.rows(MAY_WRITE) == [(False,)]:
            raise StoreError("its user may not write the tables") from None
        return f"{self.place}, {count} requests"

    def close(self) -> None:
        """Close the connections, unless a write hangs on one. A running read closes its own."""
        self._times_closed += 1
        with suppress(IndexError):
            while True:
                self._idle.pop()[1].close()
        if self._lock.acquire(timeout=CLOSE_S):
            try:
                self._hang_up()
            finally:
                self._lock.release()

    def _connect(self) -> _Connection:
        # Prepared statements would not survive a connection pooler.
        return _Connection.connect(self._address, autocommit=True, prepare_threshold=None)

    @contextmanager
    def _writing(self) -> Iterator[_Connection]:
        """Give the writer's connection, in a transaction."""
        with self._lock, self._store_errors():
            try:
                if self._writer is None:
                    self._writer = self._connect()
                    _migrate(self._writer)
                with self._writer.transaction():
                    yield self._writer
            except psycopg.DataError:
                raise  # the connection is as good as before
            except BaseException:
                self._hang_up()
                raise

    def _hang_up(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Turn the driver's errors into StoreErrors: their first line, without passwords."""
        try:
            yield
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            raise NoJournal("it has no tables yet") from None
        except psycopg.DataError as error:
            raise Unstorable(self._said(error)) from None
        except psycopg.Error as error:
            raise StoreError(self._said(error)) from None

    def _said(self, error: psycopg.Error) -> str:
        # The lines after the first may quote a row.
        text = error.diag.message_primary or str(error).partition("\n")[0]
        return redact(text, self._secrets)


def _migrate(db: _Connection) -> None:
    """Bring the tables up to date. Of several routers that start at once, one does it."""
    if _version(db) == len(MIGRATIONS):
        return
    with db.transaction():
        db.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        db.migrates = True
        version = _version(db)
        if version is None:
            # An administrator may have made the schema, because this user may not.
            if db.execute(HAS_SCHEMA).fetchone() is None:
                db.execute("CREATE SCHEMA llm_router")
            db.execute("CREATE TABLE llm_router.version (version integer NOT NULL)")
            db.execute("INSERT INTO llm_router.version VALUES (0)")
            version = 0
        if version > len(MIGRATIONS):
            raise psycopg.DatabaseError("it was written by a newer version of this program")
        for script in MIGRATIONS[version:]:
            db.execute(script)
        db.execute("UPDATE llm_router.version SET version = %s", (len(MIGRATIONS),))
    db.migrates = False


def _version(db: _Connection) -> int | None:
    """Return the version of the tables; None where there are none."""
    if db.execute(HAS_VERSION).fetchone() is None:
        return None
    ((version,),) = db.execute(VERSION).fetchall()
    return int(version)


def _json_of(rows: list[tuple[object, ...]]) -> str:
    """Return rows as a JSON list of objects. PostgreSQL keeps no NUL: a space takes its place."""
    text = orjson.dumps([dict(zip(COLUMNS, row, strict=True)) for row in rows]).decode()
    if r"\u0000" not in text:
        return text
    clean = [tuple(v.replace("\0", " ") if isinstance(v, str) else v for v in r) for r in rows]
    return orjson.dumps([dict(zip(COLUMNS, row, strict=True)) for row in clean]).decode()
