"""Pieces of a relayed stream that the server sends without waking the request's task."""

import asyncio

import orjson
import pytest

from tests.support.chaos.running_server import RunningServer, running_server
from tests.support.chaos.sides import CLAUDE, LOCAL
from tests.support.local_backend import DONE, ROLE, STOP, chunk
from tests.support.scripted import Connection, Request, Script
from web.protocol import _Outlet

PATH = "/v1/chat/completions"
ASKED = {"model": "local", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}


def speaking(*words: str) -> Script:
    """Send each word after the one before was read."""

    async def script(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        await connection.chunk(ROLE)
        for word in words:
            await asyncio.sleep(0.002)
            await connection.chunk(chunk({"content": word}))
        await asyncio.sleep(0.002)
        await connection.chunk(STOP + DONE)
        await connection.end_stream()

    return script


def stream_of(*words: str) -> bytes:
    return ROLE + b"".join(chunk({"content": word}) for word in words) + STOP + DONE


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each piece that was offered to a connection was sent at once."""
    found: list[bool] = []
    send_piece = _Outlet.send_piece

    def sending(outlet: _Outlet, body: bytes) -> bool:
        found.append(send_piece(outlet, body))
        return found[-1]

    monkeypatch.setattr(_Outlet, "send_piece", sending)
    return found


async def raw(h: RunningServer, times: int) -> bytes:
    """Return what comes for requests that are sent at once, up to the end of the connection."""
    reader, writer = await asyncio.open_connection(*h.host)
    body = orjson.dumps(ASKED)
    lines = [f"POST {PATH} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    close = [*lines, "Connection: close"]
    for last in range(1, times + 1):
        head = close if last == times else lines
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()


async def test_a_stream_arrives_unchanged_and_its_words_are_sent_at_once(sent: list[bool]) -> None:
    words = [f"word {i}" for i in range(20)]
    async with running_server(LOCAL, speaking(*words), CLAUDE.well) as h:
        answer = await h.http.post(PATH, json=ASKED)
        assert answer.content == stream_of(*words)
        assert sent.count(True) > 10
        (record,) = h.assembly.ledger.journal.recent()
        assert record.outcome == "done"


async def test_the_last_event_ends_the_stream_though_the_backend_goes_on(sent: list[bool]) -> None:
    async def going_on(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        for event in ROLE, chunk({"content": "a"}), STOP, DONE:
            await connection.chunk(event)
            await asyncio.sleep(0.002)
        await connection.silence()

    async with running_server(LOCAL, going_on, CLAUDE.well) as h:
        answer = await h.http.post(PATH, json=ASKED, timeout=1)
        assert answer.content == stream_of("a")
        assert True in sent


async def test_a_caller_that_reads_slowly_gets_everything(sent: list[bool]) -> None:
    words = [f"{i} " * 20_000 for i in range(100)]
    async with (
        running_server(LOCAL, speaking(*words), CLAUDE.well) as h,
        h.http.stream("POST", PATH, json=ASKED) as answer,
    ):
        await asyncio.sleep(0.5)
        assert b"".join([piece async for piece in answer.aiter_raw()]) == stream_of(*words)
        assert False in sent, "the connection was never full, so this shows nothing"


async def test_requests_on_one_connection_get_each_its_own_stream(sent: list[bool]) -> None:
    async with running_server(LOCAL, speaking("a", "b", "c"), CLAUDE.well) as h:
        first, second = (await raw(h, times=2)).split(b"HTTP/1.1 200 OK\r\n")[1:]
        for answer in (first, second):
            chunks = answer.partition(b"\r\n\r\n")[2].split(b"\r\n")
            assert b"".join(chunks[1::2]) == stream_of("a", "b", "c")
        assert True in sent
