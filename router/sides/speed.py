"""How long a local server takes to its first word: learned from the answers that it has given.

Seconds to read a prompt = overhead + seconds a token x tokens that are not in its cache. Both are
fitted anew with every streamed answer, older ones counting less, relative errors counting alike.
Who waits for a slot waits for those before it to read and to write. Token counts are estimates
(`request.size_tokens`), here as there, so that their error cancels out.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from router.request import ChatRequest, message_tokens
from router.sides.pool import NO_VISIT, Visit

USUAL_OVERHEAD_S: Final = 0.2
USUAL_S_PER_TOKEN: Final = 0.001
"""What is assumed before anything is known; the first answers outweigh it."""
ASSUMED_WORTH: Final = 0.05
"""How many answers the assumption is worth."""
KEEPS: Final = 0.97
"""What an answer's weight becomes with each further one."""
LEAST_S: Final = 0.05
"""Times under it are as good as equal."""
MOST_WRITING: Final = 30
"""Answers by which the time of writing one is judged."""
CACHE_KEEPS: Final = 0.8
MISSED_TIMES: Final = 2.0
LEAST_WHOLE: Final = 3
"""A prompt that should be in the cache, and takes MISSED_TIMES as long as expected and nearer to
the time of a whole one, was not there; known once so many were read as a whole."""
LEAST_LEFT: Final = 0.1
"""Share of its expected time that a running answer takes at least, however late it is."""
MOST_MODELS: Final = 50


@dataclass(frozen=True, slots=True)
class Past:
    """A streamed answer of the past. `new_tokens`: what was not in the server's cache."""

    model: str
    new_tokens: int
    first_word_s: float
    writing_s: float


class Speed:
    """How fast one local server reads and writes, and who is being answered or waits.

    `clock` is in seconds of any steady clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rates: dict[str, Rates] = {}
        self._turns: dict[Turn, None] = {}
        """Under way, in order of arrival."""

    def first_word_s(
        self, model: str, new_tokens: int, all_tokens: int, limit: int | None = None
    ) -> float | None:
        """Estimate the seconds to the first word of a request that came now.

        `limit`: requests that the server works on at a time. None while nothing is known.
        """
        rates = self._rates.get(model)
        if rates is None:
            return None
        return self._wait_s(limit) + rates.reading_s(new_tokens, all_tokens)

    def turn(self, model: str, new_tokens: int, all_tokens: int, visit: Visit = NO_VISIT) -> "Turn":
        """Begin a request; it waits until `Turn.started`, and must be ended.

        `visit` hears the same for the balancer, where there are several servers.
        """
        rates = self._rates.get(model)
        expected = rates.whole_s(new_tokens, all_tokens) if rates is not None else None
        turn = Turn(self, model, new_tokens, all_tokens, expected, visit)
        self._turns[turn] = None
        return turn

    def seed(self, answers: Sequence[Past]) -> None:
        """Learn from answers of the past, oldest first."""
        for answer in answers:
            rates = self.rates(answer.model)
            rates.read(answer.new_tokens, answer.new_tokens, answer.first_word_s)
            rates.wrote(answer.writing_s)

    def now(self) -> float:
        """Return the clock's time."""
        return self._clock()

    def forget(self, turn: "Turn") -> None:
        """Take a turn that is over off the list."""
        self._turns.pop(turn, None)

    def rates(self, model: str) -> "Rates":
        """Return what is known of a model, or begin to learn."""
        rates = self._rates.get(model)
        if rates is None:
            if len(self._rates) >= MOST_MODELS:
                del self._rates[next(iter(self._rates))]
            rates = self._rates[model] = Rates()
        return rates

    def _wait_s(self, limit: int | None) -> float:
        """Estimate the seconds until a slot is free for a further request."""
        if limit is None or len(self._turns) < limit:
            return 0.0
        now = self._clock()
        slots = [turn.left_s(now) for turn in self._turns if turn.started_at is not None]
        slots = sorted(slots)[:limit] + [0.0] * (limit - len(slots))
        heapq.heapify(slots)
        for turn in self._turns:
            if turn.started_at is None:
                heapq.heapreplace(slots, slots[0] + (turn.expected_s or 0.0))
        return slots[0]


class Turn:
    """One request on its way through a local server."""

    def __init__(
        self,
        speed: Speed,
        model: str,
        new_tokens: int,
        all_tokens: int,
        expected_s: float | None,
        visit: Visit,
    ) -> None:
        self.started_at: float | None = None
        """When it got its slot."""
        self.expected_s = expected_s
        """From its slot to its end."""
        self._speed = speed
        self._model = model
        self._new_tokens = new_tokens
        self._all_tokens = all_tokens
        self._first_at: float | None = None
        self._visit = visit

    def started(self) -> None:
        """Note that it has its slot now."""
        self.started_at = self._speed.now()
        self._visit.started()

    def first_word(self) -> None:
        """Note that a streamed answer has begun; what that took is learned."""
        assert self.started_at is not None
        self._first_at = self._speed.now()
        self._visit.opened()
        rates = self._speed.rates(self._model)
        rates.read(self._new_tokens, self._all_tokens, self._first_at - self.started_at)

    def whole(self, written_tokens: int) -> None:
        """Note that an answer came as a whole."""
        self._visit.opened(written_tokens)

    def ended(self) -> None:
        """Note that it is over, in whatever way."""
        self._visit.ended()
        self._speed.forget(self)
        if self._first_at is not None:
            self._speed.rates(self._model).wrote(self._speed.now() - self._first_at)

    def left_s(self, now: float) -> float:
        """Return how long it will still take."""
        if self.started_at is None or self.expected_s is None:
            return self.expected_s or 0.0
        done = now - self.started_at
        return max(self.expected_s - done, LEAST_LEFT * self.expected_s)


class Rates:
    """What was learned of one model on one server."""

    def __init__(self) -> None:
        self._overhead_s = USUAL_OVERHEAD_S
        self._s_per_token = USUAL_S_PER_TOKEN
        self._sums = [0.0] * 5
        """Of the weights, and of x, y, xx and xy with them."""
        self._whole = 0
        """Prompts that were read as a whole."""
        self._hits = 1.0
        """Share of the prompts that were found in the cache, of those that should be there."""
        self._writing: deque[float] = deque(maxlen=MOST_WRITING)

    def reading_s(self, new_tokens: int, all_tokens: int) -> float:
        """Estimate the time to the first word from the moment a slot is free."""
        tokens = new_tokens if self._hits >= 0.5 else all_tokens
        return self._overhead_s + self._s_per_token * tokens

    def whole_s(self, new_tokens: int, all_tokens: int) -> float:
        """Estimate the time to the last word."""
        writing = median(self._writing) if self._writing else 0.0
        return self.reading_s(new_tokens, all_tokens) + writing

    def read(self, new_tokens: int, all_tokens: int, took_s: float) -> None:
        """Learn from the time that a prompt took."""
        tokens = new_tokens
        if new_tokens >= all_tokens / 2:
            self._whole += 1
        elif self._whole >= LEAST_WHOLE:
            missed = self._misses_cache(new_tokens, all_tokens, took_s)
            self._hits = CACHE_KEEPS * self._hits + (1 - CACHE_KEEPS) * (not missed)
            tokens = all_tokens if missed else new_tokens
        weight = 1 / max(took_s, LEAST_S) ** 2
        x, y = float(tokens), took_s
        added = (weight, weight * x, weight * y, weight * x * x, weight * x * y)
        self._sums = [KEEPS * old + new for old, new in zip(self._sums, added, strict=True)]
        self._fit()

    def _misses_cache(self, new_tokens: int, all_tokens: int, took_s: float) -> bool:
        """Return whether a server read the whole prompt that it should have had most of."""
        part = self._overhead_s + self._s_per_token * new_tokens
        whole = self._overhead_s + self._s_per_token * all_tokens
        return took_s > MISSED_TIMES * part and took_s * took_s > part * whole

    def wrote(self, took_s: float) -> None:
        """Learn from the time that writing an answer took."""
        self._writing.append(took_s)

    def _fit(self) -> None:
        """Solve for overhead and seconds a token, drawn a little towards what is usual."""
        w, wx, wy, wxx, wxy = self._sums
        # Each assumption weighs as much as it does in the answers themselves, times a little.
        one, other = ASSUMED_WORTH * w, ASSUMED_WORTH * max(wxx, 1e-9) * 0.01
        left = (w + one, wx, wxx + other)
        right = (wy + one * USUAL_OVERHEAD_S, wxy + other * USUAL_S_PER_TOKEN)
        determinant = left[0] * left[2] - left[1] ** 2
        overhead = (right[0] * left[2] - left[1] * right[1]) / determinant
        slope = (left[0] * right[1] - left[1] * right[0]) / determinant
        if overhead < 0:
            overhead, slope = 0.0, right[1] / left[2]
        if slope < 0:
            overhead, slope = right[0] / left[0], 0.0
        self._overhead_s, self._s_per_token = overhead, slope


def new_tokens(request: ChatRequest) -> int:
    """Count the tokens after the model's last answer: what a server with the rest in its cache
    has to read."""
    total = 0
    for message in reversed(request.messages):
        if message["role"] == "assistant":
            break
        total += message_tokens(message)
    return total
