"""The protocol of the journal's stores, and records as rows: the same for every engine.

`journal_file.py` keeps the rows in SQLite, `journal_database.py` in PostgreSQL.
"""

from collections.abc import Iterable
from typing import Any, Protocol

import orjson

from router.events import Usage
from router.telemetry.journal_queries import COLUMNS, Queries
from router.telemetry.record import Attempt, Record
from router.telemetry.wanted import EVERYTHING, Wanted

Verdict = tuple[str, str, float, str]
"""Feedback, its source, and the time and id of the request."""


class StoreError(Exception):
    """The rows cannot be read or written. The message is short and has no password in it."""


class NoJournal(StoreError):
    """Nothing was written yet."""


class Unstorable(StoreError):
    """A record has a value that the engine cannot keep, for example an absurd token count."""


class JournalStore(Protocol):
    """Where the journal's rows are kept. Every method may be called in any thread.

    Opens on first use, and again after `close()` or a failure. Methods raise StoreError.
    """

    @property
    def place(self) -> str:
        """Where the rows are, without a password; empty if only in memory."""
        ...

    @property
    def sql(self) -> Queries:
        """The queries in this engine's dialect, for `rows`."""
        ...

    @property
    def remedy(self) -> str:
        """What to do if it cannot be written."""
        ...

    @property
    def retry_s(self) -> float:
        """Seconds between two attempts to write while that fails."""
        ...

    def write(self, records: Iterable[Record], verdicts: Iterable[Verdict] = ()) -> None:
        """Commit the records, then the verdicts, all or nothing. Raises Unstorable too."""
        ...

    def forget(self, before: float) -> bool:
        """Delete some older rows; True when none are left. Portions keep others from waiting."""
        ...

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query. Raises NoJournal too."""
        ...

    def recent(self, n: int, wanted: Wanted = EVERYTHING) -> list[Record]:
        """Return the last `n` wanted records, newest first. Raises NoJournal too."""
        ...

    def find(self, request_id: str) -> Record | None:
        """Return a request's record, None if there is none. Raises NoJournal too."""
        ...

    def check(self) -> str:
        """Return in a few words what is there; raises StoreError unless it can be written."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


def rows_or_none(store: JournalStore, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query; an empty list if they cannot be read, or none were written."""
    try:
        return store.rows(sql, *parameters)
    except StoreError:
        return []


def row_of(r: Record) -> tuple[object, ...]:
    """Return the values of COLUMNS."""
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
        *(r.shadow_threshold, r.shadow_target, r.replica),
    )


def record_of(row: tuple[Any, ...]) -> Record:
    """Return the record that has these values of COLUMNS."""
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
