"""The columns of the journal, and the SQL of everything that is read of it.

The engines share it, except for the few expressions of Engine.
"""

from dataclasses import dataclass
from typing import Final

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
_NAMES: Final = ", ".join(COLUMNS)

_COST_USD: Final = "coalesce(sum(cost_usd), 0.0)"
_SAVED_USD: Final = "coalesce(sum(saved_usd), 0.0)"
_UNPRICED: Final = (
    "count(CASE WHEN target = 'cloud' AND first_byte_ms IS NOT NULL"
    " AND (cost_usd IS NULL OR outcome != 'done') THEN 1 END)"
)
# As real numbers, because a sum of absurd counts may exceed the largest whole number.
_PROMPT_TOKENS: Final = "coalesce(sum(CAST(prompt_tokens AS double precision)), 0)"
_COMPLETION_TOKENS: Final = "coalesce(sum(CAST(completion_tokens AS double precision)), 0)"
_SUMS: Final = {
    "cost_usd": _COST_USD,
    "saved_usd": _SAVED_USD,
    "unpriced": _UNPRICED,
    "unsaved": "count(CASE WHEN target = 'local' AND outcome = 'done' AND saved_usd IS NULL"
    " THEN 1 END)",
    "prompt_tokens": "CAST(sum(prompt_tokens) AS bigint)",
    "cached_tokens": "CAST(sum(cached_tokens) AS bigint)",
    "completion_tokens": "CAST(sum(completion_tokens) AS bigint)",
    "reasoning_tokens": "CAST(sum(reasoning_tokens) AS bigint)",
    "fallbacks": "count(CASE WHEN fallback THEN 1 END)",
    "bad": "count(CASE WHEN feedback = 'bad' AND feedback_source != 'repeat' THEN 1 END)",
    "good": "count(CASE WHEN feedback = 'good' THEN 1 END)",
}
SUMS: Final = tuple(_SUMS)
"""The sums at the end of each row of `Queries.cells`; stats.py says what they mean."""

_CLIENT_SUMS: Final = {
    "requests": "count(*)",
    "local": "count(CASE WHEN target = 'local' AND outcome != 'failed' THEN 1 END)",
    "cloud": "count(CASE WHEN target = 'cloud' AND outcome != 'failed' THEN 1 END)",
    "prompt_tokens": _PROMPT_TOKENS,
    "completion_tokens": _COMPLETION_TOKENS,
    "cost_usd": _COST_USD,
    "saved_usd": _SAVED_USD,
    "unpriced": _UNPRICED,
}
CLIENT_SUMS: Final = tuple(_CLIENT_SUMS)
"""The sums at the end of each row of `Queries.clients`; clients.py says what they mean."""

_SIDE: Final = "CASE outcome WHEN 'failed' THEN 'none' ELSE coalesce(target, 'none') END"


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


@dataclass(frozen=True, slots=True)
class Engine:
    """The expressions that the engines write differently."""

    table: str
    mark: str
    """Takes the place of a parameter."""
    slot: str
    """The whole number of slots from a time (the first mark), of some seconds (the second)."""
    agent: str
    """The text before the first space or slash of user_agent."""
    signal: str
    """The value of a signal; `{}` takes the place of its name."""


def queries(engine: Engine) -> Queries:
    """Return the queries in the dialect of an engine."""
    table, mark = engine.table, engine.mark
    # The client's name as `client_name` returns it.
    client = f"CASE {engine.agent} WHEN 'Mozilla' THEN 'browser' ELSE {engine.agent} END"
    local_model = f"coalesce({engine.signal.format('local_model')}, 0)"
    conversation = f"coalesce({engine.signal.format('conversation')}, 0)"
    return Queries(
        count=f"SELECT count(*) FROM {table}",
        times_of=f"SELECT time FROM {table} WHERE id = {mark}",
        found=f"SELECT {_NAMES} FROM {table} WHERE id = {mark} LIMIT 1",
        recent=f"""
            SELECT {_NAMES} FROM {table}
            WHERE coalesce({mark}, {_SIDE}) = {_SIDE} AND coalesce({mark}, reason) = reason
                  AND coalesce({mark}, {client}) = {client}
            ORDER BY time DESC LIMIT {mark}
        """,
        spent=f"""
            SELECT caller, {_COST_USD} FROM {table}
            WHERE time >= {mark} AND cost_usd > 0 GROUP BY caller
        """,
        cells=f"""
            SELECT {engine.slot}, coalesce(target, 'none'), reason, outcome, count(*),
                   count(CASE WHEN feedback_source = 'repeat' THEN 1 END),
                   {", ".join(_SUMS.values())}
            FROM {table} WHERE time >= {mark} GROUP BY 1, 2, 3, 4
        """,
        speeds=f"""
            SELECT target, first_byte_ms, total_ms, completion_tokens FROM {table}
            WHERE time >= {mark} AND outcome = 'done' ORDER BY time DESC LIMIT {mark}
        """,
        expected=f"""
            SELECT expected_ms, first_byte_ms FROM {table}
            WHERE time >= {mark} AND target = 'local' AND outcome = 'done' AND stream
                  AND attempts = '[]' AND expected_ms IS NOT NULL AND first_byte_ms > 0
            ORDER BY time DESC LIMIT {mark}
        """,
        callers=f"""
            SELECT caller, count(*), count(CASE WHEN target = 'local' THEN 1 END),
                   count(CASE WHEN target = 'cloud' THEN 1 END), {_COST_USD},
                   {_PROMPT_TOKENS}, {_COMPLETION_TOKENS}
            FROM {table} WHERE time >= {mark} AND caller != '' GROUP BY caller
        """,
        clients=f"""
            SELECT {client}, {", ".join(_CLIENT_SUMS.values())}
            FROM {table} WHERE time >= {mark} GROUP BY 1 ORDER BY count(*) DESC
        """,
        confidence=f"""
            SELECT model, target, score, stream, forced OR private OR reason = 'background',
                   answer, attempts, CASE target WHEN 'local' THEN saved_usd ELSE cost_usd END
            FROM {table}
            WHERE time >= {mark} AND answer != '{{}}' ORDER BY time DESC LIMIT {mark}
        """,
        answers=f"""
            SELECT backend, model, time, conversation, first_byte_ms, total_ms, prompt_tokens,
                   coalesce(completion_tokens, 0), coalesce(cached_tokens, 0)
            FROM {table}
            WHERE target = 'local' AND outcome = 'done' AND stream AND first_byte_ms > 0
                  AND total_ms >= first_byte_ms AND prompt_tokens > 0 AND attempts = '[]'
            ORDER BY time DESC LIMIT {mark}
        """,
        judged=f"""
            SELECT model, kind, score - {local_model}, feedback = 'good'
            FROM {table}
            WHERE target = 'local' AND kind != '' AND feedback IS NOT NULL
            ORDER BY time DESC LIMIT {mark}
        """,
        latest_shadow=f"""
            SELECT shadow_threshold FROM {table}
            WHERE time >= {mark} AND shadow_threshold IS NOT NULL ORDER BY time DESC LIMIT 1
        """,
        shadowed=f"""
            SELECT count(*),
                   sum(CASE WHEN target = 'local' THEN 1 ELSE 0 END),
                   sum(CASE WHEN shadow_target = 'local' THEN 1 ELSE 0 END),
                   sum(coalesce(cost_usd, 0)),
                   sum(CASE WHEN shadow_target = 'local' THEN 0
                            WHEN target = 'local' THEN coalesce(saved_usd, 0)
                            ELSE coalesce(cost_usd, 0) END)
            FROM {table}
            WHERE time >= {mark} AND shadow_threshold = {mark} AND outcome != 'failed'
                  AND target IS NOT NULL
        """,
        replayed=f"""
            SELECT time, target, reason, score, confidence, threshold, first_byte_ms, total_ms,
                   completion_tokens, cost_usd, saved_usd, feedback
            FROM {table}
            WHERE time >= {mark} AND outcome != 'failed' AND target IS NOT NULL
            ORDER BY time
        """,
        prompts=f"""
            SELECT prompt, max(score) FROM {table}
            WHERE target = 'local' AND reason IN ('simple', 'no_signal') AND outcome = 'done'
                  AND prompt != '' AND NOT private AND {conversation} = 0
            GROUP BY prompt
        """,
    )
