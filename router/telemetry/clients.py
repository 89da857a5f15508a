"""Costs and savings of the last day by client: the program named by a request's User-Agent."""

import sqlite3
from typing import Any, Final

from router.telemetry.journal import DAY_S, Journal
from router.telemetry.wanted import CLIENT_SQL

MOST_CLIENTS: Final = 20
"""Clients listed by themselves; the rest are added up as OTHERS."""
OTHERS: Final = "others"
_SUMS: Final = {
    "requests": "count(*)",
    "local": "sum(target = 'local' AND outcome != 'failed')",
    "cloud": "sum(target = 'cloud' AND outcome != 'failed')",
    "prompt_tokens": "total(prompt_tokens)",
    "completion_tokens": "total(completion_tokens)",
    "cost_usd": "total(cost_usd)",
    "saved_usd": "total(saved_usd)",
    "unpriced": "sum(target = 'cloud' AND first_byte_ms IS NOT NULL AND cost_usd IS NULL)",
}
_BY_CLIENT: Final = f"""
    SELECT {CLIENT_SQL}, {", ".join(_SUMS.values())}
    FROM requests WHERE time >= ? GROUP BY 1 ORDER BY count(*) DESC
"""


def last_day(journal: Journal, now: float) -> dict[str, Any]:
    """Return what the 24 hours before `now` cost and saved. Reads the file.

    {"cost_usd", "saved_usd", "clients": [{"client", SUMS}, …]}, the most frequent client first.
    SUMS: requests, local, cloud (answers), prompt_tokens, completion_tokens, cost_usd, saved_usd
    and unpriced (cloud answers of unknown cost). `client` is "" where none was named, or where the
    request was private.
    """
    try:
        rows = journal.file.rows(_BY_CLIENT, now - DAY_S)
    except sqlite3.Error:
        rows = []  # nothing was written yet, or the file cannot be read
    clients = [{"client": name} | _sums(sums) for name, *sums in rows]
    if len(clients) > MOST_CLIENTS:
        rest = clients[MOST_CLIENTS:]
        added = {name: sum(client[name] for client in rest) for name in _SUMS}
        clients = [*clients[:MOST_CLIENTS], {"client": OTHERS} | added]
    return {
        "cost_usd": sum(client["cost_usd"] for client in clients),
        "saved_usd": sum(client["saved_usd"] for client in clients),
        "clients": clients,
    }


def _sums(row: list[Any]) -> dict[str, Any]:
    found = dict(zip(_SUMS, (amount or 0 for amount in row), strict=True))
    return found | {name: int(found[name]) for name in ("prompt_tokens", "completion_tokens")}
