"""Which decisions are wanted: those of one side, with one reason, of one client."""

from dataclasses import dataclass
from typing import Final, Literal

from router.telemetry.log_line import client_name
from router.telemetry.record import Record

Side = Literal["local", "cloud", "none"]
"""The side that answered; "none": the request failed, or no side was asked."""

_NAME_SQL: Final = (
    "substr(user_agent, 1, min(instr(user_agent || ' ', ' '), instr(user_agent || '/', '/')) - 1)"
)
CLIENT_SQL: Final = f"CASE {_NAME_SQL} WHEN 'Mozilla' THEN 'browser' ELSE {_NAME_SQL} END"
"""The client's name as `client_name` returns it."""
SIDE_SQL: Final = "CASE outcome WHEN 'failed' THEN 'none' ELSE coalesce(target, 'none') END"


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

    def sql(self) -> tuple[str, list[str]]:
        """Return the same as an SQL condition and its parameters."""
        columns = {SIDE_SQL: self.side, "reason": self.reason, CLIENT_SQL: self.client}
        asked = {column: value for column, value in columns.items() if value is not None}
        return " AND ".join(f"{column} = ?" for column in asked) or "1", [*asked.values()]


EVERYTHING: Final = Wanted()
