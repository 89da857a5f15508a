"""Time limits that share one timer, and blocks that a callback can end.

`asyncio.timeout` sets a timer of the event loop each time, which would be a tenth of all work of
a relay. Here one timer checks every limit ten times a second, so a limit may expire up to
`TICK_S` late.
"""

import asyncio
import logging
from types import TracebackType
from typing import Any, Final, Protocol, Self

TICK_S: Final = 0.1

log = logging.getLogger("router")


class Limit(Protocol):
    """An object with a deadline on the loop's clock; it may change while it is watched."""

    @property
    def until(self) -> float: ...
    def expire(self) -> None:
        """Handle the end of the time. Called once, after the ticker has forgotten the limit."""


class Interruptible:
    """A block of the current task that a callback can end with an exception.

    with Interruptible() as block:
        await something()  # meanwhile, elsewhere: block.interrupt(TimeoutError())

    It works like `asyncio.timeout`: the task is cancelled; at the end of the block the cancellation
    is undone and the exception raised instead. Other cancellations pass through.
    """

    __slots__ = ("_cancelling", "_error", "_given_task", "_task")

    def __init__(self, task: asyncio.Task[Any] | None = None) -> None:
        """Set the task; without one the current task is found, by a system call in Python 3.11."""
        self._given_task = task

    def __enter__(self) -> Self:
        task = self._given_task or asyncio.current_task()
        assert task is not None
        self._task = task
        self._error: Exception | None = None
        self._cancelling = task.cancelling()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if (
            self._error is not None
            and self._task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise self._error from error

    def interrupt(self, error: Exception) -> None:
        """End the block by raising `error` in it. Call this only while the block runs."""
        if self._error is None:
            self._error = error
            self._task.cancel()


class within(Interruptible):
    """Raise TimeoutError in the current task if it waits in the block for more than `seconds`.

    with within(30):
        await something()
    """

    __slots__ = ("_seconds", "_ticker", "until")

    def __init__(self, seconds: float, task: asyncio.Task[Any] | None = None) -> None:
        super().__init__(task)
        self._seconds = seconds

    def __enter__(self) -> Self:
        super().__enter__()
        self._ticker = ticker_of(self._task.get_loop())
        self.restart(self._seconds)
        self._ticker.watch(self)
        return self

    def restart(self, seconds: float) -> None:
        """Set the limit to this many seconds from now."""
        self.until = self._ticker.loop.time() + seconds

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ticker.forget(self)
        super().__exit__(kind, error, traceback)

    @property
    def expired(self) -> bool:
        """Return whether this limit ended the block."""
        return self._error is not None

    def expire(self) -> None:
        """End the block; the ticker calls this when the time is over."""
        self.interrupt(TimeoutError())


class while_idle(Interruptible):
    """Raise TimeoutError if the block waits for about `seconds` while the loop has nothing to do.

    Use it for limits that a busy loop may exceed: data that has arrived meanwhile is still read. It
    sets a timer, so do not use it in frequent code.

    with while_idle(0.1):
        await something()
    """

    __slots__ = ("_loop", "_part_s", "_timer")

    def __init__(self, seconds: float, task: asyncio.Task[Any] | None = None) -> None:
        super().__init__(task)
        self._part_s = seconds / 2

    def __enter__(self) -> Self:
        super().__enter__()
        self._loop = self._task.get_loop()
        # The loop may be busy for all of the first half. It reads its sockets before the second
        # one ends.
        self._timer = self._loop.call_later(self._part_s, self._half)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        super().__exit__(kind, error, traceback)

    def _half(self) -> None:
        self._timer = self._loop.call_later(self._part_s, self.interrupt, TimeoutError())


class Ticker:
    """The timer of one event loop; ticks while there are limits to watch."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._open: set[Limit] = set()
        self._ticking = False

    def watch(self, limit: Limit) -> None:
        """Call `limit.expire()` once its time is over."""
        self._open.add(limit)
        if not self._ticking:
            self._ticking = True
            self.loop.call_later(TICK_S, self._tick)

    def forget(self, limit: Limit) -> None:
        """Stop watching a limit; does nothing if it is not watched."""
        self._open.discard(limit)

    def _tick(self) -> None:
        now = self.loop.time()
        for limit in [limit for limit in self._open if limit.until <= now]:
            if limit in self._open:  # an earlier one may have removed it
                self._open.discard(limit)
                try:
                    limit.expire()
                except Exception:
                    log.exception("internal error at a time limit")
        self._ticking = bool(self._open)
        if self._ticking:
            self.loop.call_later(TICK_S, self._tick)


_last: Ticker | None = None


def ticker_of(loop: asyncio.AbstractEventLoop) -> Ticker:
    """Return the ticker of this loop.

    Only the last loop's ticker is kept: most processes have one loop, and a second ticker of the
    same loop works too.
    """
    global _last
    if _last is None or _last.loop is not loop:
        _last = Ticker(loop)
    return _last
