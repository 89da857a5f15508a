"""What SHADOW_THRESHOLD would have done, beside what was done."""

from dataclasses import dataclass
from typing import Final

from router.telemetry.journal_file import JournalFile

LATEST: Final = """
    SELECT shadow_threshold FROM requests
    WHERE time >= ? AND shadow_threshold IS NOT NULL ORDER BY time DESC LIMIT 1
"""
COMPARED: Final = """
    SELECT count(*),
           sum(CASE WHEN target = 'local' THEN 1 ELSE 0 END),
           sum(CASE WHEN shadow_target = 'local' THEN 1 ELSE 0 END),
           sum(coalesce(cost_usd, 0)),
           sum(CASE WHEN shadow_target = 'local' THEN 0
                    WHEN target = 'local' THEN coalesce(saved_usd, 0)
                    ELSE coalesce(cost_usd, 0) END)
    FROM requests
    WHERE time >= ? AND shadow_threshold = ? AND outcome != 'failed' AND target IS NOT NULL
"""


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


def shadow_since(file: JournalFile, since: float) -> Shadow | None:
    """Compare the answered requests since then; None where there are none.

    Of several shadow thresholds the latest counts. Raises sqlite3.Error.
    """
    for (threshold,) in file.rows(LATEST, since):
        ((requests, local, shadow_local, cost, shadow_cost),) = file.rows(
            COMPARED, since, threshold
        )
        if requests:
            return Shadow(
                threshold, requests, local / requests, shadow_local / requests, cost, shadow_cost
            )
    return None
