"""Comments that keep a stream's connection open while no backend has anything to say."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from router.deadlines import ticker_of


class KeepAlive:
    """Watches one stream: sends comments into a silence, notices a caller that stopped reading.

    It runs on the shared ticker; a task exists only while a comment is being sent.
    """

    __slots__ = (
        *("_after_s", "_comment", "_finishing", "_loop", "_on_stall", "_sending", "_stall_s"),
        *("_ticker", "sent_at", "until"),
    )

    def __init__(
        self,
        comment: Callable[[], Coroutine[Any, Any, None]],
        on_stall: Callable[[], None],
        *,
        after_s: float,
        stall_s: float,
    ) -> None:
        """Begin to watch.

        `comment` sends a comment after `after_s` without a byte. `on_stall` is called when the
        caller has read nothing for `stall_s`.
        """
        self._comment = comment
        self._on_stall = on_stall
        self._after_s = after_s
        self._stall_s = stall_s
        self._loop = asyncio.get_running_loop()
        self._ticker = ticker_of(self._loop)
        self._sending: asyncio.Task[None] | None = None
        self._finishing = False
        self.sent_at = self._loop.time()
        """Time of the last byte sent, on the loop's clock; the sender sets it."""
        self.until = self.sent_at + after_s
        """Time of the next check."""
        self._ticker.watch(self)

    async def settle(self) -> None:
        """Wait for the comment that is being sent, if there is one."""
        if self._sending is not None and not self._sending.done():
            await asyncio.wait((self._sending,))

    async def finish(self) -> None:
        """Send no more comments; watch only for a caller that stopped reading."""
        self._finishing = True
        await self.settle()

    def stop(self) -> None:
        """Stop watching."""
        self._ticker.forget(self)

    def expire(self) -> None:
        """Check for a silence or a stall, and set the time of the next check."""
        now = self._loop.time()
        silent_s = now - self.sent_at
        if self._finishing or (self._sending is not None and not self._sending.done()):
            if silent_s >= self._stall_s:
                self._on_stall()
                return
            silent_s = 0
        elif silent_s >= self._after_s:
            self._sending = self._loop.create_task(self._comment())
            silent_s = 0
        self.until = now + self._after_s - silent_s
        self._ticker.watch(self)
