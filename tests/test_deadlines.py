"""Limits that share one timer behave as asyncio.timeout does."""

import asyncio
from collections.abc import Callable

import pytest

from router.deadlines import Interruptible, Ticker, within


async def test_a_wait_over_the_limit_is_a_timeout() -> None:
    with pytest.raises(TimeoutError), within(0.05):
        await asyncio.sleep(10)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    await asyncio.sleep(0.15)  # the ticker goes on without it, and does no harm


async def test_a_block_that_ends_in_time_is_not_cancelled() -> None:
    with within(0.05):
        await asyncio.sleep(0)
    await asyncio.sleep(0.2)


async def test_the_inner_of_two_limits_ends_first() -> None:
    with within(10):
        with pytest.raises(TimeoutError), within(0.05):
            await asyncio.sleep(10)
        await asyncio.sleep(0)


async def test_the_outer_limit_ends_the_inner_block_too() -> None:
    reached = []

    async def nested() -> None:
        with within(0.05):
            with within(10):
                await asyncio.sleep(10)
            reached.append("after the inner block")

    with pytest.raises(TimeoutError):
        await nested()
    assert not reached


async def test_a_cancellation_from_outside_is_no_timeout() -> None:
    async def waiting() -> None:
        with within(10):
            await asyncio.sleep(10)

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_at_the_moment_of_a_timeout_is_a_cancellation() -> None:
    async def waiting() -> None:
        with within(0.05) as limit:
            try:
                await asyncio.sleep(10)
            finally:
                limit.expire()

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_many_limits_end_independently() -> None:
    async def waiting(seconds: float) -> str:
        try:
            with within(seconds):
                await asyncio.sleep(0.3)
        except TimeoutError:
            return "late"
        return "done"

    assert await asyncio.gather(*map(waiting, (0.05, 5, 0.05, 5))) == ["late", "done"] * 2


class Due:
    """A limit that is over at once."""

    until = 0.0

    def __init__(self, expire: Callable[[], None]) -> None:
        self.expire = expire


async def test_a_failing_limit_does_not_disturb_others(caplog: pytest.LogCaptureFixture) -> None:
    ticker = Ticker(asyncio.get_running_loop())
    ended: list[str] = []

    def failing() -> None:
        raise RuntimeError("at its end")

    for expire in (failing, lambda: ended.append("early"), failing):
        ticker.watch(Due(expire))
    await asyncio.sleep(0.15)
    ticker.watch(Due(lambda: ended.append("late")))
    await asyncio.sleep(0.15)
    assert ended == ["early", "late"]
    assert caplog.text.count("internal error") == 2


async def test_a_limit_that_another_has_ended_is_not_called() -> None:
    ticker = Ticker(asyncio.get_running_loop())
    ended: list[Due] = []

    def ending(mine: int) -> None:
        ended.append(limits[mine])
        ticker.forget(limits[1 - mine])

    limits = [Due(lambda: ending(0)), Due(lambda: ending(1))]
    for limit in limits:
        ticker.watch(limit)
    await asyncio.sleep(0.15)
    assert len(ended) == 1


async def test_a_limit_that_is_watched_again_ends_again() -> None:
    ticker = Ticker(asyncio.get_running_loop())
    ended: list[str] = []

    def again() -> None:
        ended.append("once more")
        if len(ended) < 3:
            ticker.watch(limit)

    limit = Due(again)
    ticker.watch(limit)
    await asyncio.sleep(0.45)
    assert len(ended) == 3


async def test_a_limit_that_begins_anew_ends_later() -> None:
    with within(0.2) as limit:
        for _ in range(4):
            await asyncio.sleep(0.1)
            limit.restart(0.2)


@pytest.mark.parametrize("turn", [1, 2])
def test_each_event_loop_has_a_ticker(turn: int) -> None:
    async def waiting() -> None:
        with pytest.raises(TimeoutError), within(0.05):
            await asyncio.sleep(10)

    asyncio.run(waiting())


async def interrupted(interrupt: Callable[[Interruptible], None]) -> None:
    with Interruptible() as block:
        interrupt(block)
        with within(10):
            await asyncio.sleep(10)


async def test_a_callback_can_end_a_block_with_an_exception() -> None:
    def later(block: Interruptible) -> None:
        asyncio.get_running_loop().call_soon(block.interrupt, LookupError())

    with pytest.raises(LookupError):
        await interrupted(later)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_only_the_first_interruption_counts() -> None:
    def twice(block: Interruptible) -> None:
        block.interrupt(LookupError())
        block.interrupt(ValueError())

    with pytest.raises(LookupError):
        await interrupted(twice)
