"""The journal in figures, as JSON for the page and for scripts; and feedback on answers.

All times are seconds since 1970 or, in `*_ms`, milliseconds; money is USD, and null where a price
is not known. `saved_usd` is an estimate (see `Prices.saved_usd`).
"""

import dataclasses
import time
from statistics import median, quantiles
from typing import Any, Final

from router.errors import InvalidRequest
from router.telemetry.clients import last_day
from router.telemetry.journal import DAY_S, Journal, Record
from router.telemetry.journal_queries import SUMS
from router.telemetry.journal_store import rows_or_none
from router.telemetry.shadow import shadow_since
from router.telemetry.wanted import EVERYTHING, Wanted

FLUSH_S: Final = 0.5
SPEED_SAMPLE: Final = 2_000
"""Latest answers that latency and speed are calculated from."""
MOST_DAYS: Final = 36_500
MOST_DECISIONS: Final = 500
SLOTS: Final = ((1, 1_800), (3, 3_600), (14, 4 * 3_600), (60, DAY_S))
"""Most days shown, and the seconds that one point of the curve then covers."""
HIDDEN: Final = frozenset({"conversation", "question"})


def stats_json(journal: Journal, days: float = 7, now: float | None = None) -> dict[str, Any]:
    """Return figures of the last `days`. Reads the store, so call it in a thread.

        {"days", "since", "slot_s", "requests", "answered", "local_share": 0..1 | null,
         "spent_today_usd", "journal": {"path" | null, "trouble", "dropped": rows},
         "totals": SUMS, "targets": {"local" | "cloud" | "none": {"requests", SUMS,
             "first_byte_ms": {"p50", "p95"} | null, "total_ms": …, "tokens_per_s": p50 | null}},
         "reasons": [{"reason", "target", "requests"}], most frequent first,
         "outcomes": {"done" | "failed" | "left": requests}, "repeated",
         "first_word": {"answers", "median_error": share | null},
         "shadow": null | {"threshold", "requests", "local_share", "shadow_local_share",
             "cost_usd", "shadow_cost_usd"},
         "callers": {name of a key: {"requests", "local", "cloud", "cost_usd", "spent_today_usd",
             "prompt_tokens", "completion_tokens"}},
         "last_day": what `last_day` returns, whatever `days` is,
         "over_time": [{"time", "local", "cloud", "none", "cost_usd", "saved_usd"}]}

    `answered` and `local_share` count the requests that a side answered; failed ones are "none",
    by target as well as over time. SUMS: cost_usd, saved_usd, unpriced (cloud answers, also
    broken off ones, whose cost is unknown), unsaved (local ones that could not be compared),
    prompt_, cached_, completion_ and reasoning_tokens, fallbacks, and bad and good (as people
    rated them). `first_word` says by what share the time to the first word of streamed local
    answers was misjudged. `shadow` compares what was done with SHADOW_THRESHOLD. `repeated` counts
    local answers that were asked again of the cloud, which the tuner counts as bad.
    """
    journal.flush(FLUSH_S)  # so that the latest answers count
    now = time.time() if now is None else now
    days = min(max(days, 1 / 24), MOST_DAYS)
    slot_s = next((seconds for limit, seconds in SLOTS if days <= limit), 7 * DAY_S)
    since = now - days * DAY_S
    first = since - since % slot_s
    store, sql = journal.store, journal.store.sql
    cells = rows_or_none(store, sql.cells, first, slot_s, since)
    speeds = rows_or_none(store, sql.speeds, since, SPEED_SAMPLE)
    misjudged = [
        abs(expected - real) / real
        for expected, real in rows_or_none(store, sql.expected, since, SPEED_SAMPLE)
    ]

    totals: dict[str, float] = dict.fromkeys(SUMS, 0)
    targets: dict[str, dict[str, Any]] = {
        name: {"requests": 0, **totals, **_speed(name, speeds)}
        for name in ("local", "cloud", "none")
    }
    reasons: dict[tuple[str, str], int] = {}
    outcomes = {"done": 0, "failed": 0, "left": 0}
    slots: dict[int, dict[str, float]] = {}
    repeated = 0
    for slot, target, reason, outcome, count, repeats, *sums in cells:
        repeated += repeats
        side = target if outcome != "failed" else "none"
        targets[side]["requests"] += count
        for name, amount in zip(SUMS, sums, strict=True):
            targets[target][name] += amount or 0
            totals[name] += amount or 0
        reasons[reason, target] = reasons.get((reason, target), 0) + count
        outcomes[outcome] += count
        point = slots.setdefault(slot, _point(first + slot * slot_s))
        point[side] += count
        point["cost_usd"] += sums[0]
        point["saved_usd"] += sums[1]
    local, cloud = targets["local"]["requests"], targets["cloud"]["requests"]
    return {
        "days": days,
        "since": since,
        "slot_s": slot_s,
        "requests": sum(outcomes.values()),
        "answered": local + cloud,
        "local_share": local / (local + cloud) if local + cloud else None,
        "spent_today_usd": journal.spent_today_usd(),
        "journal": {
            "path": store.place or None,
            "trouble": journal.trouble,
            "dropped": journal.dropped,
        },
        "totals": totals,
        "targets": targets,
        "reasons": [
            {"reason": reason, "target": target, "requests": count}
            for (reason, target), count in sorted(reasons.items(), key=lambda item: -item[1])
        ],
        "outcomes": outcomes,
        "repeated": repeated,
        "first_word": {
            "answers": len(misjudged),
            "median_error": median(misjudged) if misjudged else None,
        },
        "shadow": _shadow(journal, since),
        "callers": {
            name: _caller(journal.spent_today_usd(name), *sums)
            for name, *sums in rows_or_none(store, sql.callers, since)
        },
        "last_day": last_day(journal, now),
        "over_time": [
            slots.get(slot, _point(first + slot * slot_s))
            for slot in range(int((now - first) // slot_s) + 1)
        ],
    }


def decisions_json(
    journal: Journal, limit: int = 50, wanted: Wanted = EVERYTHING
) -> dict[str, Any]:
    """Return the latest wanted requests, newest first: `{"decisions": [...]}`.

    Each is as `decision_json` returns it.
    """
    records = journal.recent(min(max(limit, 1), MOST_DECISIONS), wanted)
    return {"decisions": [decision_json(record) for record in records]}


def decision_json(record: Record) -> dict[str, Any]:
    """Return `tokens_per_s` and every field of a record except the hashes.

    `prompt` is null unless prompts are journalled.
    """
    values = dataclasses.asdict(record)
    shown = {name: value for name, value in values.items() if name not in HIDDEN}
    return shown | {"tokens_per_s": record.tokens_per_s}


def found_json(journal: Journal, request_id: str) -> dict[str, Any]:
    """Return one request as `decision_json` does.

    Raises InvalidRequest, with status 404 when there is no such request.
    """
    record = journal.find(request_id)
    if record is None:
        raise _no_such_request(request_id)
    return decision_json(record)


def feedback_json(journal: Journal, body: dict[str, Any]) -> dict[str, Any]:
    """Note `{"request_id", "feedback": "good" | "bad"}`; the id is an answer's X-Request-Id.

    Raises InvalidRequest, with status 404 when there is no such request.
    """
    request_id, feedback = body.get("request_id"), body.get("feedback")
    if not isinstance(request_id, str) or not request_id:
        raise InvalidRequest(
            "`request_id` must be the X-Request-Id of an answer.", param="request_id"
        )
    if feedback not in ("good", "bad"):
        raise InvalidRequest("`feedback` must be `good` or `bad`.", param="feedback")
    if not journal.feedback(request_id, feedback):
        raise _no_such_request(request_id)
    return {"request_id": request_id, "feedback": feedback}


def _no_such_request(request_id: str) -> InvalidRequest:
    return InvalidRequest(
        f"There is no request {request_id[:100]!r} in the journal.",
        param="request_id",
        code="request_not_found",
        status=404,
    )


def _shadow(journal: Journal, since: float) -> dict[str, Any] | None:
    found = shadow_since(journal.store, since)
    return dataclasses.asdict(found) if found is not None else None


def _point(at: float) -> dict[str, float]:
    return {"time": at, "local": 0, "cloud": 0, "none": 0, "cost_usd": 0.0, "saved_usd": 0.0}


def _caller(
    spent_today_usd: float,
    requests: int,
    local: int,
    cloud: int,
    cost_usd: float,
    prompt_tokens: float,
    completion_tokens: float,
) -> dict[str, float]:
    return {
        "requests": requests,
        "local": local,
        "cloud": cloud,
        "cost_usd": cost_usd,
        "spent_today_usd": spent_today_usd,
        "prompt_tokens": int(prompt_tokens),
        "completion_tokens": int(completion_tokens),
    }


def _speed(target: str, rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    mine = [row[1:] for row in rows if row[0] == target]
    rates = [
        tokens / (whole - first) * 1000
        for first, whole, tokens in mine
        if tokens and first is not None and whole is not None and whole - first > 10
    ]
    return {
        "first_byte_ms": _spread([first for first, _, _ in mine if first is not None]),
        "total_ms": _spread([whole for _, whole, _ in mine if whole is not None]),
        "tokens_per_s": median(rates) if rates else None,
    }


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    cuts = quantiles(values, n=20, method="inclusive") if len(values) > 1 else values * 19
    return {"p50": cuts[9], "p95": cuts[18]}
