"""One of several local servers as the balancer sees it, and the visits of requests there."""

from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Final

from router.deciding.facts import Side
from router.request import CHARS_PER_TOKEN

BLOCK_BYTES: Final = 1024
"""Bytes of a prompt that are compared as one block."""
BLOCK_TOKENS: Final = int(BLOCK_BYTES / CHARS_PER_TOKEN)
UNKNOWN_CACHE_TOKENS: Final = 65_536
"""Size of the prompt cache of a server that does not say with which context it runs."""
MOST_CACHE_BLOCKS: Final = 4096

FIRST_GUESS_S: Final = 0.001
"""Seconds to read a token of a prompt, until a server was measured."""
FIRST_GUESS_TOKENS: Final = 500
"""Weight of that guess, in measured tokens."""
FORGETTING: Final = 0.9
"""Factor on the weight of a measurement for each later one."""
WRITING: Final = 30
"""Time to write a token divided by the time to read one; assumed where only their sum is known."""
FIRST_HOLD_S: Final = 5.0
"""Seconds from the first word to the end of an answer, until a server was measured."""

# Added to the expected wait in seconds, so that a server of a better kind always comes first.
COLD_S: Final = 1e4
FULL_S: Final = 2e4
WEAK_S: Final = 5e4
NO_TOOLS_S: Final = 1e5
BLOCKED_S: Final = 1e6
UNFIT_S: Final = 1e7
DOWN_S: Final = 1e8


class Server:
    """One server as the balancer sees it: its queue, its speed and its prompt cache."""

    def __init__(self, name: str, number: int, *, private: bool, limit: int | None) -> None:
        """Begin with an empty queue and cache.

        `number`: its index in the balancer. `limit`: requests that it gets at a time; None for the
        number that the server reports.
        """
        self.name = name
        self.private = private
        self.running = 0
        self.waiting = 0
        self.wait_s = 0.0
        """Expected seconds until it could begin to read another prompt."""
        self.read_s = FIRST_GUESS_S
        """Seconds to read a token of a prompt."""
        self.bit = 1 << number
        self.blocks: OrderedDict[bytes, None] = OrderedDict()
        self.most_blocks = UNKNOWN_CACHE_TOKENS // BLOCK_TOKENS
        self.side: Side | None = None
        self.grade_s = DOWN_S
        self.room_tokens = inf
        self.sees = True
        self.has_tools = True
        self.limit = limit
        self._own_limit = limit
        self.model = ""
        self._unread_tokens = 0
        self._last_opened_at = -inf
        self._measured_s = FIRST_GUESS_S * FIRST_GUESS_TOKENS
        self._measured_tokens = float(FIRST_GUESS_TOKENS)
        self._hold_s = FIRST_HOLD_S

    @property
    def queue(self) -> int:
        """Return the number of requests that run or wait there."""
        return self.running + self.waiting

    def see(self, side: Side) -> bool:
        """Store a new snapshot; return whether the prompt cache is lost."""
        self.side = side
        model = side.status.model
        if not side.up or model is None:
            self.grade_s = DOWN_S
        elif side.blocked:
            self.grade_s = BLOCKED_S
        elif side.full:
            self.grade_s = FULL_S
        else:
            self.grade_s = COLD_S if side.status.state == "cold" else 0.0
        if model is None:
            return not side.up
        self.room_tokens = inf if model.room_tokens is None else model.room_tokens
        self.sees, self.has_tools = model.vision is not False, model.tools is not False
        self.limit = self._own_limit or model.parallel
        context = model.context_tokens or UNKNOWN_CACHE_TOKENS
        cached = context * (model.parallel or 1) // BLOCK_TOKENS
        self.most_blocks = max(1, min(cached, MOST_CACHE_BLOCKS))
        known, self.model = side.model(self.model), model.id
        self._expect()
        return not side.up or known is None or known.loaded is False

    def arrived(self, tokens: int) -> None:
        """Count a request that waits for a slot; `tokens` are not in the cache."""
        self.waiting += 1
        self._unread_tokens += tokens
        self._expect()

    def started(self) -> None:
        """Count a request that was sent to the server."""
        self.waiting -= 1
        self.running += 1
        self._expect()

    def opened(self, tokens: int, done: int, started_at: float, now: float) -> None:
        """Learn from a first word how long reading takes.

        `tokens` were not in the cache; `done` is what the time is divided by: those tokens, and
        for an answer in one piece also the written ones, in units of read ones (WRITING).
        """
        took_s = now - max(started_at, self._last_opened_at)
        self._last_opened_at = now
        self._measured_s = FORGETTING * self._measured_s + took_s
        self._measured_tokens = FORGETTING * self._measured_tokens + done
        self.read_s = self._measured_s / self._measured_tokens
        self._unread_tokens -= tokens
        self._expect()

    def ended(self, held_s: float) -> None:
        """Note that an answer has ended, `held_s` seconds after its first word."""
        self.running -= 1
        self._hold_s = FORGETTING * self._hold_s + (1 - FORGETTING) * held_s
        self._expect()

    def gave_up(self, tokens: int, *, is_running: bool) -> None:
        """Remove a request that ended before its first word."""
        if is_running:
            self.running -= 1
        else:
            self.waiting -= 1
        self._unread_tokens -= tokens
        self._expect()

    def _expect(self) -> None:
        self.wait_s = self._unread_tokens * self.read_s
        if self.limit is not None:
            ahead = self.running + self.waiting - self.limit + 1
            if ahead > 0:
                self.wait_s += ahead * self._hold_s / self.limit


class Visit:
    """Follows one request at one backend from its choice to its end; this class does nothing."""

    __slots__ = ()

    def started(self) -> None:
        """Note that the request was sent to the server."""

    def opened(self, written_tokens: int = 0) -> None:
        """Note that the answer has begun; `written_tokens`: its length if it came in one piece."""

    def ended(self) -> None:
        """Note that the request is over, answered or not; the second call does nothing."""


NO_VISIT: Final = Visit()


class ServerVisit(Visit):
    """Follows a request at one of several servers."""

    __slots__ = ("_clock", "_opened_at", "_server", "_started_at", "_state", "_tokens")

    def __init__(self, server: Server, tokens: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._server = server
        self._tokens = tokens
        self._state = "waiting"
        self._started_at = self._opened_at = 0.0
        server.arrived(tokens)

    def started(self) -> None:
        self._state = "reading"
        self._started_at = self._clock()
        self._server.started()

    def opened(self, written_tokens: int = 0) -> None:
        self._state = "answering"
        now = self._clock()
        self._opened_at = self._started_at if written_tokens else now
        done = self._tokens + written_tokens * WRITING
        self._server.opened(self._tokens, done, self._started_at, now)

    def ended(self) -> None:
        state, self._state = self._state, "over"
        if state == "answering":
            self._server.ended(self._clock() - self._opened_at)
        elif state != "over":
            self._server.gave_up(self._tokens, is_running=state == "reading")
