"""A bounded queue in front of a server that can only do a few requests at a time."""

import asyncio
from collections import deque
from types import TracebackType


class QueueFull(Exception):
    """The queue is full."""


class Slot:
    """The right to send one request. Release it when the request has ended."""

    __slots__ = ("_slots",)

    def __init__(self, slots: "Slots") -> None:
        self._slots: Slots | None = slots

    def release(self) -> None:
        """Give the slot back; the second call does nothing."""
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
    """Limits a server to `limit` requests at a time (None: any number), and `queue` that wait.

    Requests are served in order of arrival, those of people before background requests of
    programs. When the queue is full, a person's request replaces the last background request.

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
        """Set the limit. Running requests go on; a higher limit starts waiting ones."""
        self._limit = limit
        self._let_in()

    @property
    def busy(self) -> int:
        """Return the number of requests that have a slot."""
        return self._busy

    @property
    def waiting(self) -> int:
        """Return the number of requests in the queue."""
        return len(self._people) + len(self._programs)

    @property
    def full(self) -> bool:
        """Return whether `acquire` would now raise QueueFull for a person's request."""
        return (
            self._limit is not None
            and self._busy >= self._limit
            and len(self._people) >= self._queue
        )

    async def acquire(self, *, background: bool = False, patient: bool = False) -> Slot:
        """Wait for a slot. Raises QueueFull; cancelling gives up the place in the queue.

        `patient`: no other backend is left to ask, so the request waits behind a full queue too.
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
                # The slot was given in the moment in which the caller left.
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
