"""Who is up: what was last seen of a backend, and whether to leave it alone for a while."""

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
"""A Retry-After beyond it is cut: a backend must not switch itself off for a day."""
NOT_BLAMED: Final = (BackendRejected, BackendUnfit, NoUsableAnswer)
"""Failures that say something of the request or of the model, not of the backend."""
OLD_TTLS: Final = 3
"""A look this many times its lifetime old is worth waiting for a new one."""

log = logging.getLogger("router")


class Breaker:
    """Leaves a failing backend alone for a growing, bounded, jittered while.

    When the pause is over, one request is let through as a trial: its success closes the breaker,
    its failure doubles the pause. `now` is in seconds of any steady clock.
    """

    def __init__(self, random_: Callable[[], float] = random.random) -> None:
        self._random = random_
        self._failures = 0
        self._until = 0.0
        self._trial_until = 0.0

    def blocks(self, now: float) -> bool:
        """Would a request that starts now be kept away? Does not start the trial."""
        return self._failures > 0 and (now < self._until or now < self._trial_until)

    def enter(self, now: float, longest_s: float) -> None:
        """A request goes to the backend now. After a pause it is the trial: for as long as it
        may take, at most `longest_s`, nobody else is let through."""
        if self._failures:
            self._trial_until = now + longest_s

    def success(self) -> None:
        self._failures = 0
        self._trial_until = 0.0

    def released(self) -> None:
        """The request ended without saying anything of the backend."""
        self._trial_until = 0.0

    def failure(self, now: float, retry_after_s: float | None = None) -> None:
        self._trial_until = 0.0
        if now >= self._until:  # else one of a burst that was under way, which counts once
            self._failures += 1
            pause = min(FIRST_PAUSE_S * 2 ** min(self._failures - 1, 16), LONGEST_PAUSE_S)
            self._until = now + pause * (0.5 + self._random())
        if retry_after_s is not None:
            self._until = max(self._until, now + min(retry_after_s, LONGEST_RETRY_AFTER_S))

    def failed_elsewhere(self, now: float, pause_s: float) -> None:
        """Leave the backend alone as long as another router does."""
        if pause_s > 0:
            self._failures = max(self._failures, 1)
            self._until = max(self._until, now + min(pause_s, LONGEST_RETRY_AFTER_S))

    def state(self, now: float) -> str:
        """ "closed", "open" or "half-open", for people and metrics."""
        if not self._failures:
            return "closed"
        return "open" if now < self._until else "half-open"

    def retry_in_s(self, now: float) -> float:
        return max(0.0, self._until - now) if self._failures else 0.0


class Watch:
    """What was last seen of one backend: a TTL cache with one probe at a time.

    A side that is down is probed again in the background until it is back, so nobody waits for it.
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

    @property
    def last(self) -> Status | None:
        """The last look, however old."""
        return self._status

    @property
    def blocked(self) -> bool:
        return self.breaker.blocks(self._clock())

    @property
    def breaker_state(self) -> str:
        return self.breaker.state(self._clock())

    @property
    def age_s(self) -> float | None:
        """Seconds since the last look."""
        return None if self._status is None else self._clock() - self._seen_at

    @property
    def fresh(self) -> Status | None:
        """The last look, if it is not old."""
        return self._status if self._clock() - self._seen_at <= self._ttl_s else None

    async def status(self) -> Status:
        """What was seen last. The first caller waits for it. An old look is renewed in the
        background; the first request after a long silence waits `patience_s` for that.
        """
        if self._status is None:
            return await self.look()
        if self.fresh is None:
            probe = self._begin()
            if self._patience_s and self._clock() - self._seen_at > OLD_TTLS * self._ttl_s:
                await asyncio.wait({probe}, timeout=self._patience_s)
        return self._status

    async def look(self) -> Status:
        """Probe now, or join the probe that is under way."""
        return await asyncio.shield(self._begin())

    def failed(self, error: BackendError) -> None:
        """A request failed there."""
        if isinstance(error, NOT_BLAMED):
            self.breaker.released()
            return
        now = self._clock()
        self.breaker.failure(now, error.retry_after_s)
        if self.on_breaker is not None:
            self.on_breaker(self.breaker.retry_in_s(now))
        self._begin()

    def failed_elsewhere(self, pause_s: float) -> None:
        """Another router leaves the backend alone for so long."""
        self.breaker.failed_elsewhere(self._clock(), pause_s)

    def entered(self, longest_s: float) -> None:
        self.breaker.enter(self._clock(), longest_s)

    def answered(self) -> None:
        """A request was answered, or the backend is back: no need to wait out a pause."""
        if self.on_breaker is not None and self.breaker_state != "closed":
            self.on_breaker(0)
        self.breaker.success()

    def left(self) -> None:
        """The caller left before the backend had said anything."""
        self.breaker.released()

    async def aclose(self) -> None:
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
        if status.state == "down" and self._again and (self._vigil is None or self._vigil.done()):
            self._vigil = asyncio.create_task(self._until_back())
        return status

    async def _until_back(self) -> None:
        while self._status is not None and self._status.state == "down":
            await asyncio.sleep(self._ttl_s)
            await self.look()
