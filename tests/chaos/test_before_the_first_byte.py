"""A backend that fails before its first byte: the other side answers.

If the request is wrong, or forced the side, the caller gets that side's error instead.
"""

import asyncio
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, NamedTuple

import orjson
import pytest

from tests.support.chaos.callers import CHAT, MESSAGES, Heard, ask
from tests.support.chaos.running_server import HASTY, faulty
from tests.support.chaos.sides import CLAUDE, HELLO, KINDS, THERE, Kind, data
from tests.support.scripted import Connection, Request, Script

Faulty = Callable[[Kind], Script]


# --- ways to fail ---------------------------------------------------------------------------------


def status(code: int, body: bytes | None = None, **headers: str) -> Faulty:
    def script_of(kind: Kind) -> Script:
        said = kind.failure(code, "No.") if body is None else body

        async def script(connection: Connection, request: Request) -> None:
            await connection.answer(said, code, **headers)

        return script

    return script_of


def prose(code: int, text: str) -> Faulty:
    """Answer with an error in LM Studio's format."""
    return status(code, orjson.dumps({"error": text}))


def document(body: bytes, content_type: str = "application/json", **headers: str) -> Faulty:
    async def script(connection: Connection, request: Request) -> None:
        await connection.answer(body, 200, content_type, **headers)

    return lambda kind: script


def stream(*chunks: bytes) -> Faulty:
    async def script(connection: Connection, request: Request) -> None:
        await connection.stream(*chunks)

    return lambda kind: script


def raw(*pieces: bytes, pause_s: float = 0) -> Faulty:
    """Return a script that sends these bytes and closes the connection."""

    async def script(connection: Connection, request: Request) -> None:
        for piece in pieces:
            await connection.send(piece)
            await asyncio.sleep(pause_s)
        connection.writer.close()

    return lambda kind: script


async def silent(connection: Connection, request: Request) -> None:
    await connection.silence()


async def only_a_head(connection: Connection, request: Request) -> None:
    await connection.begin_stream()
    await connection.silence()


async def only_comments(connection: Connection, request: Request) -> None:
    await connection.begin_stream()
    while True:
        await connection.chunk(b": still loading\n\n")
        await asyncio.sleep(0.05)


async def resetting(connection: Connection, request: Request) -> None:
    connection.reset()


async def reset_after_the_head(connection: Connection, request: Request) -> None:
    await connection.begin_stream()
    connection.reset()


async def half_an_event(connection: Connection, request: Request) -> None:
    await connection.begin_stream()
    await connection.chunk(b'data: {"choices": [{"del')
    await connection.end_stream()


def always(script: Script) -> Faulty:
    return lambda kind: script


def error_in_a_200(kind: Kind) -> Script:
    body = kind.failure(500, "No.")

    async def script(connection: Connection, request: Request) -> None:
        if kind.streams(request):
            await connection.stream(b"event: error\ndata: " + body + b"\n\n")
        else:
            await connection.answer(body)

    return script


DRIBBLE = [bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX: y"]
GATEWAY = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


class Case(NamedTuple):
    script: Faulty
    forced: int | dict[str, int]
    """Status for a caller that forced the side; a dict where it differs by kind."""
    only: str = ""
    """The only kind that fails this way; None for all."""
    limits: Mapping[str, Any] = {}
    """Time limits that end it, if nothing else does."""


CASES = {
    "silent": Case(always(silent), 504, limits=HASTY),
    "headers dribbled": Case(raw(*DRIBBLE, pause_s=0.04), 504, limits=HASTY),
    "only a head": Case(always(only_a_head), 504, limits=HASTY),
    "only comments": Case(always(only_comments), 504, limits={"total_timeout_s": 0.5}),
    "reset": Case(always(resetting), {"local": 503, "claude": 503, "gemini": 503}),
    "reset after the head": Case(always(reset_after_the_head), 502),
    "closed without a word": Case(raw(), 503),
    "not HTTP": Case(raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), 502),
    "a head without end": Case(raw(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 200_000), 502),
    "401": Case(status(401), 502),
    "403": Case(status(403), 502),
    "404": Case(status(404), 502),
    "429": Case(status(429), 429),
    "429 and when to come back": Case(status(429, Retry_After="7"), 429),
    "429 and never to come back": Case(status(429, Retry_After="inf"), 429),
    "429 and no number": Case(status(429, Retry_After="soon"), 429),
    "500": Case(status(500), 502),
    "503": Case(status(503), 503),
    "529": Case(status(529), 503),
    "302 to elsewhere": Case(status(302, Location="http://127.0.0.1:1/"), 502),
    "204": Case(status(204, b""), 502),
    "500 in HTML": Case(status(500, GATEWAY), 502),
    "200 in HTML": Case(document(GATEWAY, "text/html"), 502),
    "truncated JSON": Case(document(b'{"choices": [{"index": 0, "mess'), 502),
    "JSON of another kind": Case(document(b"[1, 2]"), 502),
    "shorter than announced": Case(
        raw(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"a'),
        502,
    ),
    "an empty document": Case(document(b""), 502),
    "compressed, unasked": Case(document(b"\x1f\x8b\x08\x00", Content_Encoding="gzip"), 502),
    "an error in a 200": Case(error_in_a_200, 502),
    "an empty stream": Case(stream(), 502),
    "nothing but the end": Case(stream(b"data: [DONE]\n\n"), 502),
    "half an event": Case(always(half_an_event), 502),
    "no JSON in an event": Case(stream(b"data: {\n\n", b"data: [DONE]\n\n"), 502),
    "invalid UTF-8": Case(stream(b'data: {"choices": "\xff\xfe"}\n\n'), 502),
    "no choices": Case(stream(data({"choices": []}), b"data: [DONE]\n\n"), 502),
    "choices of another kind": Case(stream(data({"choices": [None, 1]})), 502),
    "an event of another kind": Case(stream(data([1, 2]), b"data: [DONE]\n\n"), 502),
    "no model loaded": Case(prose(400, "No models loaded. Please load a model"), 503, "local"),
    "unloaded": Case(prose(400, "Model is unloaded."), 503, "local"),
    "crashed": Case(prose(500, "The model has crashed without additional info"), 503, "local"),
    "context overflow": Case(
        prose(400, "Trying to keep the first 9000 tokens when context the overflows"), 400, "local"
    ),
}
AT_FAULT = (400, 413, 422)

rows = pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, id=f"{kind.name}-{name}")
        for kind in KINDS
        for name, case in CASES.items()
        if case.only in ("", kind.name)
    ],
)
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


# --- what holds for all of them -------------------------------------------------------------------


def assert_answered(heard: Heard, target: str) -> None:
    assert heard.error is None
    assert heard.text == HELLO + THERE
    assert heard.finish in ("stop", "end_turn")
    assert heard.target == target


@rows
async def test_the_other_side_answers_unless_the_side_was_forced(kind: Kind, name: str) -> None:
    case = CASES[name]
    forced = case.forced if isinstance(case.forced, int) else case.forced[kind.name]
    dialects = (CHAT, MESSAGES) if kind is CLAUDE else (CHAT,)  # translated, and relayed
    brief: Any = {"max_tokens": 5}  # so that a cloud is asked for a whole answer at any limits
    ways = product((CHAT,) if case.limits else dialects, (False, True))
    async with faulty(kind, case.script(kind), **case.limits) as here:
        for dialect, stream in ways:
            heard = await ask(here.http, stream=stream, dialect=dialect, **brief)
            assert_answered(heard, kind.other)
            refused = await ask(
                here.http, stream=stream, dialect=dialect, force=kind.target, **brief
            )
            assert refused.error is not None
            # In a stream it may be noticed after the first event.
            assert refused.status in ((forced, 200) if stream else (forced,))
            here.forgive()


@kinds
async def test_a_refused_connection_is_noticed_at_once(kind: Kind) -> None:
    async with faulty(kind, silent) as here:
        await here.faulty.stop()
        for stream in (False, True):
            assert_answered(await ask(here.http, stream=stream), kind.other)
            assert (await ask(here.http, stream=stream, force=kind.target)).status == 503
            here.forgive()


@kinds
@pytest.mark.parametrize("code", AT_FAULT)
async def test_a_wrong_request_is_not_tried_on_the_other_side(kind: Kind, code: int) -> None:
    async with faulty(kind, status(code)(kind)) as here:
        for stream in (False, True):
            refused = await ask(here.http, stream=stream)
            assert refused.error is not None
            assert "No." in refused.error["message"]
            assert refused.status in (400, code)
        assert not here.sound.requests
