"""Time limits that cost nothing until they are over.

`asyncio.timeout` sets a timer of the event loop each time: on a relay that would be a tenth of all
the work. Here one timer looks after every limit, ten times a second, so a limit may be over up to
`TICK_S` late.
"""

import asyncio
from types import TracebackType
from typing import Final, Self

TICK_S: Final = 0.1


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
        self._ticker = _ticker_of(asyncio.get_running_loop())
        self.restart()
        self._ticker.watch(self)
        return self

    def restart(self) -> None:
        """Count the seconds from now."""
        self.until = self._ticker.loop.time() + self._seconds

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ticker.open.discard(self)
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
        self._ticker.open.discard(self)
        self._expired = True
        self._task.cancel()


class _Ticker:
    """The open limits of one event loop; ticks while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.open: set[within] = set()
        self._ticking = False

    def watch(self, limit: within) -> None:
        self.open.add(limit)
        if not self._ticking:
            self._ticking = True
            self.loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        now = self.loop.time()
        for limit in [limit for limit in self.open if limit.until <= now]:
            limit.expire()
        self._ticking = bool(self.open)
        if self._ticking:
            self.loop.call_later(TICK_S, self._tick)


_last: _Ticker | None = None


def _ticker_of(loop: asyncio.AbstractEventLoop) -> _Ticker:
    """The ticker of this loop. Most processes have one loop, so the last one is kept; a second
    ticker of the same loop would do no harm."""
    global _last
    if _last is None or _last.loop is not loop:
        _last = _Ticker(loop)
    return _last
