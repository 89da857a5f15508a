"""What the journal needs of its store, and records as rows: the same for every engine.

`journal_file.py` keeps the rows in SQLite, `journal_database.py` in PostgreSQL.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from router.events import Usage
from router.telemetry.record import Attempt, Record
from router.telemetry.wanted import EVERYTHING, Wanted

COLUMNS: Final = (
    *("id", "time", "dialect", "asked_model", "user_agent", "target", "backend", "model"),
    *("score", "confidence", "threshold", "signals", "gates", "reason", "attempts"),
    *("stream", "fallback", "forced", "private", "first_byte_ms", "total_ms"),
    *("prompt_tokens", "completion_tokens"),
    *("cached_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("cost_usd", "saved_usd", "outcome", "status", "error"),
    *("conversation", "prompt", "feedback", "feedback_source", "fix", "message"),
    *("kind", "expected_ms", "answer", "caller"),
    *("shadow_threshold", "shadow_target", "replica"),
)
SUMS: Final = (
    *("cost_usd", "saved_usd", "unpriced", "unsaved"),
    *("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens"),
    *("fallbacks", "bad", "good"),
)
"""The sums at the end of each row of `Queries.cells`; stats.py says what they mean."""

CLIENT_SUMS: Final = (
    *("requests", "local", "cloud", "prompt_tokens", "completion_tokens"),
    *("cost_usd", "saved_usd", "unpriced"),
)
"""The sums at the end of each row of `Queries.clients`; clients.py says what they mean."""

Verdict = tuple[str, str, float, str]
"""Feedback, its source, and the time and id of the request."""


class StoreError(Exception):
    """The rows cannot be read or written. The message is short and has no password in it."""


class NoJournal(StoreError):
    """Nothing was written yet."""


class Unstorable(StoreError):
    """A record has a value that the engine cannot keep, for example an absurd token count."""


@dataclass(frozen=True, slots=True)
class Queries:
    """The SQL of everything that is read, in the dialect of one engine.

    Each text says its parameters, then the columns of a row. `since` is a time.
    """

    count: str
    """() -> requests"""
    times_of: str
    """(request id) -> time"""
    found: str
    """(request id) -> COLUMNS"""
    recent: str
    """(side, reason, client, most) -> COLUMNS, newest first. None asks for any: see Wanted."""
    spent: str
    """(since) -> caller, USD"""
    cells: str
    """(first slot's start, seconds of a slot, since) -> slot, target or "none", reason, outcome,
    requests, repeated, SUMS"""
    speeds: str
    """(since, most) -> target, first_byte_ms, total_ms, completion_tokens; newest first"""
    expected: str
    """(since, most) -> expected_ms, first_byte_ms of streamed local answers, newest first"""
    callers: str
    """(since) -> caller, requests, local, cloud, USD, prompt tokens, completion tokens"""
    clients: str
    """(since) -> client, CLIENT_SUMS; the most frequent client first"""
    confidence: str
    """(since, most) -> model, target, score, stream, whether it may not be refused, answer,
    attempts, USD in the cloud; newest first"""
    answers: str
    """(most) -> backend, model, time, conversation, first_byte_ms, total_ms, prompt_tokens,
    completion_tokens, cached_tokens of streamed local answers, newest first"""
    judged: str
    """(most) -> model, kind, score without that of the model, whether it was good; newest first"""
    latest_shadow: str
    """(since) -> the latest request's shadow_threshold, where one was set"""
    shadowed: str
    """(since, shadow_threshold) -> answered requests, local ones, those that would be local, USD,
    USD at the shadow threshold"""
    replayed: str
    """(since) -> time, target, reason, score, confidence, threshold, first_byte_ms, total_ms,
    completion_tokens, cost_usd, saved_usd, feedback; oldest first"""
    prompts: str
    """() -> prompt, highest score: what stayed local. Follow-ups are left out: they make no sense
    without what they follow."""


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
