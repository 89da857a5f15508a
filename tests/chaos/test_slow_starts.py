"""A backend that is silent for a while: a streaming caller gets comments meanwhile."""

import asyncio
import logging

import pytest

from tests.support.chaos.callers import DIALECTS, Dialect, ask
from tests.support.chaos.running_server import faulty, running_server
from tests.support.chaos.sides import CLAUDE, HELLO, KINDS, LOCAL, THERE, Kind
from tests.support.scripted import Connection, Request, Script

SILENCE_S = 0.6
SOON = {"keepalive_after_s": 0.1}
dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def slow(kind: Kind) -> Script:
    """Answer after a pause, as while a model is loaded."""

    async def script(connection: Connection, request: Request) -> None:
        await asyncio.sleep(SILENCE_S)
        await kind.well(connection, request)

    return script


def slow_to_refuse(kind: Kind, status: int) -> Script:
    async def script(connection: Connection, request: Request) -> None:
        await asyncio.sleep(SILENCE_S)
        await connection.answer(kind.failure(status, "No."), status)

    return script


def pausing(kind: Kind) -> Script:
    """Pause in the middle of the answer."""

    async def script(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        for part in (kind.begin, kind.more, kind.end):
            await connection.chunk(part)
            await asyncio.sleep(SILENCE_S)
        await connection.end_stream()

    return script


@kinds
@dialects
async def test_comments_keep_a_waiting_caller_connected(kind: Kind, dialect: Dialect) -> None:
    async with faulty(kind, slow(kind), **SOON) as here:
        heard = await ask(here.http, stream=True, dialect=dialect)
        assert heard.text == HELLO + THERE
        assert heard.finish
        assert len(heard.comments) >= 2
        assert heard.target == kind.target


@kinds
@dialects
async def test_comments_fill_a_pause_in_the_answer(kind: Kind, dialect: Dialect) -> None:
    async with faulty(kind, pausing(kind), **SOON) as here:
        heard = await ask(here.http, stream=True, dialect=dialect)
        assert heard.text == HELLO + THERE
        assert heard.finish
        assert len(heard.comments) >= 4


@kinds
async def test_a_caller_that_does_not_stream_gets_an_exact_answer(kind: Kind) -> None:
    async with faulty(kind, slow(kind), **SOON) as here:
        heard = await ask(here.http, stream=False)
        assert (heard.status, heard.text) == (200, HELLO + THERE)
    async with faulty(kind, slow_to_refuse(kind, 400), **SOON) as here:
        assert (await ask(here.http, stream=False)).status == 400


@kinds
@dialects
async def test_a_fallback_after_the_first_comment_is_named_in_a_comment(
    kind: Kind, dialect: Dialect
) -> None:
    async with faulty(kind, slow_to_refuse(kind, 500), **SOON) as here:
        heard = await ask(here.http, stream=True, dialect=dialect)
        assert heard.text == HELLO + THERE
        assert heard.finish
        assert heard.target == kind.target, "the headers name who was being asked"
        assert f"answered by {kind.other}" in heard.comments[-1]


@kinds
@dialects
@pytest.mark.parametrize("status", [400, 500])
async def test_a_failure_after_the_first_comment_is_an_error_event(
    kind: Kind, dialect: Dialect, status: int
) -> None:
    async with faulty(kind, slow_to_refuse(kind, status), **SOON) as here:
        heard = await ask(here.http, stream=True, dialect=dialect, force=kind.target)
        assert heard.status == 200
        assert heard.error is not None
        assert "No." in heard.error["message"]
        assert not heard.text


async def test_until_the_first_comment_statuses_are_exact() -> None:
    async with faulty(LOCAL, slow_to_refuse(LOCAL, 400), keepalive_after_s=5) as here:
        assert (await ask(here.http, stream=True)).status == 400


@dialects
async def test_a_caller_in_the_queue_gets_comments_too(dialect: Dialect) -> None:
    async with running_server(
        LOCAL, slow(LOCAL), CLAUDE.well, local_concurrency=1, complexity_threshold=100, **SOON
    ) as here:
        first, second = await asyncio.gather(
            ask(here.http, stream=True), ask(here.http, stream=True, dialect=dialect)
        )
        assert (first.text, second.text) == (HELLO + THERE, HELLO + THERE)
        assert max(len(first.comments), len(second.comments)) >= 3


@dialects
async def test_a_caller_that_stops_reading_has_left(
    dialect: Dialect, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise it could hold a slot of the local model without limit."""

    async def endless(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        await connection.chunk(LOCAL.begin)
        while True:
            await connection.chunk(LOCAL.more.replace(THERE.encode(), b"x" * 100_000))

    times = {"keepalive_after_s": 0.1, "idle_timeout_s": 0.4}
    async with running_server(LOCAL, endless, CLAUDE.well, **times) as here:
        reader, writer = await asyncio.open_connection(*here.host)
        body = b'{"stream": true, "model": "local", "max_tokens": 9, %b}' % (
            b'"input": "Hi"'
            if dialect.name == "responses"
            else b'"messages": [{"role": "user", "content": "Hi"}]'
        )
        head = f"POST {dialect.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"\r\n" + body)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(5):
            await here.local.asked.wait()
            await here.local.all_closed()
        writer.close()
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []
