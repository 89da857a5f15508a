"""The breaker and the watch: when a failing backend is asked again."""

import asyncio
import logging
from dataclasses import replace

import pytest

from router.backend import Model, Reply, Status
from router.errors import (
    BackendBroken,
    BackendBusy,
    BackendError,
    BackendRejected,
    BackendUnreachable,
    NoUsableAnswer,
)
from router.request import ChatRequest
from router.sides.availability import LONGEST_PAUSE_S, LONGEST_RETRY_AFTER_S, Breaker, Watch
from tests.support.waiting import settled

READY, COLD, DOWN = Status("ready"), Status("cold"), Status("down")


def breaker() -> Breaker:
    return Breaker(random_=lambda: 0.5)  # a pause of exactly its nominal length


def test_a_new_breaker_lets_everyone_through() -> None:
    assert not breaker().blocks(0)


def test_a_failure_blocks_for_a_while() -> None:
    b = breaker()
    b.failure(now=10)
    assert b.blocks(10.9)
    assert not b.blocks(11.1)


def test_each_failed_trial_doubles_the_pause_up_to_a_bound() -> None:
    b, now, pauses = breaker(), 0.0, []
    for _ in range(10):
        b.failure(now)
        pauses.append(b.retry_in_s(now))
        now += pauses[-1] + 0.01
    assert pauses[:4] == pytest.approx([1, 2, 4, 8])
    assert pauses[-1] == LONGEST_PAUSE_S


def test_the_pause_is_jittered() -> None:
    pauses = set()
    for share in (0.0, 0.3, 0.9):
        b = Breaker(random_=lambda share=share: share)  # type: ignore[misc]
        b.failure(0)
        pauses.add(b.retry_in_s(0))
    assert len(pauses) == 3


def test_a_burst_of_failures_counts_once() -> None:
    b = breaker()
    for _ in range(50):
        b.failure(now=0)
    assert b.retry_in_s(0) == 1


def test_retry_after_is_honoured() -> None:
    b = breaker()
    b.failure(0, retry_after_s=30)
    assert b.blocks(29)
    assert not b.blocks(31)


def test_retry_after_is_cut_and_never_shortens_a_pause() -> None:
    b = breaker()
    b.failure(0, retry_after_s=86_400)
    assert b.retry_in_s(0) == LONGEST_RETRY_AFTER_S
    b.failure(1, retry_after_s=1)
    assert b.retry_in_s(1) == LONGEST_RETRY_AFTER_S - 1


def test_a_breaker_says_its_state() -> None:
    b = breaker()
    assert (b.state(0), b.retry_in_s(0)) == ("closed", 0)
    b.failure(0)
    assert b.state(0.9) == "open"
    assert b.state(1.0) == "half-open"
    assert b.retry_in_s(5) == 0
    b.success()
    assert b.state(0.9) == "closed"


def test_a_closed_breaker_needs_no_trial() -> None:
    b = breaker()
    b.enter(0, longest_s=300)
    assert not b.blocks(1)


def test_a_failed_trial_lets_the_next_one_come_after_a_longer_pause() -> None:
    b = breaker()
    b.failure(0)
    b.enter(2, longest_s=300)
    b.failure(3)
    assert b.blocks(4.9)
    assert not b.blocks(5.1)


def test_a_burst_of_failures_with_retry_after_counts_once() -> None:
    b = breaker()
    for _ in range(50):
        b.failure(now=0, retry_after_s=2)
    assert b.retry_in_s(0) == 2
    b.failure(now=3)
    assert b.retry_in_s(3) == 2


def test_after_the_pause_one_trial_goes_through_and_the_rest_waits_for_it() -> None:
    b = breaker()
    b.failure(0)
    assert not b.blocks(2)
    b.enter(2, longest_s=300)
    assert b.blocks(2.1)
    b.success()
    assert not b.blocks(2.2)


def test_a_trial_that_never_says_anything_does_not_block_for_ever() -> None:
    b = breaker()
    b.failure(0)
    b.enter(2, longest_s=300)
    assert not b.blocks(303)


def test_a_trial_whose_caller_left_lets_the_next_one_try() -> None:
    b = breaker()
    b.failure(0)
    b.enter(2, longest_s=300)
    b.released()
    assert not b.blocks(2.1)


class Fake:
    """A backend whose probe says what the test wants, when the test wants."""

    name = "fake"

    def __init__(self, *looks: Status) -> None:
        self.looks = list(looks)
        self.probes = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.last_look = asyncio.Event()

    async def open(self, request: ChatRequest, model: str) -> Reply:
        raise AssertionError

    async def probe(self) -> Status:
        self.probes += 1
        await self.may_answer.wait()
        if len(self.looks) > 1:
            return self.looks.pop(0)
        self.last_look.set()
        return self.looks[0]

    async def aclose(self) -> None:
        pass


async def test_a_hundred_callers_share_the_first_probe() -> None:
    fake = Fake(READY)
    watch = Watch(fake, ttl_s=3)
    looks = await asyncio.gather(*(watch.status() for _ in range(100)))
    assert set(looks) == {READY}
    assert fake.probes == 1


async def test_a_caller_that_leaves_does_not_end_the_look_that_others_wait_for() -> None:
    fake = Fake(READY)
    fake.may_answer.clear()
    watch = Watch(fake, ttl_s=3)
    leaves, stays = (asyncio.create_task(watch.look()) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.sleep(0)
    fake.may_answer.set()
    async with asyncio.timeout(5):
        assert await stays == READY
    assert leaves.cancelled()
    assert fake.probes == 1


async def test_a_trial_that_ends_without_a_word_lets_the_next_request_try() -> None:
    now = 0.0
    watch = Watch(Fake(READY), ttl_s=3, clock=lambda: now)
    for end in (watch.left, lambda: watch.failed(NoUsableAnswer("", backend="fake"))):
        watch.failed(BackendBusy("", backend="fake"))
        now += 100
        watch.entered(longest_s=300)
        assert watch.blocked
        end()
        assert not watch.blocked
        watch.answered()
        assert watch.breaker_state == "closed"
    await watch.aclose()


async def test_a_look_is_fresh_for_its_lifetime_and_has_an_age() -> None:
    now = 5.0
    watch = Watch(Fake(READY), ttl_s=3, clock=lambda: now)
    assert (watch.fresh, watch.age_s, watch.last) == (None, None, None)
    await watch.status()
    now = 8.0
    assert (watch.fresh, watch.age_s) == (READY, 3.0)
    now = 8.1
    assert (watch.fresh, watch.last) == (None, READY)


async def test_an_old_look_is_renewed_without_making_the_caller_wait() -> None:
    now = 0.0
    fake = Fake(READY, DOWN)
    watch = Watch(fake, ttl_s=3, clock=lambda: now, again=False)
    await watch.status()
    now = 10.0
    fake.may_answer.clear()
    assert await watch.status() == READY  # at once, though the probe hangs
    fake.may_answer.set()
    assert await watch.look() == DOWN


async def test_after_a_long_silence_the_next_caller_waits_for_a_fresh_look() -> None:
    now = 0.0
    watch = Watch(Fake(READY, COLD), ttl_s=3, clock=lambda: now, patience_s=5)
    assert await watch.status() == READY
    now = 8.0
    assert await watch.status() == READY
    now = 30.0
    assert await watch.status() == COLD


async def test_but_not_for_long() -> None:
    now = 0.0
    fake = Fake(READY, COLD)
    watch = Watch(fake, ttl_s=3, clock=lambda: now, patience_s=0.01)
    await watch.status()
    now = 30.0
    fake.may_answer.clear()
    async with asyncio.timeout(5):
        assert await watch.status() == READY
    await watch.aclose()


async def test_a_change_of_status_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "router")
    gone = Status("down", detail="Nothing answers.")
    model = Model("qwen", loaded=True, context_tokens=4096)
    back = Status("ready", model, latency_ms=3)
    watch = Watch(Fake(back, gone, gone, replace(back, latency_ms=4)), ttl_s=3, again=False)
    for _ in range(4):
        await watch.look()
    assert [record.getMessage() for record in caplog.records] == [
        "fake: Nothing answers.",
        "fake: qwen, ready, context 4096",
    ]
    await watch.aclose()


async def test_a_side_that_is_down_is_looked_at_until_it_is_back() -> None:
    fake = Fake(DOWN, DOWN, DOWN, READY)
    watch = Watch(fake, ttl_s=0.001)
    assert await watch.status() == DOWN
    async with asyncio.timeout(5):
        await fake.last_look.wait()
    await watch.aclose()
    assert fake.probes == 4


@pytest.mark.parametrize("turns", range(6))
async def test_a_probe_that_ends_while_the_watch_closes_begins_no_other(turns: int) -> None:
    fake = Fake(DOWN)
    watch = Watch(fake, ttl_s=0)
    await watch.status()
    fake.may_answer.clear()
    await settled(lambda: fake.probes == 2, "it was not looked at again")
    closing = asyncio.create_task(watch.aclose())
    for _ in range(turns):
        await asyncio.sleep(0)
    fake.may_answer.set()
    await closing
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_request_that_fails_after_the_end_begins_no_probe() -> None:
    fake = Fake(READY)
    watch = Watch(fake, ttl_s=0)
    await watch.status()
    await watch.aclose()
    watch.failed(BackendUnreachable("gone", backend="fake"))
    assert await watch.status() == await watch.look() == READY
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert fake.probes == 1


@pytest.mark.parametrize("gone", [DOWN, COLD])
async def test_being_back_closes_the_breaker(gone: Status) -> None:
    fake = Fake(READY, gone, READY)
    watch = Watch(fake, ttl_s=3, again=False)
    await watch.status()
    watch.failed(BackendUnreachable("gone", backend="fake"))
    assert await watch.look() == gone
    assert watch.blocked
    assert await watch.look() == READY
    assert not watch.blocked
    await watch.aclose()


@pytest.mark.parametrize(
    ("error", "blocked"),
    [
        (BackendUnreachable("", backend="fake"), True),
        (BackendBusy("", backend="fake"), True),
        (BackendBroken("", backend="fake"), True),
        (NoUsableAnswer("", backend="fake"), False),
        (BackendRejected("", backend="fake"), False),
    ],
)
async def test_only_failures_of_the_backend_count_against_it(
    error: BackendError, blocked: bool
) -> None:
    watch = Watch(Fake(READY), ttl_s=3)
    await watch.status()
    watch.failed(error)
    assert watch.blocked is blocked
    await watch.aclose()
