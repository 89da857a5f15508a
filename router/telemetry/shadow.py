"""Compares shares and costs with those that SHADOW_THRESHOLD would have led to."""

from dataclasses import dataclass

from router.telemetry.journal_store import JournalStore, StoreError


@dataclass(frozen=True, slots=True)
class Shadow:
    """Shares and costs of the same requests: as they were, and at the shadow threshold."""

    threshold: float
    requests: int
    local_share: float
    """0 to 1."""
    shadow_local_share: float
    cost_usd: float
    shadow_cost_usd: float
    """An estimate, where the other side would have answered."""


def shadow_since(store: JournalStore, since: float) -> Shadow | None:
    """Compare the answered requests since then; None where there are none, or none can be read.

    Of several shadow thresholds the latest counts.
    """
    try:
        for (threshold,) in store.rows(store.sql.latest_shadow, since):
            ((requests, local, shadow_local, cost, shadow_cost),) = store.rows(
                store.sql.shadowed, since, threshold
            )
            if requests:
                shares = (local / requests, shadow_local / requests)
                return Shadow(threshold, requests, *shares, cost, shadow_cost)
    except StoreError:
        pass  # an older file has no such columns until a server has written to it
    return None
