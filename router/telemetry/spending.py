"""Counts today's cost of the cloud, in all and for each member of a team."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from router.telemetry.record import Record


class _Seen(NamedTuple):
    until: float
    """The midnight that ends the day."""
    usd: Mapping[str, float]
    """USD in the journal's store, of all processes, by caller."""
    written: Mapping[str, float]
    """The part of `Spending._added` that `usd` includes, by caller."""


class Spending:
    """Adds the spending of this process to that in the journal's store.

    `add` and `today_usd` are for the event loop, `written` and `seen` for the journal's thread.
    """

    def __init__(self, now: float) -> None:
        self._added: defaultdict[str, float] = defaultdict(float)
        self._written: defaultdict[str, float] = defaultdict(float)
        self._seen = _Seen(day_of(now)[1], {}, {})

    def add(self, record: Record) -> None:
        """Count the cost of a request."""
        if record.cost_usd:
            self._turn_day(record.time)
            self._added[record.caller] += record.cost_usd

    def today_usd(self, now: float, caller: str | None = None) -> float:
        """Return what was spent since local midnight, by everyone or by one caller."""
        self._turn_day(now)
        _, usd, written = self._seen
        if caller is None:
            return sum(usd.values()) + sum(self._added.values()) - sum(written.values())
        return usd.get(caller, 0.0) + self._added.get(caller, 0.0) - written.get(caller, 0.0)

    def written(self, records: Iterable[Record]) -> None:
        """Note that these records are in the store now."""
        for record in records:
            self._written[record.caller] += record.cost_usd or 0.0

    def seen(self, rows: Iterable[tuple[str, float]], now: float) -> None:
        """Store the journal's figures of today: the rows of Queries.spent."""
        self._seen = _Seen(day_of(now)[1], dict(rows), dict(self._written))

    def _turn_day(self, now: float) -> None:
        if now >= self._seen.until:
            self._seen = _Seen(day_of(now)[1], {}, dict(self._added))


def day_of(now: float) -> tuple[float, float]:
    """Return the local midnights before and after."""
    midnight = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight.timestamp(), (midnight + timedelta(days=1)).timestamp()
