"""A bounded queue in front of a server that can only do a few requests at a time."""

import asyncio
from collections import deque
from types import TracebackType


class QueueFull(Exception):
    """The queue is full."""


class Slot:
    """The right to have one request answered; give it back once, in whatever way it ended."""

    __slots__ = ("_slots",)

    def __init__(self, slots: "Slots") -> None:
        self._slots: Slots | None = slots

    def release(self) -> None:
        """Give it back; doing so again does nothing."""
        if self._slots is not None:
            slots, self._slots = self._slots, None
            slots._give_back()

    def __enter__(self) -> "Slot":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class Slots:
    """At most `limit` requests at a time (None: any number); at most `queue` more may wait, and
    those that have nowhere else to go.

    Requests are served in order of arrival, those of people ahead of those that programs make on
    their own. A person who finds the queue full takes the place of the program that came last.

        with await slots.acquire():
            ...
    """

    def __init__(self, limit: int | None, queue: int) -> None:
        self._limit = limit
        self._queue = queue
        self._busy = 0
        self._people: deque[asyncio.Future[None]] = deque()
        self._programs: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int | None:
        return self._limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        """A lower limit does not touch what runs; a higher one lets waiting ones in."""
        self._limit = limit
        self._let_in()

    @property
    def busy(self) -> int:
        """Requests that have a slot."""
        return self._busy

    @property
    def free(self) -> int | None:
        """Slots that are left; None where there is no limit."""
        return None if self._limit is None else max(0, self._limit - self._busy)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._people) + len(self._programs)

    @property
    def full(self) -> bool:
        """Would a person's request be turned away now?"""
        return (
            self._limit is not None
            and self._busy >= self._limit
            and len(self._people) >= self._queue
        )

    async def acquire(self, *, background: bool = False, patient: bool = False) -> Slot:
        """Wait for a slot. Raises QueueFull; cancelling gives up the place in the queue.

        `patient`: there is nobody else to ask, so it waits behind a full queue too.
        """
        if self._limit is None or self._busy < self._limit:
            self._busy += 1
            return Slot(self)
        if not patient:
            self._make_room(background)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._programs if background else self._people
        line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in line:
                line.remove(turn)
            elif not turn.cancelled() and turn.exception() is None:
                # The slot came in the same moment in which the caller left.
                self._give_back()
            raise
        return Slot(self)

    def _make_room(self, background: bool) -> None:
        if self.waiting < self._queue:
            return
        if background or not self._programs:
            raise QueueFull(f"{self._busy} requests are running and {self.waiting} wait.")
        last = self._programs.pop()
        if not last.cancelled():
            last.set_exception(QueueFull("A more urgent request took its place in the queue."))

    def _give_back(self) -> None:
        self._busy -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self.waiting and (self._limit is None or self._busy < self._limit):
            turn = (self._people or self._programs).popleft()
            if not turn.cancelled():
                self._busy += 1
                turn.set_result(None)
