"""A filter of decisions by side, reason and client."""

from dataclasses import dataclass
from typing import Final, Literal

from router.telemetry.log_line import client_name
from router.telemetry.record import Record

Side = Literal["local", "cloud", "none"]
"""The side that answered; "none": the request failed, or no side was asked."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter; what is None is not asked for."""

    side: Side | None = None
    reason: str | None = None
    client: str | None = None

    def has(self, record: Record) -> bool:
        """Return whether a record is wanted."""
        side = "none" if record.outcome == "failed" else record.target or "none"
        return (
            self.side in (None, side)
            and self.reason in (None, record.reason)
            and self.client in (None, client_name(record.user_agent))
        )


EVERYTHING: Final = Wanted()
