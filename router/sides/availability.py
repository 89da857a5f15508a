"""The last status of a backend, and a circuit breaker that gives a failing one a pause."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Final

from router.backend import Backend, Status
from router.errors import BackendError, BackendRejected, BackendUnfit, NoUsableAnswer

Clock = Callable[[], float]

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
LONGEST_RETRY_AFTER_S: Final = 600.0
"""A longer Retry-After is cut to this: a backend must not switch itself off for a day."""
NOT_BLAMED: Final = (BackendRejected, BackendUnfit, NoUsableAnswer)
"""Failures caused by the request or by the model; they do not open the breaker."""
OLD_TTLS: Final = 3
"""A status older than this many lifetimes is worth waiting for a new one."""

log = logging.getLogger("router")


class Breaker:
    """A circuit breaker: keeps requests from a failing backend for a pause.

    The pause is random within bounds. When it is over, one request is let through as a trial: its
    success closes the breaker, its failure doubles the pause. `now` is in seconds of any steady
    clock.
    """

    def __init__(self, random_: Callable[[], float] = random.random) -> None:
        self._random = random_
        self._failures = 0
        self._until = 0.0
        self._trial_until = 0.0

    def blocks(self, now: float) -> bool:
        """Return whether a request that starts now must not be sent. Does not start the trial."""
        return self._failures > 0 and (now < self._until or now < self._trial_until)

    def enter(self, now: float, longest_s: float) -> None:
        """Note that a request is sent now. After a pause it is the trial: no other request is let
        through until it ends, for at most `longest_s`."""
        if self._failures:
            self._trial_until = now + longest_s

    def success(self) -> None:
        """Close the breaker."""
        self._failures = 0
        self._trial_until = 0.0

    def released(self) -> None:
        """Note that the request ended without showing whether the backend works."""
        self._trial_until = 0.0

    def failure(self, now: float, retry_after_s: float | None = None) -> None:
        """Begin a pause, at least as long as the backend asked for; the next one is longer."""
        self._trial_until = 0.0
        if now >= self._until:  # a burst of failures counts once
            self._failures += 1
            pause = min(FIRST_PAUSE_S * 2 ** min(self._failures - 1, 16), LONGEST_PAUSE_S)
            self._until = now + pause * (0.5 + self._random())
        if retry_after_s is not None:
            self._until = max(self._until, now + min(retry_after_s, LONGEST_RETRY_AFTER_S))

    def failed_elsewhere(self, now: float, pause_s: float) -> None:
        """Begin the pause that another router gives the backend."""
        if pause_s > 0:
            self._failures = max(self._failures, 1)
            self._until = max(self._until, now + min(pause_s, LONGEST_RETRY_AFTER_S))

    def state(self, now: float) -> str:
        """Return "closed", "open" or "half-open"."""
        if not self._failures:
            return "closed"
        return "open" if now < self._until else "half-open"

    def retry_in_s(self, now: float) -> float:
        return max(0.0, self._until - now) if self._failures else 0.0


class Watch:
    """The status of one backend: a cache with a lifetime, renewed by one probe at a time.

    A backend that is down is probed in the background until it is back, so no request waits.
    """

    def __init__(
        self,
        backend: Backend,
        ttl_s: float,
        clock: Clock = time.monotonic,
        *,
        patience_s: float = 0,
        again: bool = True,
    ) -> None:
        self.backend = backend
        self.breaker = Breaker()
        self.on_breaker: Callable[[float], None] | None = None
        """Is called with the seconds of a new pause, and with 0 when the breaker closes."""
        self._ttl_s = ttl_s
        self._clock = clock
        self._patience_s = patience_s
        self._again = again
        self._status: Status | None = None
        self._seen_at = float("-inf")
        self._probe: asyncio.Task[Status] | None = None
        self._vigil: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def last(self) -> Status | None:
        """Return the last status, however old; None before the first probe has ended."""
        return self._status

    @property
    def blocked(self) -> bool:
        return self.breaker.blocks(self._clock())

    @property
    def breaker_state(self) -> str:
        return self.breaker.state(self._clock())

    @property
    def age_s(self) -> float | None:
        """Return the seconds since the last probe; None before the first."""
        return None if self._status is None else self._clock() - self._seen_at

    @property
    def fresh(self) -> Status | None:
        """Return the last status; None if it is older than its lifetime."""
        return self._status if self._clock() - self._seen_at <= self._ttl_s else None

    async def status(self) -> Status:
        """Return the last status; wait for the first one.

        An old status is renewed in the background. The first request after a long silence waits
        up to `patience_s` for that.
        """
        if self._status is None:
            return await self.look()
        if self.fresh is None and not self._is_closed:
            probe = self._begin()
            if self._patience_s and self._clock() - self._seen_at > OLD_TTLS * self._ttl_s:
                await asyncio.wait({probe}, timeout=self._patience_s)
        return self._status

    async def look(self) -> Status:
        """Return a new status: probe now, or join the probe that is under way.

        A closed watch probes no more.
        """
        if self._is_closed:
            return self._status or Status("down")
        return await asyncio.shield(self._begin())

    def failed(self, error: BackendError) -> None:
        """Note that a request failed; if the backend caused it, begin a pause and probe it."""
        if isinstance(error, NOT_BLAMED):
            self.breaker.released()
            return
        now = self._clock()
        self.breaker.failure(now, error.retry_after_s)
        if self.on_breaker is not None:
            self.on_breaker(self.breaker.retry_in_s(now))
        if not self._is_closed:
            self._begin()

    def failed_elsewhere(self, pause_s: float) -> None:
        """Note that another router gives the backend a pause of this length."""
        self.breaker.failed_elsewhere(self._clock(), pause_s)

    def entered(self, longest_s: float) -> None:
        self.breaker.enter(self._clock(), longest_s)

    def answered(self) -> None:
        """Close the breaker: a request was answered, or the backend is back."""
        if self.on_breaker is not None and self.breaker_state != "closed":
            self.on_breaker(0)
        self.breaker.success()

    def left(self) -> None:
        """Note that the caller left before the backend had answered."""
        self.breaker.released()

    async def aclose(self) -> None:
        """End the probes. A probe that ends meanwhile begins no other."""
        self._is_closed = True
        for task in (self._vigil, self._probe):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _begin(self) -> "asyncio.Task[Status]":
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._look())
        return self._probe

    async def _look(self) -> Status:
        before = self._status
        status = await self.backend.probe()
        self._status, self._seen_at = status, self._clock()
        if before is not None and before.in_words() != status.in_words():
            level = logging.INFO if status.up and status.model else logging.WARNING
            log.log(level, "%s: %s", self.backend.name, status.in_words(before))
        if before is not None and before.state != "ready" == status.state:
            self.answered()
        is_watched = self._vigil is not None and not self._vigil.done()
        if status.state == "down" and self._again and not (is_watched or self._is_closed):
            self._vigil = asyncio.create_task(self._until_back())
        return status

    async def _until_back(self) -> None:
        while self._status is not None and self._status.state == "down":
            await asyncio.sleep(self._ttl_s)
            await self.look()
