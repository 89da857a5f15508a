"""A failing side is paused, tried once after the pause, and never flooded with requests."""

import asyncio

import openai
import pytest

from router.sides.availability import Watch
from tests.support.chaos.callers import Heard, ask
from tests.support.chaos.running_server import HASTY, RunningServer, faulty, running_server
from tests.support.chaos.sides import CLAUDE, HELLO, KINDS, LOCAL, THERE, Kind
from tests.support.scripted import Connection, Request, Script
from tests.support.waiting import settled

MANY = 20
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def saying(kind: Kind, status: int, **headers: str) -> Script:
    async def script(connection: Connection, request: Request) -> None:
        await connection.answer(kind.failure(status, "No."), status, **headers)

    return script


async def silent(connection: Connection, request: Request) -> None:
    await connection.silence()


async def resetting(connection: Connection, request: Request) -> None:
    connection.reset()


def watch_of(here: RunningServer) -> Watch:
    """Watch of the side that fails."""
    router = here.assembly.router
    seat = router.local if here.kind.target == "local" else router.cloud
    assert seat is not None
    return seat.watch


async def burst(here: RunningServer) -> list[Heard]:
    """Send many requests at a time; all of them must be answered."""
    answers = await asyncio.gather(*(ask(here.http, stream=False) for _ in range(MANY)))
    assert [heard.text for heard in answers] == [HELLO + THERE] * MANY
    return answers


@kinds
@pytest.mark.parametrize("status", [401, 429, 500, 503])
async def test_a_side_that_has_failed_is_paused(kind: Kind, status: int) -> None:
    async with faulty(kind, saying(kind, status, Retry_After="600")) as here:
        assert (await ask(here.http, stream=False)).target == kind.other
        assert watch_of(here).blocked
        # The burst takes longer than the first pause where the machine is busy.
        watch_of(here).breaker.failure(here.clock(), retry_after_s=600)
        before = len(here.faulty.requests)
        for heard in await burst(here):
            assert heard.target == kind.other
        assert len(here.faulty.requests) == before


@kinds
async def test_a_wrong_request_does_not_count_as_a_failure_of_the_side(kind: Kind) -> None:
    async with faulty(kind, saying(kind, 400)) as here:
        assert (await ask(here.http, stream=False)).status == 400
        assert not watch_of(here).blocked


@kinds
async def test_failures_at_the_same_time_count_once(kind: Kind) -> None:
    async with faulty(kind, saying(kind, 429, Retry_After="1")) as here:
        await burst(here)
        assert 0 < watch_of(here).breaker.retry_in_s(here.clock()) <= 1.5


@kinds
async def test_one_trial_reopens_a_side_and_a_burst_sends_no_second(kind: Kind) -> None:
    async with faulty(kind, saying(kind, 500)) as here:
        await ask(here.http, stream=False)
        await settled(lambda: not watch_of(here).blocked, "its breaker stayed open")
        tried = len(here.faulty.requests)
        back = asyncio.Event()

        async def slowly(connection: Connection, request: Request) -> None:
            await back.wait()
            await kind.well(connection, request)

        here.faulty.script = slowly
        here.faulty.asked.clear()
        trial = asyncio.create_task(ask(here.http, stream=False))
        await here.faulty.asked.wait()
        for heard in await burst(here):
            assert heard.target == kind.other
        assert len(here.faulty.requests) == tried + 1
        back.set()
        assert (await trial).target == kind.target
        assert (await ask(here.http, stream=False)).target == kind.target


@kinds
async def test_failures_in_the_middle_of_answers_count(kind: Kind) -> None:
    async def breaking_off(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        await connection.chunk(kind.begin)
        await asyncio.sleep(0.02)
        connection.reset()

    async with faulty(kind, breaking_off) as here:
        assert (await ask(here.http, stream=True)).error is not None
        assert (await ask(here.http, stream=True)).target == kind.other


@kinds
@pytest.mark.parametrize("status", [400, 401, 429, 500, 503, 529, "reset"])
async def test_no_request_is_repeated_more_than_once(kind: Kind, status: int | str) -> None:
    """One repeat is allowed: for a closed connection, or for a field that a cloud refuses."""
    script = resetting if isinstance(status, str) else saying(kind, status)
    async with faulty(kind, script) as here:
        for _ in range(3):
            before = len(here.faulty.requests)
            await ask(here.http, stream=False, force=kind.target)
            assert len(here.faulty.requests) - before <= 2


@kinds
async def test_the_official_client_does_not_multiply_requests(kind: Kind) -> None:
    async with (
        faulty(kind, saying(kind, 529)) as here,
        openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key="none") as client,
    ):
        with pytest.raises(openai.APIStatusError):
            await client.chat.completions.create(
                model=kind.target, messages=[{"role": "user", "content": "Hi"}]
            )
        assert len(here.faulty.requests) == 1


@kinds
async def test_a_closed_kept_connection_is_replaced_without_a_failure(kind: Kind) -> None:
    async def answering_once(connection: Connection, request: Request) -> None:
        await kind.well(connection, request)
        connection.reset()

    async with faulty(kind, answering_once) as here:
        for _ in range(4):
            heard = await ask(here.http, stream=False)
            assert (heard.text, heard.target) == (HELLO + THERE, kind.target)
        assert not here.sound.requests


async def test_a_request_queued_for_a_failing_side_goes_to_the_other() -> None:
    """It does not wait for the failures of all requests before it."""
    async with running_server(
        LOCAL, silent, CLAUDE.well, local_concurrency=1, local_queue=MANY, **HASTY
    ) as here:
        for heard in await burst(here):
            assert heard.target == "cloud"
        assert len(here.local.requests) == 1
