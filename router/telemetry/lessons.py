"""Reads from the journal, at start, how fast the local servers are and how good their answers.

It reads the store and files, so call it in a thread. What cannot be read is skipped.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from router.scoring.reach import Label
from router.sides.conversations import CACHE_LIVES_S
from router.sides.speed import Past
from router.telemetry.journal_store import JournalStore, rows_or_none

COMPARED: Final = "compare.jsonl"
"""File of the results of `tune.py compare`, beside the journal's default place."""
MOST_ANSWERS: Final = 300
MOST_LABELS: Final = 2_000
ESTIMATED_PER_TOKEN: Final = 1.15
"""The router's estimates of tokens divided by the tokens that servers count."""


@dataclass(frozen=True, slots=True)
class _Answer:
    backend: str
    model: str
    time: float
    conversation: str
    first_byte_ms: float
    total_ms: float
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


def answers(store: JournalStore) -> dict[str, list[Past]]:
    """Read the latest streamed local answers by backend, oldest first.

    Answers that overlap another one are left out: they waited for each other.
    """
    found: dict[str, list[Past]] = {}
    last: dict[tuple[str, str], _Answer] = {}
    busy_until: dict[str, float] = {}
    for one in [
        _Answer(*row) for row in reversed(rows_or_none(store, store.sql.answers, MOST_ANSWERS))
    ]:
        before = last.get((one.backend, one.conversation))
        last[one.backend, one.conversation] = one
        alone = one.time >= busy_until.get(one.backend, 0.0)
        end = one.time + one.total_ms / 1000
        busy_until[one.backend] = max(end, busy_until.get(one.backend, 0.0))
        if alone:
            unread = max(round(_unread(one, before) * ESTIMATED_PER_TOKEN), 1)
            writing_s = (one.total_ms - one.first_byte_ms) / 1000
            past = Past(one.model, unread, one.first_byte_ms / 1000, writing_s)
            found.setdefault(one.backend, []).append(past)
    return found


def _unread(one: _Answer, before: _Answer | None) -> int:
    """Return the tokens of the prompt that were not in the server's cache."""
    if one.cached_tokens:
        return one.prompt_tokens - one.cached_tokens
    if before is None or one.time - before.time > CACHE_LIVES_S or not one.conversation:
        return one.prompt_tokens
    return one.prompt_tokens - before.prompt_tokens - before.completion_tokens


def labels(store: JournalStore, compared: Path | None) -> list[Label]:
    """Read whether local answers were good enough: feedback, and results of `tune.py compare`."""
    judged = [
        Label(model, kind, score, bool(good))
        for model, kind, score, good in rows_or_none(store, store.sql.judged, MOST_LABELS)
    ]
    return judged + (list(_compared(compared)) if compared is not None else [])


def _compared(path: Path) -> Iterator[Label]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines[-MOST_LABELS:]:
        try:
            found: dict[str, Any] = json.loads(line)
            model, kind = str(found["local_model"]), str(found["kind"])
            good = found["verdicts"] != ["cloud", "cloud"]
            yield Label(model, kind, float(found["own_score"]), good)
        except (ValueError, KeyError, TypeError):
            continue  # a line that was cut off, or of a version without these fields
