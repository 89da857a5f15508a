"""A backend that fails in the middle of its answer: the stream ends with an error event.

No answer is cut silently, ends with an invented `stop`, or keeps the caller waiting.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.chaos.callers import DIALECTS, Dialect, ask
from tests.support.chaos.running_server import HASTY, faulty
from tests.support.chaos.sides import CLAUDE, GEMINI, HELLO, KINDS, LOCAL, THERE, Kind, data
from tests.support.scripted import Connection, Request, Script

# --- ways to end an answer that has begun ---------------------------------------------------------


async def closed(connection: Connection, kind: Kind) -> None:
    connection.writer.close()


async def reset(connection: Connection, kind: Kind) -> None:
    connection.reset()


async def ended(connection: Connection, kind: Kind) -> None:
    """End the HTTP body correctly, but without the end of the answer."""
    await connection.end_stream()


async def ended_in_an_event(connection: Connection, kind: Kind) -> None:
    await connection.chunk(kind.more[:-12])
    await connection.end_stream()


async def reset_in_an_event(connection: Connection, kind: Kind) -> None:
    await connection.chunk(kind.more[:-12])
    connection.reset()


async def stalled(connection: Connection, kind: Kind) -> None:
    await connection.silence()


async def stalled_in_an_event(connection: Connection, kind: Kind) -> None:
    await connection.chunk(kind.more[:-12])
    await connection.silence()


async def endless(connection: Connection, kind: Kind) -> None:
    while True:
        await connection.chunk(b": working\n\n")
        await asyncio.sleep(0.05)


async def error(connection: Connection, kind: Kind) -> None:
    await connection.chunk(b"event: error\ndata: " + kind.failure(500, "Out of order.") + b"\n\n")
    await connection.end_stream()


async def busy(connection: Connection, kind: Kind) -> None:
    await connection.chunk(b"event: error\ndata: " + kind.failure(529, "Overloaded.") + b"\n\n")
    await connection.silence()


async def error_then_words(connection: Connection, kind: Kind) -> None:
    failure = b"event: error\ndata: " + kind.failure(500, "Out of order.") + b"\n\n"
    await connection.chunk(kind.more + failure + kind.end)
    await connection.end_stream()


async def no_json(connection: Connection, kind: Kind) -> None:
    await connection.chunk(b'data: {"choices": [{\n\n')
    await connection.end_stream()


async def invalid_utf8(connection: Connection, kind: Kind) -> None:
    await connection.chunk(kind.more.replace(THERE.encode(), b"\xff\xfe"))
    await connection.end_stream()


async def of_another_kind(connection: Connection, kind: Kind) -> None:
    await connection.chunk(data([1, 2]) + data("three") + data(None))
    await connection.end_stream()


async def html(connection: Connection, kind: Kind) -> None:
    await connection.chunk(b"<html>502 Bad Gateway</html>")
    await connection.end_stream()


async def no_chunk(connection: Connection, kind: Kind) -> None:
    """Send bytes that break the chunked encoding."""
    await connection.send(b"gibberish\r\n\r\n")


ENDINGS = {
    ending.__name__: ending
    for ending in (
        closed,
        reset,
        ended,
        ended_in_an_event,
        reset_in_an_event,
        stalled,
        stalled_in_an_event,
        endless,
        error,
        busy,
        error_then_words,
        no_json,
        invalid_utf8,
        of_another_kind,
        html,
        no_chunk,
    )
}
UNREADABLE = ("no_json", "invalid_utf8", "of_another_kind")
"""Backends whose bytes are relayed unchanged to callers of their own dialect."""
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


LIMITS: dict[str, dict[str, Any]] = {
    "stalled": HASTY,
    "stalled_in_an_event": HASTY,
    "busy": HASTY,
    "no_chunk": HASTY,
    "endless": {"total_timeout_s": 0.5},
}
"""Time limits for endings that only a time limit notices."""


def breaking_off(kind: Kind, how: str) -> Script:
    """Return a script that sends "Hello", or half of a whole answer, and ends like this."""

    async def script(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        half = kind.document[: len(kind.document) // 2]
        await connection.chunk(kind.begin if kind.streams(request) else half)
        await asyncio.sleep(0.02)  # so that the beginning is sent in a packet of its own
        await ENDINGS[how](connection, kind)

    return script


@kinds
@pytest.mark.parametrize("how", ENDINGS)
async def test_a_stream_that_breaks_off_ends_with_an_error(kind: Kind, how: str) -> None:
    async with faulty(kind, breaking_off(kind, how), **LIMITS.get(how, {})) as here:
        for dialect in DIALECTS:
            here.forgive()
            heard = await ask(here.http, stream=True, dialect=dialect)
            assert heard.status == 200
            assert heard.text.startswith(HELLO)
            assert heard.error is not None, dialect.name
            assert heard.finish is None
            assert heard.unreadable == [] or how in UNREADABLE
        assert not here.sound.requests


@pytest.mark.parametrize("kind", [CLAUDE, GEMINI], ids=lambda kind: kind.name)
@pytest.mark.parametrize("how", ENDINGS)
@pytest.mark.parametrize("max_tokens", [5, 60_000], ids=["asked whole", "asked for a stream"])
async def test_a_whole_answer_that_breaks_off_comes_from_the_other_side(
    kind: Kind, how: str, max_tokens: int
) -> None:
    """The caller has received nothing of it. (A local server is always asked for a document.)"""
    async with faulty(kind, breaking_off(kind, how), **LIMITS.get(how, {})) as here:
        heard = await ask(here.http, stream=False, max_tokens=max_tokens)
        assert heard.error is None
        assert heard.text == HELLO + THERE
        assert heard.target == kind.other
        refused = await ask(here.http, stream=False, force=kind.target, max_tokens=max_tokens)
        assert refused.status in (429, 502, 503, 504)
        assert {kind.streams(asked) for asked in here.faulty.requests} == {max_tokens > 5}


# --- unusual streams that are complete ------------------------------------------------------------


def pieces(*cuts: bytes) -> Script:
    async def script(connection: Connection, request: Request) -> None:
        await connection.stream(*cuts)

    return script


def byte_by_byte(kind: Kind) -> Script:
    whole = (
        kind.begin
        + kind.more.replace(THERE.encode(), " \u00e9\u4f60\U0001f600".encode())
        + kind.end
    )
    return pieces(*(whole[i : i + 1] for i in range(len(whole))))


def with_crlf(kind: Kind) -> Script:
    whole = kind.begin + kind.more + kind.end
    return pieces(whole.replace(b"\n", b"\r\n"))


def commented(kind: Kind) -> Script:
    return pieces(b": hello\n\n", kind.begin, b": still here\n\n:\n\n", kind.more, kind.end)


def in_one(kind: Kind) -> Script:
    return pieces(kind.begin + kind.more + kind.end)


def huge(kind: Kind) -> Script:
    long = kind.more.replace(THERE.encode(), b"x" * 10 * 2**20)
    return pieces(kind.begin, long, kind.end)


ODD: dict[str, tuple[Callable[[Kind], Script], str]] = {
    "byte by byte": (byte_by_byte, HELLO + " \u00e9\u4f60\U0001f600"),
    "CRLF": (with_crlf, HELLO + THERE),
    "comments": (commented, HELLO + THERE),
    "in one piece": (in_one, HELLO + THERE),
    "ten megabytes": (huge, HELLO + "x" * 10 * 2**20),
}


@kinds
@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
async def test_an_unusual_but_complete_stream_is_an_answer(
    kind: Kind, name: str, dialect: Dialect
) -> None:
    script, text = ODD[name]
    async with faulty(kind, script(kind)) as here:
        heard = await ask(here.http, stream=True, dialect=dialect)
        assert heard.error is None
        assert heard.text == text
        assert heard.finish
        assert heard.target == kind.target


@kinds
async def test_an_answer_without_usage_is_an_answer(kind: Kind) -> None:
    end = b"\n\n".join(part for part in kind.end.split(b"\n\n") if b'"prompt_tokens"' not in part)
    end = end.replace(b'"usage":{"output_tokens":2}', b'"usage":null')
    end = end.replace(b'"usageMetadata"', b'"other"')
    async with faulty(kind, pieces(kind.begin, kind.more, end)) as here:
        for dialect in DIALECTS:
            heard = await ask(here.http, stream=True, dialect=dialect)
            assert (heard.text, heard.error) == (HELLO + THERE, None)
            assert heard.finish


@pytest.mark.parametrize("kind", [LOCAL, CLAUDE], ids=lambda kind: kind.name)
@pytest.mark.parametrize("how", [closed, reset, stalled], ids=lambda how: how.__name__)
async def test_a_failure_after_the_last_event_is_ignored(kind: Kind, how: Any) -> None:
    """Gemini has no last event, so the end of its stream completes the answer."""

    async def script(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        await connection.chunk(kind.begin + kind.more + kind.end)
        await asyncio.sleep(0.02)  # so that it is read before the connection closes
        await how(connection, kind)

    async with faulty(kind, script) as here:
        for dialect in DIALECTS:
            heard = await ask(here.http, stream=True, dialect=dialect)
            assert (heard.text, heard.error) == (HELLO + THERE, None)
            assert heard.finish
