"""Counts today's cost of the cloud, in all and for each member of a team."""

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from router.telemetry.record import Record


class Spending:
    """Adds the spending of this process to that in the journal's store, for one day at a time.

    `add` and `today_usd` are for the event loop, `written` and `seen` for the journal's thread.
    """

    def __init__(self, now: float) -> None:
        self._lock = threading.Lock()
        self._begin_day(now)

    def _begin_day(self, now: float) -> None:
        """Forget what was spent before: rows that were lost must not count on each later day."""
        self._since, self._until = day_of(now)
        self._added: defaultdict[str, float] = defaultdict(float)
        self._written: defaultdict[str, float] = defaultdict(float)
        self._stored: Mapping[str, float] = {}
        """USD in the journal's store, of all processes, by caller."""
        self._included: Mapping[str, float] = {}
        """The part of `_added` that `_stored` includes, by caller."""

    def add(self, record: Record, now: float) -> None:
        """Count the cost of a request, for the day on which it began."""
        if record.cost_usd:
            with self._lock:
                self._turn_day(now)
                if record.time >= self._since:
                    self._added[record.caller] += record.cost_usd

    def today_usd(self, now: float, caller: str | None = None) -> float:
        """Return what was spent since local midnight, by everyone or by one caller."""
        with self._lock:
            self._turn_day(now)
            parts = (self._stored, self._added, self._included)
            if caller is None:
                stored, added, included = (sum(part.values()) for part in parts)
            else:
                stored, added, included = (part.get(caller, 0.0) for part in parts)
            return stored + added - included

    def written(self, records: Iterable[Record]) -> None:
        """Note that these records are in the store now."""
        with self._lock:
            for record in records:
                if record.cost_usd and record.time >= self._since:
                    self._written[record.caller] += record.cost_usd

    def seen(self, rows: Iterable[tuple[str, float]], now: float) -> None:
        """Store the journal's figures of the day of `now`: the rows of Queries.spent."""
        with self._lock:
            if now >= self._until:
                self._begin_day(now)
            if now >= self._since:  # else they were read before midnight
                self._stored, self._included = dict(rows), dict(self._written)

    def _turn_day(self, now: float) -> None:
        """Begin a new day; where the clock was set back, go back without forgetting anything."""
        if now >= self._until:
            self._begin_day(now)
        elif now < self._since:
            self._since, self._until = day_of(now)


def day_of(now: float) -> tuple[float, float]:
    """Return the local midnights before and after."""
    midnight = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight.timestamp(), (midnight + timedelta(days=1)).timestamp()
