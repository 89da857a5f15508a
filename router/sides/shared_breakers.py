"""Shares breakers: a backend that fails for one router gets a pause from the others too."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from router.sides.availability import Watch
from router.state.shared import Store

BREAKER: Final = b"breaker:"
SHORTEST_S: Final = 1
"""The store counts in seconds."""


class SharedBreakers:
    """Writes to the store when a backend fails, and reads which ones fail for other routers."""

    def __init__(
        self,
        store: Store,
        watches: Mapping[bytes, Watch],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Follow the store, and tell it what the watches see.

        `watches`: of the backends that are the same for all routers, by a digest of each. `clock`:
        seconds that all routers count alike.
        """
        self._store = store
        self._watches = watches
        self._clock = clock
        self._own: dict[bytes, bytes] = {}
        """The last pause that this router has written, by digest."""
        for digest, watch in watches.items():
            watch.on_breaker = partial(self._tell, digest)
        store.every_look("breakers", self._follow)

    def _tell(self, digest: bytes, pause_s: float) -> None:
        """Write that a backend gets a pause of this length; 0: the pause is over."""
        if pause_s > 0:
            until = self._own[digest] = repr(self._clock() + pause_s).encode()
            self._store.put(BREAKER + digest, until, max(SHORTEST_S, round(pause_s)))
        else:
            self._store.drop(BREAKER + digest)

    async def _follow(self) -> None:
        values = await self._store.ask([BREAKER + digest for digest in self._watches])
        for (digest, watch), until in zip(self._watches.items(), values or (), strict=False):
            # Its own pause may be over already, while the store does not know it yet.
            if until is not None and until != self._own.get(digest):
                watch.failed_elsewhere(float(until) - self._clock())
