"""Simulates a fleet of local servers and its callers, as discrete events.

A simulated server has a few slots; further requests wait in its queue. It reads one prompt at a
time and skips the beginning that its prompt cache holds. Answers that are written at the same time
slow each other down. A full cache drops the blocks that were unused for longest.
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from random import Random
from typing import Final, Protocol

from router.sides.pooled_server import BLOCK_TOKENS

SHARING: Final = 0.15
"""Share by which each further answer slows a server's answers down."""
CONNECT_S: Final = 0.002
REFUSED_S: Final = 0.05
"""How long it takes to notice that a server is gone."""
NOTICED_S: Final = 3.0
"""How long it takes to notice that a server is back: STATUS_TTL_S."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of machine, in tokens a second of one request alone."""

    name: str
    reading: float
    writing: float
    slots: int
    cache_tokens: int


KINDS: Final = (
    Kind("gpu", 3_000, 60, 8, 131_072),
    Kind("older gpu", 1_500, 40, 4, 65_536),
    Kind("studio", 900, 35, 4, 131_072),
    Kind("laptop", 500, 20, 2, 32_768),
)
"""Assumed speeds, typical of a 14B model in 4 bits on such machines; not measured here."""
SLOW: Final = 2.0
"""Factor by which the slow server is slower than others of its kind."""


class Clock:
    """Simulated time and the actions that are due."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Schedule an action."""
        heapq.heappush(self._due, (self.now + seconds, next(self._order), act))

    def run(self) -> None:
        """Run the actions in order of time until none is left."""
        while self._due:
            self.now, _, act = heapq.heappop(self._due)
            act()


@dataclass(eq=False, slots=True)
class Request:
    """One request of a conversation. `blocks` are of its prompt."""

    conversation: int
    prompt_tokens: int
    answer_tokens: int
    blocks: list[bytes]
    answer_blocks: list[bytes]
    arrived: float = 0.0
    first_word: float = 0.0
    cached_tokens: int = 0
    done: Callable[[], None] = lambda: None


class Policy(Protocol):
    """Chooses servers by their numbers, and is notified of the requests' progress."""

    def choose(self, request: Request) -> int:
        """Return the server for a request."""

    def began(self, request: Request) -> None:
        """Note a first word."""

    def ended(self, request: Request) -> None:
        """Note an end, also that of a request that failed before its first word."""

    def failed(self, number: int) -> None:
        """Note that a server is gone."""

    def back(self, number: int) -> None:
        """Note that a server is back."""


class SimulatedServer:
    """One server of the fleet."""

    def __init__(self, kind: Kind, clock: Clock, slowness: float = 1.0) -> None:
        self.kind = kind
        self.up = True
        self._clock = clock
        self._reading = kind.reading / slowness
        self._writing = kind.writing / slowness
        self._most_blocks = kind.cache_tokens // BLOCK_TOKENS
        self._cache: OrderedDict[bytes, None] = OrderedDict()
        self._queue: deque[tuple[Request, Listener]] = deque()
        self._running: dict[Request, Listener] = {}
        self._answering = 0
        self._free_at = 0.0
        self._life = 0

    def send(self, request: Request, listener: "Listener") -> None:
        """Take a request, or refuse it when the server is gone."""
        if not self.up:
            self._clock.after(REFUSED_S, lambda: listener.refused(request))
            return
        self._queue.append((request, listener))
        self._serve()

    def die(self) -> None:
        """Stop: all requests fail, and the cache is lost."""
        self.up = False
        self._life += 1
        lost = [*self._running.items(), *self._queue]
        self._running.clear()
        self._queue.clear()
        self._cache.clear()
        self._answering = 0
        self._free_at = 0.0
        for request, listener in lost:
            if request.first_word:
                listener.ended(request)
            else:
                listener.refused(request)

    def _serve(self) -> None:
        while self._queue and len(self._running) < self.kind.slots:
            self._read(*self._queue.popleft())

    def _read(self, request: Request, listener: "Listener") -> None:
        self._running[request] = listener
        request.cached_tokens = self._known_tokens(request)
        unread = request.prompt_tokens - request.cached_tokens
        starts = max(self._clock.now, self._free_at)
        self._free_at = starts + unread / self._reading + CONNECT_S
        life, lasts_s = self._life, self._free_at - self._clock.now
        self._clock.after(lasts_s, lambda: self._answer(request, listener, life))

    def _answer(self, request: Request, listener: "Listener", life: int) -> None:
        if life != self._life:
            return
        self._keep(request.blocks)
        self._answering += 1
        request.first_word = self._clock.now
        listener.began(request)
        slowed = 1 + SHARING * (self._answering - 1)
        took_s = request.answer_tokens * slowed / self._writing
        self._clock.after(took_s, lambda: self._end(request, listener, life))

    def _end(self, request: Request, listener: "Listener", life: int) -> None:
        if life != self._life:
            return
        self._keep(request.answer_blocks)
        self._answering -= 1
        del self._running[request]
        listener.ended(request)
        self._serve()

    def _known_tokens(self, request: Request) -> int:
        known = 0
        for block in request.blocks:
            if block not in self._cache:
                break
            self._cache.move_to_end(block)
            known += 1
        return min(known * BLOCK_TOKENS, request.prompt_tokens - 1)

    def _keep(self, blocks: list[bytes]) -> None:
        for block in blocks:
            self._cache[block] = None
            self._cache.move_to_end(block)
        while len(self._cache) > self._most_blocks:
            self._cache.popitem(last=False)


class Listener(Protocol):
    """Is notified by a server of a request's progress."""

    def began(self, request: Request) -> None:
        """Note the first word."""

    def ended(self, request: Request) -> None:
        """Note the end of the answer."""

    def refused(self, request: Request) -> None:
        """Note that the server is gone; the request had no first word."""


@dataclass(slots=True)
class Outcome:
    """The waits, cache hits and refusals that callers saw."""

    waits_s: list[float] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    refusals: int = 0

    @property
    def hits(self) -> float:
        """Return the share of prompt tokens that came from a cache."""
        return self.cached_tokens / max(1, self.prompt_tokens)

    def percentile_s(self, percent: float) -> float:
        """Return the wait for the first word that so many percent of the requests stay below."""
        ordered = sorted(self.waits_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Fleet:
    """The servers, and a policy that chooses among them."""

    def __init__(self, size: int, clock: Clock, kinds: Sequence[Kind] = KINDS) -> None:
        """Make the servers, of these kinds in turn; the middle one is slow."""
        self.clock = clock
        self.servers = [
            SimulatedServer(kind, clock, SLOW if number == size // 2 else 1.0)
            for number, kind in enumerate(islice(cycle(kinds), size))
        ]
        self.outcome = Outcome()
        self.policy: Policy
        self._at: dict[Request, int] = {}

    def begin(self, request: Request) -> None:
        """Send a new request to the server that the policy chooses."""
        request.arrived = self.clock.now
        self._send(request)

    def kill(self, number: int, for_s: float) -> None:
        """Stop a server now and start it again later."""
        self.servers[number].die()

        def revive() -> None:
            self.servers[number].up = True
            self.clock.after(NOTICED_S, lambda: self.policy.back(number))

        self.clock.after(for_s, revive)

    def began(self, request: Request) -> None:
        """Note a first word."""
        self.outcome.waits_s.append(request.first_word - request.arrived)
        self.outcome.prompt_tokens += request.prompt_tokens
        self.outcome.cached_tokens += request.cached_tokens
        self.policy.began(request)

    def ended(self, request: Request) -> None:
        """Note the end of a request, and let its caller begin the next turn."""
        self.policy.ended(request)
        self._at.pop(request)
        request.done()

    def refused(self, request: Request) -> None:
        """Ask another server in place of one that is gone."""
        self.outcome.refusals += 1
        self.policy.ended(request)
        self.policy.failed(self._at[request])
        self._send(request)

    def _send(self, request: Request) -> None:
        number = self.policy.choose(request)
        self._at[request] = number
        self.servers[number].send(request, self)


class Callers:
    """Conversations that begin at random: agents, chats, and programs that send bursts."""

    def __init__(self, fleet: Fleet, conversations: int, every_s: float, seed: int) -> None:
        """Schedule the conversations. `every_s`: mean seconds between the starts of two."""
        self._fleet = fleet
        self._random = Random(seed)
        self._ids = count()
        self._blocks = count()
        self._systems = {
            "agent": [self._new_blocks(6_000) for _ in range(4)],
            "chat": [self._new_blocks(600) for _ in range(6)],
            "burst": [self._new_blocks(2_000) for _ in range(4)],
        }
        at = 0.0
        for _ in range(conversations):
            at += self._random.expovariate(1 / every_s)
            fleet.clock.after(at, self._arrival())
        self.lasts_s = at

    def _arrival(self) -> Callable[[], None]:
        draw = self._random.random()
        if draw < 0.25:
            return self._conversation("agent", 20, (400, 1_200), (40, 250), 2.0)
        if draw < 0.85:
            turns = self._random.randint(1, 8)
            return self._conversation("chat", turns, (40, 600), (100, 400), 25.0)
        together = [
            self._conversation("burst", 1, (500, 3_000), (30, 120), 0.0)
            for _ in range(self._random.randint(8, 24))
        ]

        def burst() -> None:
            for begin in together:
                begin()

        return burst

    def _conversation(
        self,
        kind: str,
        turns: int,
        adds: tuple[int, int],
        answers: tuple[int, int],
        pause_s: float,
    ) -> Callable[[], None]:
        """Return a function that begins a conversation; each turn repeats the earlier ones."""
        number, draw = next(self._ids), self._random
        prompt = list(draw.choice(self._systems[kind]))
        script = [(draw.randint(*adds), draw.randint(*answers)) for _ in range(turns)]
        pauses: Iterator[float] = iter(
            [draw.expovariate(1 / pause_s) if pause_s else 0.0 for _ in script]
        )
        steps = iter(script)

        def turn() -> None:
            step = next(steps, None)
            if step is None:
                return
            added, answer_tokens = step
            prompt.extend(self._new_blocks(added))
            answer = self._new_blocks(answer_tokens)
            request = Request(
                number, len(prompt) * BLOCK_TOKENS, answer_tokens, list(prompt), answer
            )
            prompt.extend(answer)
            request.done = lambda: self._fleet.clock.after(next(pauses), turn)
            self._fleet.begin(request)

        return turn

    def _new_blocks(self, tokens: int) -> list[bytes]:
        """Return new blocks for about so many tokens."""
        whole = max(1, round(tokens / BLOCK_TOKENS))
        return [b"%d" % next(self._blocks) for _ in range(whole)]
