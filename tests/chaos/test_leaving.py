"""Callers that hang up: all work for them ends at once and leaves nothing behind."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest

from router.events import Usage
from tests.support.chaos.callers import CHAT, DIALECTS, Dialect
from tests.support.chaos.running_server import RunningServer, faulty, running_server
from tests.support.chaos.sides import CLAUDE, GEMINI, KINDS, LOCAL, Kind
from tests.support.scripted import Connection, Request
from tests.support.waiting import settled

SOON_S = 0.1
"""Time until a backend's connection must be closed; a few milliseconds were measured."""
PATIENCE_S = 1.0
"""The limit in tests, for a busy machine."""
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
ways = pytest.mark.parametrize("abrupt", [False, True], ids=["closes", "resets"])


@asynccontextmanager
async def caller(
    here: RunningServer, path: str, body: dict[str, Any]
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection, send a request, and return the connection."""
    reader, writer = await asyncio.open_connection(*here.host)
    data = orjson.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    try:
        yield reader, writer
    finally:
        writer.close()


def leave(writer: asyncio.StreamWriter, abrupt: bool) -> None:
    if abrupt:  # SO_LINGER of 0 makes close() send a reset
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()


async def silent(connection: Connection, request: Request) -> None:
    await connection.silence()


async def only_a_head(connection: Connection, request: Request) -> None:
    await connection.begin_stream()
    await connection.silence()


def talking(kind: Kind) -> Any:
    async def script(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        await connection.chunk(kind.begin)
        await connection.silence()

    return script


def chattering(kind: Kind) -> Any:
    """Send a stream that never ends."""

    async def script(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        await connection.chunk(kind.begin)
        while True:
            await connection.chunk(kind.more)
            await asyncio.sleep(0.001)

    return script


async def backend_is_left(here: RunningServer) -> float:
    """Return the seconds until the backend is free again."""
    return await settled(
        lambda: not here.faulty.answering and not here.at_work, "it is still at work", PATIENCE_S
    )


@kinds
@dialects
@ways
@pytest.mark.parametrize("script", [silent, only_a_head], ids=["silent", "only a head"])
async def test_leaving_before_the_first_byte(
    kind: Kind, dialect: Dialect, abrupt: bool, script: Any
) -> None:
    async with faulty(kind, script) as here:
        for stream in (False, True):
            here.faulty.asked.clear()
            async with caller(here, dialect.path, dialect.body(stream)) as (_, writer):
                await here.faulty.asked.wait()
                await asyncio.sleep(0.02)
                leave(writer, abrupt)
                await backend_is_left(here)
        assert not here.sound.requests, "nobody is there to answer for"


@kinds
@ways
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_leaving_after_a_large_body(kind: Kind, abrupt: bool, stream: bool) -> None:
    async with faulty(kind, silent) as here:
        body = CHAT.body(stream) | {"user": "x" * 500_000}
        async with caller(here, CHAT.path, body) as (_, writer):
            await writer.drain()
            await here.faulty.asked.wait()
            await asyncio.sleep(0.05)
            leave(writer, abrupt)
            await backend_is_left(here)


@kinds
async def test_garbage_after_a_request_counts_as_a_disconnect(kind: Kind) -> None:
    async with (
        faulty(kind, silent) as here,
        caller(here, CHAT.path, CHAT.body(stream=True)) as (_, writer),
    ):
        await here.faulty.asked.wait()
        writer.write(b"\0\0\r\n\r\n")
        await backend_is_left(here)
        leave(writer, abrupt=False)


@kinds
@dialects
@ways
@pytest.mark.parametrize("script", [talking, chattering])
async def test_leaving_in_mid_stream(
    kind: Kind, dialect: Dialect, abrupt: bool, script: Any
) -> None:
    async with (
        faulty(kind, script(kind)) as here,
        caller(here, dialect.path, dialect.body(stream=True)) as (reader, writer),
    ):
        await reader.readuntil(b"Hello")
        leave(writer, abrupt)
        await backend_is_left(here)


GEMINI_COUNTS = b'data: {"usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 1}}\n\n'


@pytest.mark.parametrize(
    "kind",
    [CLAUDE, replace(GEMINI, begin=GEMINI_COUNTS + GEMINI.begin)],
    ids=lambda kind: kind.name,
)
@dialects
async def test_what_a_cloud_has_counted_is_recorded_though_the_caller_left(
    kind: Kind, dialect: Dialect
) -> None:
    async with (
        faulty(kind, talking(kind)) as here,
        caller(here, dialect.path, dialect.body(stream=True)) as (reader, writer),
    ):
        await reader.readuntil(b"Hello")
        leave(writer, abrupt=False)
        await backend_is_left(here)
        (record,) = here.assembly.ledger.journal.recent(1)
        assert (record.outcome, record.usage) == ("left", Usage(7, 1))
        assert record.cost_usd
        assert record.tokens_per_s is None


@pytest.mark.parametrize("kind", [CLAUDE, GEMINI], ids=lambda kind: kind.name)
@ways
async def test_leaving_while_a_whole_answer_is_put_together(kind: Kind, abrupt: bool) -> None:
    async with (
        faulty(kind, chattering(kind)) as here,
        caller(here, CHAT.path, CHAT.body(stream=False)) as (_, writer),
    ):
        await here.faulty.asked.wait()
        await asyncio.sleep(0.05)
        leave(writer, abrupt)
        await backend_is_left(here)


@dialects
@ways
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_leaving_the_queue(dialect: Dialect, abrupt: bool, stream: bool) -> None:
    async with running_server(LOCAL, silent, CLAUDE.well, local_concurrency=1) as here:
        (slots,) = [s.slots for s in here.assembly.router.seats.values() if s.slots]
        async with caller(here, CHAT.path, CHAT.body(stream=False)) as (_, first):
            await here.local.asked.wait()
            async with caller(here, dialect.path, dialect.body(stream)) as (_, second):
                await settled(lambda: slots.waiting == 1, "it does not wait")
                leave(second, abrupt)
                await settled(lambda: slots.waiting == 0, "it still waits", PATIENCE_S)
            assert (slots.busy, len(here.local.requests)) == (1, 1)
            leave(first, abrupt)
            await backend_is_left(here)


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/embeddings", {"input": "Hi"}), ("/v1/completions", {"prompt": "Hi", "stream": True})],
)
@pytest.mark.parametrize("script", [silent, only_a_head, talking(LOCAL), chattering(LOCAL)])
@ways
async def test_leaving_a_relayed_route(
    path: str, body: dict[str, Any], script: Any, abrupt: bool
) -> None:
    async with (
        running_server(LOCAL, script, CLAUDE.well) as here,
        caller(here, path, body) as (_, writer),
    ):
        await here.local.asked.wait()
        await asyncio.sleep(0.02)
        leave(writer, abrupt)
        await backend_is_left(here)


@dialects
@ways
async def test_leaving_while_the_request_is_being_sent(dialect: Dialect, abrupt: bool) -> None:
    async with running_server(LOCAL, silent, CLAUDE.well) as here:
        for sent in (b"", b"{", b'{"messages": [' + b" " * 200_000):
            _, writer = await asyncio.open_connection(*here.host)
            head = f"POST {dialect.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n"
            writer.write(head.encode() + b"\r\n" + sent)
            await asyncio.sleep(0.02)
            leave(writer, abrupt)
        await asyncio.sleep(0.05)
        assert not here.local.requests


async def test_two_hundred_callers_can_leave_at_once() -> None:
    async with running_server(LOCAL, chattering(LOCAL), CLAUDE.well) as here:

        async def begin() -> asyncio.StreamWriter:
            reader, writer = await asyncio.open_connection(*here.host)
            data = orjson.dumps(CHAT.body(stream=True))
            head = f"POST {CHAT.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}"
            writer.write(head.encode() + b"\r\n\r\n" + data)
            await reader.readuntil(b"Hello")
            return writer

        for writer in await asyncio.gather(*(begin() for _ in range(200))):
            writer.close()
        await settled(lambda: not here.faulty.answering and not here.at_work, "some stay", 5)
