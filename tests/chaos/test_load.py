"""Many streams and a burst of whole answers at a time; nothing is left behind."""

import asyncio
import gc
from pathlib import Path

import orjson
import pytest

from tests.support.chaos.callers import CHAT, ask
from tests.support.chaos.running_server import RunningServer, running_server
from tests.support.chaos.sides import CLAUDE, HELLO, LOCAL, THERE
from tests.support.scripted import Connection, Request
from tests.support.waiting import settled

STREAMS, BURST = 200, 200
MORE_MB = 40
"""Memory growth allowed after a first load of the same kind: caches, arenas of the allocator."""


def resident_mb() -> float:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def asked(here: RunningServer, count: int, *, stream: bool) -> None:
    """Ask so many times at once, on a connection each; all must be answered."""
    body = orjson.dumps(CHAT.body(stream))
    head = f"POST {CHAT.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"

    async def one() -> bytes:
        reader, writer = await asyncio.open_connection(*here.host)
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.read()
        writer.close()
        return answer

    async with asyncio.timeout(60):
        for answer in await asyncio.gather(*(one() for _ in range(count))):
            assert answer.startswith(b"HTTP/1.1 200")
            assert b'"stop"' in answer
            assert b'"error"' not in answer


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says what it holds")
async def test_many_streams_and_a_burst_leave_nothing_behind() -> None:
    together = asyncio.Event()

    async def when_all_are_there(connection: Connection, request: Request) -> None:
        if LOCAL.streams(request):
            if len(here.local.answering) == STREAMS:
                together.set()
            await together.wait()
        await LOCAL.well(connection, request)

    async with running_server(LOCAL, when_all_are_there, CLAUDE.well) as here:
        levels = []
        for _ in range(2):
            together.clear()
            await asked(here, STREAMS, stream=True)
            await asked(here, BURST, stream=False)
            await settled(lambda: not here.local.answering and not here.at_work, "some stay")
            levels.append(resident_mb())
        assert levels[1] - levels[0] < MORE_MB
        assert not here.cloud.requests


async def test_requests_beyond_the_queue_go_to_the_cloud() -> None:
    free = asyncio.Event()

    async def slowly(connection: Connection, request: Request) -> None:
        await free.wait()
        await LOCAL.well(connection, request)

    async with running_server(
        LOCAL, slowly, CLAUDE.well, local_concurrency=1, local_queue=2
    ) as here:
        (slots,) = [s.slots for s in here.assembly.router.seats.values() if s.slots]
        tasks = [asyncio.create_task(ask(here.http, stream=False)) for _ in range(3)]
        await settled(lambda: (slots.busy, slots.waiting) == (1, 2), "they do not wait")
        for _ in range(5):
            heard = await ask(here.http, stream=False)
            assert (heard.text, heard.target) == (HELLO + THERE, "cloud")
            assert heard.headers["x-router-reason"] == "local_busy"
        free.set()
        assert [heard.target for heard in await asyncio.gather(*tasks)] == ["local"] * 3
