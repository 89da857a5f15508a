"""Estimates how long a local server takes to its first word, from the answers it has given.

Seconds to read a prompt = overhead + seconds per token x tokens that are not in its cache. Overhead
and seconds per token are fitted anew with every streamed answer; older answers count less, and
errors count relative to the time taken. A request that waits for a slot waits until those before
it are read and answered. Token counts are estimates (`request.size_tokens`) in learning and in
predicting, so their error cancels out.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from router.request import ChatRequest, message_tokens
from router.sides.pooled_server import NO_VISIT, Visit

USUAL_OVERHEAD_S: Final = 0.2
USUAL_S_PER_TOKEN: Final = 0.001
"""Assumed before the first answer; the first answers outweigh it."""
ASSUMED_WORTH: Final = 0.05
"""Weight of that assumption, in answers."""
KEEPS: Final = 0.97
"""Factor on the weight of an answer for each later one."""
LEAST_S: Final = 0.05
"""Times below it count as equal."""
MOST_WRITING: Final = 30
"""Answers whose writing times are kept; their median is the estimate."""
CACHE_KEEPS: Final = 0.8
MISSED_TIMES: Final = 2.0
LEAST_WHOLE: Final = 3
"""A prompt that should be in the cache was not there if it takes MISSED_TIMES as long as expected,
and its time is nearer to that of a whole prompt. That is known once LEAST_WHOLE prompts were read
as a whole."""
LEAST_LEFT: Final = 0.1
"""The least that a running answer is expected to still take, as a share of its expected time."""
MOST_MODELS: Final = 50


@dataclass(frozen=True, slots=True)
class Past:
    """A streamed answer of the past. `new_tokens`: tokens that were not in the server's cache."""

    model: str
    new_tokens: int
    first_word_s: float
    writing_s: float


class Speed:
    """The speed of one local server, and the requests that it answers or that wait for it.

    `clock` is in seconds of any steady clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rates: dict[str, Rates] = {}
        self._turns: dict[Turn, None] = {}
        """The requests under way, in order of arrival."""

    def first_word_s(
        self, model: str, new_tokens: int, all_tokens: int, limit: int | None = None
    ) -> float | None:
        """Estimate the seconds to the first word of a request that came now.

        `limit`: requests that the server works on at a time. Returns None while no answer of this
        model was measured.
        """
        rates = self._rates.get(model)
        if rates is None:
            return None
        return self._wait_s(limit) + rates.reading_s(new_tokens, all_tokens)

    def turn(self, model: str, new_tokens: int, all_tokens: int, visit: Visit = NO_VISIT) -> "Turn":
        """Return a new turn, which waits until `Turn.started`. The caller must call `Turn.ended`.

        `visit` passes the same steps on to the balancer, if there are several servers.
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
        """Return the time of the clock, in seconds."""
        return self._clock()

    def forget(self, turn: "Turn") -> None:
        """Remove a turn that is over."""
        self._turns.pop(turn, None)

    def rates(self, model: str) -> "Rates":
        """Return the measured rates of a model; new ones if it has none yet."""
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
        """When the request got its slot, on the clock of `speed`; None while it waits."""
        self.expected_s = expected_s
        """Expected seconds from its slot to its end."""
        self._speed = speed
        self._model = model
        self._new_tokens = new_tokens
        self._all_tokens = all_tokens
        self._first_at: float | None = None
        self._visit = visit

    def started(self) -> None:
        """Note that the request has its slot now."""
        self.started_at = self._speed.now()
        self._visit.started()

    def first_word(self) -> None:
        """Note that a streamed answer has begun, and learn from the time it took."""
        assert self.started_at is not None
        self._first_at = self._speed.now()
        self._visit.opened()
        rates = self._speed.rates(self._model)
        rates.read(self._new_tokens, self._all_tokens, self._first_at - self.started_at)

    def whole(self, written_tokens: int) -> None:
        """Note that an answer came in one piece."""
        self._visit.opened(written_tokens)

    def ended(self, *, is_whole: bool) -> None:
        """Note that the request is over; learn from a streamed answer if it was written whole."""
        self._visit.ended()
        self._speed.forget(self)
        if is_whole and self._first_at is not None:
            self._speed.rates(self._model).wrote(self._speed.now() - self._first_at)

    def left_s(self, now: float) -> float:
        """Return the expected seconds until its end."""
        if self.started_at is None or self.expected_s is None:
            return self.expected_s or 0.0
        done = now - self.started_at
        return max(self.expected_s - done, LEAST_LEFT * self.expected_s)


class Rates:
    """The measured speed of one model on one server."""

    def __init__(self) -> None:
        self._overhead_s = USUAL_OVERHEAD_S
        self._s_per_token = USUAL_S_PER_TOKEN
        self._sums = [0.0] * 5
        """Weighted sums of 1, x, y, x*x and x*y, where x is tokens and y is seconds."""
        self._whole = 0
        """Number of prompts that were read as a whole."""
        self._hits = 1.0
        """Share of the prompts that should be in the cache and were found there."""
        self._writing: deque[float] = deque(maxlen=MOST_WRITING)

    def reading_s(self, new_tokens: int, all_tokens: int) -> float:
        """Estimate the seconds from the slot to the first word."""
        tokens = new_tokens if self._hits >= 0.5 else all_tokens
        return self._overhead_s + self._s_per_token * tokens

    def whole_s(self, new_tokens: int, all_tokens: int) -> float:
        """Estimate the seconds from the slot to the last word."""
        writing = median(self._writing) if self._writing else 0.0
        return self.reading_s(new_tokens, all_tokens) + writing

    def read(self, new_tokens: int, all_tokens: int, took_s: float) -> None:
        """Learn from the time from a prompt's slot to its first word."""
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
        """Return whether a server read the whole prompt, most of which should have been cached."""
        part = self._overhead_s + self._s_per_token * new_tokens
        whole = self._overhead_s + self._s_per_token * all_tokens
        return took_s > MISSED_TIMES * part and took_s * took_s > part * whole

    def wrote(self, took_s: float) -> None:
        """Learn from the time from the first to the last word of an answer."""
        self._writing.append(took_s)

    def _fit(self) -> None:
        """Solve for overhead and seconds per token, with the usual values as weak assumptions."""
        w, wx, wy, wxx, wxy = self._sums
        # An assumption weighs ASSUMED_WORTH times as much as the answers so far.
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
    """Estimate the tokens after the model's last answer: the part that is not cached yet."""
    total = 0
    for message in reversed(request.messages):
        if message["role"] == "assistant":
            break
        total += message_tokens(message)
    return total
