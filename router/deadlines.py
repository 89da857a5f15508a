"""Time limits that cost nothing until they are over.

`asyncio.timeout` sets a timer of the event loop each time: on a relay that would be a tenth of all
the work. Here one timer looks after every limit, ten times a second, so a limit may be over up to
`TICK_S` late.
"""

import asyncio
import logging
from types import TracebackType
from typing import Final, Protocol, Self

TICK_S: Final = 0.1

log = logging.getLogger("router")


class Limit(Protocol):
    """Something that may take until a time of the loop's clock, which may change meanwhile."""

    @property
    def until(self) -> float: ...
    def expire(self) -> None:
        """The time is over. Called once; it is watched no more then."""


class within:
    """Raise TimeoutError in the current task if it waits in the block for more than `seconds`.

    with within(30):
        await something()
    """

    __slots__ = ("_cancelling", "_expired", "_seconds", "_task", "_ticker", "until")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._expired = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._ticker = ticker_of(asyncio.get_running_loop())
        self.restart(self._seconds)
        self._ticker.watch(self)
        return self

    def restart(self, seconds: float) -> None:
        """So many seconds from now."""
        self.until = self._ticker.loop.time() + seconds

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ticker.forget(self)
        if (
            self._expired
            and self._task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error

    @property
    def expired(self) -> bool:
        """Was it this limit that ended the block?"""
        return self._expired

    def expire(self) -> None:
        """The time is over."""
        self._expired = True
        self._task.cancel()


class Ticker:
    """Watches the limits of one event loop; ticks while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._open: set[Limit] = set()
        self._ticking = False

    def watch(self, limit: Limit) -> None:
        self._open.add(limit)
        if not self._ticking:
            self._ticking = True
            self.loop.call_later(TICK_S, self._tick)

    def forget(self, limit: Limit) -> None:
        self._open.discard(limit)

    def _tick(self) -> None:
        now = self.loop.time()
        for limit in [limit for limit in self._open if limit.until <= now]:
            if limit in self._open:  # none that was over before has ended it
                self._open.discard(limit)
                try:
                    limit.expire()
                except Exception:
                    log.exception("a fault of ours at a time limit")
        self._ticking = bool(self._open)
        if self._ticking:
            self.loop.call_later(TICK_S, self._tick)


_last: Ticker | None = None


def ticker_of(loop: asyncio.AbstractEventLoop) -> Ticker:
    """The ticker of this loop. Most processes have one loop, so the last one is kept; a second
    ticker of the same loop would do no harm."""
    global _last
    if _last is None or _last.loop is not loop:
        _last = Ticker(loop)
    return _last
