"""What is read of the journal in PostgreSQL."""

from typing import Final

from router.telemetry.journal_store import CLIENT_SUMS, COLUMNS, SUMS, Queries

_NAMES: Final = ", ".join(COLUMNS)
_SUMS: Final = {
    "cost_usd": "coalesce(sum(cost_usd), 0)",
    "saved_usd": "coalesce(sum(saved_usd), 0)",
    "unpriced": "count(*) FILTER (WHERE target = 'cloud' AND first_byte_ms IS NOT NULL"
    " AND cost_usd IS NULL)",
    "unsaved": "count(*) FILTER (WHERE target = 'local' AND outcome = 'done'"
    " AND saved_usd IS NULL)",
    "prompt_tokens": "sum(prompt_tokens)::bigint",
    "cached_tokens": "sum(cached_tokens)::bigint",
    "completion_tokens": "sum(completion_tokens)::bigint",
    "reasoning_tokens": "sum(reasoning_tokens)::bigint",
    "fallbacks": "count(*) FILTER (WHERE fallback)",
    "bad": "count(*) FILTER (WHERE feedback = 'bad' AND feedback_source != 'repeat')",
    "good": "count(*) FILTER (WHERE feedback = 'good')",
}
_CLIENT_SUMS: Final = {
    "requests": "count(*)",
    "local": "count(*) FILTER (WHERE target = 'local' AND outcome != 'failed')",
    "cloud": "count(*) FILTER (WHERE target = 'cloud' AND outcome != 'failed')",
    "prompt_tokens": "sum(prompt_tokens)::bigint",
    "completion_tokens": "sum(completion_tokens)::bigint",
    "cost_usd": "sum(cost_usd)",
    "saved_usd": "sum(saved_usd)",
    "unpriced": _SUMS["unpriced"],
}
_NAME: Final = "split_part(split_part(user_agent, ' ', 1), '/', 1)"
_CLIENT: Final = f"CASE {_NAME} WHEN 'Mozilla' THEN 'browser' ELSE {_NAME} END"
"""The client's name as `client_name` returns it."""
_SIDE: Final = "CASE outcome WHEN 'failed' THEN 'none' ELSE coalesce(target, 'none') END"
QUERIES: Final = Queries(
    count="SELECT count(*) FROM llm_router.requests",
    times_of="SELECT time FROM llm_router.requests WHERE id = %s",
    found=f"SELECT {_NAMES} FROM llm_router.requests WHERE id = %s LIMIT 1",
    recent=f"""
        SELECT {_NAMES} FROM llm_router.requests
        WHERE coalesce(%s, {_SIDE}) = {_SIDE} AND coalesce(%s, reason) = reason
              AND coalesce(%s, {_CLIENT}) = {_CLIENT}
        ORDER BY time DESC LIMIT %s
    """,
    spent="""
        SELECT caller, coalesce(sum(cost_usd), 0) FROM llm_router.requests
        WHERE time >= %s AND cost_usd > 0 GROUP BY caller
    """,
    cells=f"""
        SELECT floor((time - %s) / %s)::integer, coalesce(target, 'none'), reason, outcome,
               count(*), count(*) FILTER (WHERE feedback_source = 'repeat'),
               {", ".join(_SUMS[name] for name in SUMS)}
        FROM llm_router.requests WHERE time >= %s GROUP BY 1, 2, 3, 4
    """,
    speeds="""
        SELECT target, first_byte_ms, total_ms, completion_tokens FROM llm_router.requests
        WHERE time >= %s AND outcome = 'done' ORDER BY time DESC LIMIT %s
    """,
    expected="""
        SELECT expected_ms, first_byte_ms FROM llm_router.requests
        WHERE time >= %s AND target = 'local' AND outcome = 'done' AND stream AND attempts = '[]'
              AND expected_ms IS NOT NULL AND first_byte_ms > 0
        ORDER BY time DESC LIMIT %s
    """,
    callers="""
        SELECT caller, count(*), count(*) FILTER (WHERE target = 'local'),
               count(*) FILTER (WHERE target = 'cloud'), coalesce(sum(cost_usd), 0),
               coalesce(sum(prompt_tokens), 0)::bigint, coalesce(sum(completion_tokens), 0)::bigint
        FROM llm_router.requests WHERE time >= %s AND caller != '' GROUP BY caller
    """,
    clients=f"""
        SELECT {_CLIENT}, {", ".join(_CLIENT_SUMS[name] for name in CLIENT_SUMS)}
        FROM llm_router.requests WHERE time >= %s GROUP BY 1 ORDER BY count(*) DESC
    """,
    confidence="""
        SELECT model, target, score, stream, forced OR private OR reason = 'background', answer,
               attempts, CASE target WHEN 'local' THEN saved_usd ELSE cost_usd END
        FROM llm_router.requests
        WHERE time >= %s AND answer != '{}' ORDER BY time DESC LIMIT %s
    """,
    answers="""
        SELECT backend, model, time, conversation, first_byte_ms, total_ms,
               prompt_tokens, coalesce(completion_tokens, 0), coalesce(cached_tokens, 0)
        FROM llm_router.requests
        WHERE target = 'local' AND outcome = 'done' AND stream AND first_byte_ms > 0
              AND total_ms >= first_byte_ms AND prompt_tokens > 0 AND attempts = '[]'
        ORDER BY time DESC LIMIT %s
    """,
    judged="""
        SELECT model, kind, score - coalesce((signals::json ->> 'local_model')::float8, 0),
               feedback = 'good'
        FROM llm_router.requests
        WHERE target = 'local' AND kind != '' AND feedback IS NOT NULL
        ORDER BY time DESC LIMIT %s
    """,
    latest_shadow="""
        SELECT shadow_threshold FROM llm_router.requests
        WHERE time >= %s AND shadow_threshold IS NOT NULL ORDER BY time DESC LIMIT 1
    """,
    shadowed="""
        SELECT count(*),
               sum(CASE WHEN target = 'local' THEN 1 ELSE 0 END),
               sum(CASE WHEN shadow_target = 'local' THEN 1 ELSE 0 END),
               sum(coalesce(cost_usd, 0)),
               sum(CASE WHEN shadow_target = 'local' THEN 0
                        WHEN target = 'local' THEN coalesce(saved_usd, 0)
                        ELSE coalesce(cost_usd, 0) END)
        FROM llm_router.requests
        WHERE time >= %s AND shadow_threshold = %s AND outcome != 'failed' AND target IS NOT NULL
    """,
    replayed="""
        SELECT time, target, reason, score, confidence, threshold, first_byte_ms, total_ms,
               completion_tokens, cost_usd, saved_usd, feedback
        FROM llm_router.requests
        WHERE time >= %s AND outcome != 'failed' AND target IS NOT NULL
        ORDER BY time
    """,
    prompts="""
        SELECT prompt, max(score) FROM llm_router.requests
        WHERE target = 'local' AND reason IN ('simple', 'no_signal') AND outcome = 'done'
              AND prompt != '' AND NOT private
              AND coalesce((signals::json ->> 'conversation')::float8, 0) = 0
        GROUP BY prompt
    """,
)
