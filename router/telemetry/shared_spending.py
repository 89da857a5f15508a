"""Counts today's cost of the cloud in all routers that share a store.

Each router writes its whole amount of the day for each caller, under its own id. So a repeated
write counts once, also after the store has lost its data.
"""

import secrets
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from hashlib import blake2b
from typing import Final

from router.state.shared import Store
from router.telemetry.record import Record

KEPT_S: Final = 2 * 86_400
ROUTER_BYTES: Final = 8
NAME_BYTES: Final = 8
SPENT: Final = b"spent:"


class SharedSpending:
    """Counts this router's costs, and adds those of the others."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._router = secrets.token_bytes(ROUTER_BYTES)
        self._day = self._today()
        self._own: defaultdict[bytes, float] = defaultdict(float)
        self._others: dict[bytes, float] = {}
        store.on_return("spending", self._renew)
        store.every_look("spending", self._follow)

    def add(self, record: Record) -> None:
        """Count the cost of a request."""
        if record.cost_usd:
            self._turn_day()
            name = _digest(record.caller)
            self._own[name] += record.cost_usd
            self._write(name)

    def today_usd(self, caller: str | None = None) -> float:
        """Return what was spent since local midnight, by everyone or by one caller.

        The journal may know of more: what was spent before there was a store.
        """
        self._turn_day()
        if caller is None:
            return sum(self._own.values()) + sum(self._others.values())
        name = _digest(caller)
        return self._own.get(name, 0.0) + self._others.get(name, 0.0)

    def _write(self, name: bytes) -> None:
        amount = repr(self._own[name]).encode()
        self._store.put_field(self._day, self._router + name, amount, KEPT_S)

    def _renew(self) -> None:
        for name in self._own:
            self._write(name)

    async def _follow(self) -> None:
        """Read what the others have spent; on failure the last figures stay."""
        self._turn_day()
        day = self._day
        fields = await self._store.fields(day)
        if fields is None or day != self._day:
            return
        others: defaultdict[bytes, float] = defaultdict(float)
        for field, amount in fields.items():
            if not field.startswith(self._router):
                others[field[ROUTER_BYTES:]] += float(amount)
        if not self._store.is_complete:  # it may have lost amounts that come again
            for name, usd in self._others.items():
                others[name] = max(others[name], usd)
        self._others = others

    def _turn_day(self) -> None:
        day = self._today()
        if day != self._day:
            self._day = day
            self._own.clear()
            self._others = {}

    def _today(self) -> bytes:
        return SPENT + datetime.fromtimestamp(self._clock()).date().isoformat().encode()


def _digest(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=NAME_BYTES).digest()
