"""The estimate of the time to the first word, against a simulated server."""

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median

import pytest

from router.request import ChatRequest
from router.sides.speed import Past, Speed, Turn, new_tokens

MODEL = "qwen"


@dataclass
class Server:
    """A server that reads and writes at its speeds, `parallel` requests at a time."""

    overhead_s: float = 0.3
    read_tokens_s: float = 400.0
    write_s: float = 6.0
    parallel: int = 1
    jitter: float = 0.1
    now: float = 0.0
    draw: random.Random = field(default_factory=lambda: random.Random(7))
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    waiting: deque[tuple[Turn, int, Callable[[], None]]] = field(default_factory=deque)
    running: int = 0
    errors: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.speed = Speed(lambda: self.now)
        self.count = 0

    def at(self, when: float, do: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (when, self.count, do))

    def run(self) -> None:
        while self.events:
            self.now, _, do = heapq.heappop(self.events)
            do()

    def arrives(self, tokens: int, unread: int) -> None:
        estimate = self.speed.first_word_s(MODEL, unread, tokens, self.parallel)
        turn, came_at = self.speed.turn(MODEL, unread, tokens), self.now

        def speaks() -> None:
            turn.first_word()
            if estimate is not None:
                real = self.now - came_at
                self.errors.append(abs(estimate - real) / real)

        self.waiting.append((turn, unread, speaks))
        self.let_in()

    def let_in(self) -> None:
        while self.waiting and self.running < self.parallel:
            turn, unread, speaks = self.waiting.popleft()
            self.running += 1
            turn.started()
            off = 1 + self.draw.uniform(-self.jitter, self.jitter)
            reads = (self.overhead_s + unread / self.read_tokens_s) * off
            writes = self.write_s * self.draw.uniform(0.7, 1.3)
            self.at(self.now + reads, speaks)
            self.at(self.now + reads + writes, partial(self.ends, turn))

    def ends(self, turn: Turn) -> None:
        turn.ended(is_whole=True)
        self.running -= 1
        self.let_in()


def loads(seed: int, count: int, gap_s: float, warm: float) -> list[tuple[float, int, int]]:
    """Arrivals: time, tokens, and tokens that are not in the cache."""
    draw = random.Random(seed)
    arrivals, now = [], 0.0
    for _ in range(count):
        now += draw.expovariate(1 / gap_s)
        tokens = int(10 ** draw.uniform(1.5, 4.3))
        unread = max(20, int(tokens * draw.uniform(0.01, 0.1))) if draw.random() < warm else tokens
        arrivals.append((now, tokens, unread))
    return arrivals


@pytest.mark.parametrize(
    ("server", "gap_s", "warm", "most"),
    [
        (Server(), 200.0, 0.0, 0.15),
        (Server(), 200.0, 0.7, 0.15),
        (Server(overhead_s=1.5, read_tokens_s=80), 900.0, 0.5, 0.15),
        (Server(read_tokens_s=4_000, overhead_s=0.1), 60.0, 0.5, 0.15),
        (Server(), 20.0, 0.6, 0.30),
        (Server(parallel=2, read_tokens_s=900), 8.0, 0.6, 0.30),
    ],
    ids=["cold", "warm", "laptop", "gpu", "queued", "two at a time"],
)
def test_the_median_estimate_is_near(
    server: Server, gap_s: float, warm: float, most: float
) -> None:
    for when, tokens, unread in loads(3, 150, gap_s, warm):
        server.at(when, partial(server.arrives, tokens, unread))
    server.run()
    assert len(server.errors) > 100
    assert median(server.errors) <= most, median(server.errors)


def test_nothing_is_said_before_anything_is_known() -> None:
    speed = Speed()
    assert speed.first_word_s(MODEL, 30_000, 30_000) is None
    speed.seed([Past(MODEL, 1_000, 5.0, 10.0)])
    assert speed.first_word_s("another", 1_000, 1_000) is None


def test_the_past_is_learned_from() -> None:
    speed = Speed()
    speed.seed([Past(MODEL, size, 0.5 + size / 100, 4.0) for size in (100, 900, 2_000, 5_000)])
    assert speed.first_word_s(MODEL, 10_000, 10_000) == pytest.approx(100.5, rel=0.1)
    assert speed.first_word_s(MODEL, 200, 10_000) == pytest.approx(2.5, rel=0.3)


def test_a_server_that_gets_faster_is_believed_after_a_while() -> None:
    speed = Speed()
    speed.seed([Past(MODEL, 2_000, 20.0, 1.0)] * 20)
    speed.seed([Past(MODEL, 2_000, 2.0, 1.0)] * 20)
    estimate = speed.first_word_s(MODEL, 2_000, 2_000)
    assert estimate is not None
    assert estimate < 4


def test_a_server_without_a_cache_is_found_out() -> None:
    now = 0.0
    speed = Speed(lambda: now)
    speed.seed([Past(MODEL, size, 0.2 + size / 100, 1.0) for size in (100, 1_000, 4_000)])
    for _ in range(8):
        turn = speed.turn(MODEL, 50, 5_000)
        turn.started()
        now += 50.2
        turn.first_word()
        turn.ended(is_whole=True)
    assert speed.first_word_s(MODEL, 50, 5_000) == pytest.approx(50, rel=0.2)


def test_a_request_that_is_given_up_leaves_the_queue() -> None:
    speed = Speed(lambda: 0.0)
    speed.seed([Past(MODEL, 1_000, 10.0, 20.0)] * 3)
    alone = speed.first_word_s(MODEL, 1_000, 1_000, 1)
    first, second = speed.turn(MODEL, 1_000, 1_000), speed.turn(MODEL, 1_000, 1_000)
    first.started()
    queued = speed.first_word_s(MODEL, 1_000, 1_000, 1)
    assert alone is not None
    assert queued is not None
    assert queued == pytest.approx(alone + 60, rel=0.1)
    second.ended(is_whole=False)
    assert speed.first_word_s(MODEL, 1_000, 1_000, 1) == pytest.approx(alone + 30, rel=0.1)
    first.ended(is_whole=False)
    assert speed.first_word_s(MODEL, 1_000, 1_000, 1) == pytest.approx(alone)


@pytest.mark.parametrize(("is_whole", "writing_s"), [(True, 2.0), (False, 20.0)])
def test_only_whole_answers_say_how_long_one_takes(is_whole: bool, writing_s: float) -> None:
    now = 0.0
    speed = Speed(lambda: now)
    speed.seed([Past(MODEL, 1_000, 10.0, 20.0)])
    for _ in range(5):
        turn = speed.turn(MODEL, 1_000, 1_000)
        turn.started()
        now += 10
        turn.first_word()
        now += 2
        turn.ended(is_whole=is_whole)
    speed.turn(MODEL, 1_000, 1_000).started()
    alone = speed.first_word_s(MODEL, 1_000, 1_000)
    queued = speed.first_word_s(MODEL, 1_000, 1_000, 1)
    assert alone is not None
    assert queued == pytest.approx(2 * alone + writing_s, rel=0.05)


def test_new_tokens_are_those_after_the_last_answer() -> None:
    said = [
        {"role": "system", "content": "x" * 7_000},
        {"role": "user", "content": "Read the file."},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "tool_call_id": "1", "content": "y" * 350},
    ]
    assert new_tokens(ChatRequest({"messages": said})) == pytest.approx(105, abs=5)
    assert new_tokens(ChatRequest({"messages": said[:2]})) > 2_000
