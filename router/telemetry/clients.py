"""Costs and savings of the last day by client: the program named by a request's User-Agent."""

from typing import Any, Final

from router.telemetry.journal import DAY_S, Journal
from router.telemetry.journal_queries import CLIENT_SUMS
from router.telemetry.journal_store import rows_or_none

MOST_CLIENTS: Final = 20
"""Clients listed by themselves; the rest are added up as OTHERS."""
OTHERS: Final = "others"


def last_day(journal: Journal, now: float) -> dict[str, Any]:
    """Return the costs and savings of the 24 hours before `now`. Reads the store.

    {"cost_usd", "saved_usd", "clients": [{"client", SUMS}, …]}, the most frequent client first.
    SUMS: requests, local, cloud (answers), prompt_tokens, completion_tokens, cost_usd, saved_usd
    and unpriced (cloud answers of unknown cost). `client` is "" where none was named, or where the
    request was private.
    """
    rows = rows_or_none(journal.store, journal.store.sql.clients, now - DAY_S)
    clients = [{"client": name} | _sums(sums) for name, *sums in rows]
    if len(clients) > MOST_CLIENTS:
        rest = clients[MOST_CLIENTS:]
        added = {name: sum(client[name] for client in rest) for name in CLIENT_SUMS}
        clients = [*clients[:MOST_CLIENTS], {"client": OTHERS} | added]
    return {
        "cost_usd": sum(client["cost_usd"] for client in clients),
        "saved_usd": sum(client["saved_usd"] for client in clients),
        "clients": clients,
    }


def _sums(row: list[Any]) -> dict[str, Any]:
    found = dict(zip(CLIENT_SUMS, (amount or 0 for amount in row), strict=True))
    return found | {name: int(found[name]) for name in ("prompt_tokens", "completion_tokens")}
