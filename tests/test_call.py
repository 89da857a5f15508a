"""Call: which candidate is asked next after which failure, and what that leaves behind."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from router.answers.calibration import Calibrations
from router.answers.trust import Truster
from router.backend import Model, Reply, Status, Target, Translated
from router.call import Call
from router.classifier import Score
from router.deciding.facts import Ask, Candidate, Decision, Reason
from router.errors import (
    BackendBroken,
    BackendBusy,
    BackendError,
    BackendMisconfigured,
    BackendRejected,
    BackendTimeout,
    BackendUnfit,
    BackendUnreachable,
)
from router.events import Batch, Finish, TextDelta
from router.request import ChatRequest
from router.sides.availability import Watch
from router.sides.seat import Seat
from router.sides.slots import Slots
from router.sides.speed import Past, Speed
from tests.support.waiting import settled

LOCAL, CLOUD = Candidate("local", "local", "qwen"), Candidate("cloud", "claude", "sonnet")
READY = Status("ready", Model("m"))


class Scripted:
    """A backend that fails in this way, or answers."""

    def __init__(self, name: str, failure: BackendError | None = None) -> None:
        self.name = name
        self.failure = failure
        self.asked: list[str] = []
        self.closed = 0

    async def open(self, request: ChatRequest, model: str) -> Reply:
        self.asked.append(model)
        if self.failure is not None:
            raise self.failure
        return Translated(self._events(), model)

    async def _events(self) -> AsyncGenerator[Batch, None]:
        try:
            yield [TextDelta("hello")]
            yield [Finish("stop")]
        finally:
            self.closed += 1

    async def probe(self) -> Status:
        return READY

    async def aclose(self) -> None:
        pass


def failing(kind: type[BackendError], **values: Any) -> BackendError:
    return kind("failed", backend="local", **values)


def seats(local: Scripted, cloud: Scripted, slots: Slots | None = None) -> dict[str, Seat]:
    of: dict[str, tuple[Scripted, Target]] = {
        "local": (local, "local"),
        "claude": (cloud, "cloud"),
    }
    return {
        name: Seat(
            backend,
            target,
            Watch(backend, 3, again=False),
            slots=slots if name == "local" else None,
        )
        for name, (backend, target) in of.items()
    }


def decision(
    *candidates: Candidate, reason: Reason = "simple", gates: tuple[Reason, ...] = ()
) -> Decision:
    ask = Ask(Score(10, {"token_count": 10.0}, 0.9, 20))
    return Decision(candidates or (LOCAL, CLOUD), reason, ask, gates)


def call(seats: dict[str, Seat], decided: Decision, opened: list[str] | None = None) -> Call:
    request = ChatRequest({"messages": [{"role": "user", "content": "hi"}], "stream": True})
    note = opened if opened is not None else []
    return Call(
        request,
        decided,
        seats,
        hold_s=0,
        first_byte_s=300,
        truster=Truster("off", Calibrations(), 50),
        on_open=lambda c: note.append(c.reason),
    )


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (failing(BackendUnreachable), "local_down"),
        (failing(BackendMisconfigured), "local_down"),
        (failing(BackendUnreachable, code="local_not_ready"), "escalated"),
        (failing(BackendBusy), "local_busy"),
        (failing(BackendUnfit, code="context_length_exceeded"), "context"),
        (failing(BackendUnfit), "escalated"),
        (failing(BackendBroken), "escalated"),
        (failing(BackendTimeout), "escalated"),
    ],
    ids=lambda value: getattr(value, "code", value),
)
async def test_after_a_failure_the_other_side_answers_and_the_reason_says_why(
    failure: BackendError, reason: str
) -> None:
    local, cloud = Scripted("local", failure), Scripted("claude")
    opened: list[str] = []
    async with call(seats(local, cloud), decision(), opened) as one:
        reply = await one.open()
        assert reply.model == "sonnet"
        assert (one.candidate, one.reason) == (CLOUD, reason)
        assert [attempt.error for attempt in one.attempts] == [failure]
    assert opened == [reason]
    assert (local.asked, cloud.asked) == (["qwen"], ["sonnet"])


async def test_a_failed_cloud_is_followed_by_the_local_model() -> None:
    local, cloud = Scripted("local"), Scripted("claude", failing(BackendBusy))
    async with call(seats(local, cloud), decision(CLOUD, LOCAL, reason="complex")) as one:
        await one.open()
        assert (one.candidate, one.reason) == (LOCAL, "cloud_down")


async def test_an_error_of_the_caller_ends_the_call_at_once() -> None:
    local, cloud = Scripted("local", failing(BackendRejected)), Scripted("claude")
    async with call(seats(local, cloud), decision()) as one:
        with pytest.raises(BackendRejected):
            await one.open()
    assert cloud.asked == []


@pytest.mark.parametrize(
    ("failure", "cloud_is_asked"),
    [(BackendUnreachable, True), (BackendBusy, False), (BackendBroken, False)],
)
async def test_background_work_goes_to_the_cloud_only_if_no_local_server_answers(
    failure: type[BackendError], cloud_is_asked: bool
) -> None:
    local, cloud = Scripted("local", failing(failure)), Scripted("claude")
    decided = decision(reason="background", gates=("background",))
    async with call(seats(local, cloud), decided) as one:
        if cloud_is_asked:
            await one.open()
        else:
            with pytest.raises(failure):
                await one.open()
    assert bool(cloud.asked) is cloud_is_asked


async def test_of_several_failures_the_most_telling_is_reported() -> None:
    local, cloud = Scripted("local", failing(BackendBroken)), Scripted("claude")
    cloud.failure = failing(BackendUnreachable)
    async with call(seats(local, cloud), decision()) as one:
        with pytest.raises(BackendBroken):
            await one.open()
    local.failure = failing(BackendUnreachable)
    async with call(seats(local, cloud), decision()) as one:
        with pytest.raises(BackendUnreachable) as caught:
            await one.open()
    assert caught.value is local.failure


async def test_a_slot_is_held_until_the_answer_is_closed_and_given_back_once() -> None:
    slots = Slots(1, 0)
    local = Scripted("local")
    places = seats(local, Scripted("claude"), slots)
    async with call(places, decision()) as one:
        reply = await one.open()
        assert slots.busy == 1
        assert isinstance(reply, Translated)
        await anext(aiter(reply.events))
    assert (slots.busy, local.closed) == (0, 1)
    local.failure = failing(BackendBroken)
    async with call(places, decision()) as one:
        await one.open()
        assert slots.busy == 0, "the local side has failed"


@pytest.mark.parametrize(
    ("raised", "learned_s"),
    [(None, 2.0), (asyncio.CancelledError(), 20.0), (failing(BackendBroken), 20.0)],
    ids=["whole", "left", "failed"],
)
async def test_an_answer_that_is_left_or_fails_does_not_count_as_a_short_one(
    raised: BaseException | None, learned_s: float
) -> None:
    now = 0.0
    speed = Speed(lambda: now)
    speed.seed([Past(LOCAL.model, 20, 1.0, 20.0)])
    places = seats(Scripted("local"), Scripted("claude"))
    places["local"].speed = speed
    for _ in range(3):
        with contextlib.suppress(asyncio.CancelledError, BackendBroken):
            async with call(places, decision(LOCAL)) as one:
                await one.open()
                now += 2
                if raised is not None:
                    raise raised
        places["local"].watch.answered()
    speed.turn(LOCAL.model, 20, 20).started()
    alone, queued = (speed.first_word_s(LOCAL.model, 20, 20, limit) for limit in (None, 1))
    assert alone is not None
    assert queued == pytest.approx(2 * alone + learned_s)


async def test_a_full_queue_sends_the_request_to_the_cloud() -> None:
    slots = Slots(1, 0)
    local, cloud = Scripted("local"), Scripted("claude")
    with await slots.acquire():
        async with call(seats(local, cloud, slots), decision()) as one:
            await one.open()
            assert (one.candidate, one.reason) == (CLOUD, "local_busy")
    assert local.asked == []


async def test_the_state_of_the_queue_is_read_anew_for_each_decision() -> None:
    slots = Slots(1, 0)
    seat = seats(Scripted("local"), Scripted("claude"), slots)["local"]
    assert not (await seat.side()).full
    with await slots.acquire():
        assert (await seat.side()).full
    assert not (await seat.side()).full


async def test_a_block_is_seen_in_the_next_snapshot() -> None:
    seat = seats(Scripted("local"), Scripted("claude"))["local"]
    assert not (await seat.side()).blocked
    seat.watch.failed(failing(BackendUnreachable))
    assert (await seat.side()).blocked
    await seat.watch.aclose()


async def test_a_request_that_waited_for_a_side_that_failed_meanwhile_goes_to_the_other() -> None:
    slots = Slots(1, 1)
    local, cloud = Scripted("local"), Scripted("claude")
    places = seats(local, cloud, slots)
    taken = await slots.acquire()
    async with call(places, decision()) as one:
        opening = asyncio.create_task(one.open())
        await settled(lambda: slots.waiting == 1, "it does not wait")
        places["local"].watch.failed(failing(BackendUnreachable))
        taken.release()
        await opening
        assert one.candidate == CLOUD
    assert (local.asked, slots.busy) == ([], 0)
    await places["local"].watch.aclose()


async def test_an_answer_after_a_pause_ends_the_trial() -> None:
    places = seats(Scripted("local"), Scripted("claude"))
    breaker = places["local"].watch.breaker
    breaker.failure(now=0)
    assert breaker.state(now=1000) == "half-open"
    async with call(places, decision()) as one:
        await one.open()
        assert one.candidate == LOCAL
    assert breaker.state(now=1000) == "closed"
