import asyncio
import random
from collections.abc import Awaitable

import pytest

from router.sides.slots import QueueFull, Slot, Slots


async def queued(awaitable: Awaitable[Slot], slots: Slots) -> "asyncio.Future[Slot]":
    """Start waiting for a slot, and return once the wait is in the queue."""
    waiting = slots.waiting
    task = asyncio.ensure_future(awaitable)
    await asyncio.sleep(0)
    assert slots.waiting == waiting + 1
    return task


async def test_without_a_limit_no_request_waits() -> None:
    slots = Slots(None, queue=0)
    held = [await slots.acquire() for _ in range(1000)]
    assert (slots.busy, slots.waiting, slots.full) == (1000, 0, False)
    for slot in held:
        slot.release()
    assert slots.busy == 0


async def test_a_request_waits_while_all_slots_are_taken() -> None:
    slots = Slots(1, queue=1)
    first = await slots.acquire()
    second = await queued(slots.acquire(), slots)
    assert (slots.busy, slots.waiting) == (1, 1)
    first.release()
    (await second).release()
    assert (slots.busy, slots.waiting) == (0, 0)


async def test_a_slot_is_given_back_once_however_often_it_is_released() -> None:
    slots = Slots(2, queue=0)
    slot, _other = await slots.acquire(), await slots.acquire()
    slot.release()
    slot.release()
    assert slots.busy == 1


async def test_a_with_block_gives_the_slot_back_when_it_fails() -> None:
    slots = Slots(1, queue=0)
    with pytest.raises(ZeroDivisionError), await slots.acquire():
        raise ZeroDivisionError
    assert slots.busy == 0


async def test_waiting_callers_are_served_in_order_people_before_programs() -> None:
    slots = Slots(1, queue=9)
    running = await slots.acquire()
    served: list[str] = []

    async def caller(name: str, background: bool) -> Slot:
        slot = await slots.acquire(background=background)
        served.append(name)
        slot.release()
        return slot

    tasks = [
        await queued(caller(name, background), slots)
        for name, background in [("tags", True), ("ann", False), ("title", True), ("bob", False)]
    ]
    running.release()
    await asyncio.gather(*tasks)
    assert served == ["ann", "bob", "tags", "title"]


async def test_a_full_queue_turns_callers_away() -> None:
    slots = Slots(1, queue=1)
    await slots.acquire()
    waiting = await queued(slots.acquire(), slots)
    assert slots.full
    with pytest.raises(QueueFull, match="1 requests are running and 1 wait"):
        await slots.acquire()
    waiting.cancel()


async def test_a_queue_of_zero_never_waits() -> None:
    slots = Slots(1, queue=0)
    slot = await slots.acquire()
    with pytest.raises(QueueFull):
        await slots.acquire()
    slot.release()
    await slots.acquire()


async def test_a_person_takes_the_place_of_the_program_that_came_last() -> None:
    slots = Slots(1, queue=2)
    running = await slots.acquire()
    first = await queued(slots.acquire(background=True), slots)
    last = await queued(slots.acquire(background=True), slots)
    assert not slots.full
    person = asyncio.ensure_future(slots.acquire())
    with pytest.raises(QueueFull):
        await last
    running.release()
    (await person).release()
    (await first).release()
    assert (slots.busy, slots.waiting) == (0, 0)


async def test_a_program_never_takes_a_place_from_anyone() -> None:
    slots = Slots(1, queue=1)
    await slots.acquire()
    waiting = await queued(slots.acquire(background=True), slots)
    with pytest.raises(QueueFull):
        await slots.acquire(background=True)
    assert not waiting.done()
    waiting.cancel()


async def test_a_caller_that_leaves_the_queue_frees_its_place() -> None:
    slots = Slots(1, queue=1)
    running = await slots.acquire()
    leaver = await queued(slots.acquire(), slots)
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    assert slots.waiting == 0
    next_one = await queued(slots.acquire(), slots)
    running.release()
    await next_one


async def test_a_slot_that_comes_as_its_caller_leaves_goes_to_the_next() -> None:
    slots = Slots(1, queue=2)
    running = await slots.acquire()
    leaver = await queued(slots.acquire(), slots)
    stayer = await queued(slots.acquire(), slots)
    running.release()
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    (await stayer).release()
    assert slots.busy == 0


async def test_a_slot_that_comes_just_after_its_caller_left_goes_to_the_next() -> None:
    slots = Slots(1, queue=2)
    running = await slots.acquire()
    leaver = await queued(slots.acquire(), slots)
    stayer = await queued(slots.acquire(), slots)
    leaver.cancel()
    running.release()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    (await stayer).release()
    assert slots.busy == 0


async def test_a_program_that_leaves_while_it_loses_its_place_is_no_trouble() -> None:
    slots = Slots(1, queue=1)
    running = await slots.acquire()
    leaver = await queued(slots.acquire(background=True), slots)
    leaver.cancel()
    person = asyncio.ensure_future(slots.acquire())
    with pytest.raises(asyncio.CancelledError):
        await leaver
    running.release()
    (await person).release()
    assert (slots.busy, slots.waiting) == (0, 0)


async def test_a_higher_limit_starts_waiting_requests() -> None:
    slots = Slots(1, queue=5)
    await slots.acquire()
    waiting = [await queued(slots.acquire(), slots) for _ in range(3)]
    slots.limit = 2
    await waiting[0]
    assert (slots.busy, slots.waiting) == (2, 2)
    slots.limit = None
    await asyncio.gather(*waiting)
    assert (slots.busy, slots.waiting) == (4, 0)


async def test_a_lower_limit_lets_running_requests_end() -> None:
    slots = Slots(3, queue=5)
    held = [await slots.acquire() for _ in range(3)]
    slots.limit = 1
    waiting = await queued(slots.acquire(), slots)
    held[0].release()
    held[1].release()
    assert (slots.busy, slots.waiting) == (1, 1)
    held[2].release()
    await waiting


@pytest.mark.parametrize("seed", range(5))
async def test_nothing_is_lost_whatever_callers_do(seed: int) -> None:
    dice = random.Random(seed)
    slots = Slots(3, queue=20)
    most = 0

    async def caller() -> None:
        nonlocal most
        with await slots.acquire(background=dice.random() < 0.3):
            most = max(most, slots.busy)
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    for _ in range(400):
        tasks.append(asyncio.create_task(caller()))
        if dice.random() < 0.3:
            dice.choice(tasks).cancel()
        if dice.random() < 0.5:
            await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(
        result is None or isinstance(result, QueueFull | asyncio.CancelledError)
        for result in results
    )
    assert most == 3
    assert (slots.busy, slots.waiting) == (0, 0)
