"""Callers that do not stream: the clouds are asked for whole answers, if those come in time."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from router.backend import TimeLimits
from tests.support.chaos.callers import CHAT, DIALECTS, Dialect, ask
from tests.support.chaos.running_server import faulty
from tests.support.chaos.sides import CLAUDE, GEMINI, HELLO, THERE, Kind
from tests.support.claude_backend import MODEL, backend_of, events_of, probed
from tests.support.claude_recordings import RECORDINGS as CLAUDE_RECORDINGS
from tests.support.claude_server import claude_server, document
from tests.support.claude_words import request as claude_request
from tests.support.gemini_words import RECORDINGS as GEMINI_RECORDINGS
from tests.support.gemini_words import user
from tests.support.scripted import Connection, Request, Script
from tests.support.waiting import settled
from tests.support.whole import whole_claude, whole_gemini

CLOUDS = (CLAUDE, GEMINI)
LONG = 60_000
"""An answer with this limit is requested as a stream."""
clouds = pytest.mark.parametrize("kind", CLOUDS, ids=lambda kind: kind.name)
dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


@clouds
@dialects
async def test_a_caller_that_does_not_stream_has_a_whole_answer_asked_for(
    kind: Kind, dialect: Dialect
) -> None:
    async with faulty(kind, kind.well) as here:
        heard = await ask(here.http, stream=False, dialect=dialect)
        assert (heard.text, heard.target) == (HELLO + THERE, "cloud")
        await ask(here.http, stream=True, dialect=dialect)
        assert [kind.streams(asked) for asked in here.cloud.requests] == [False, True]
        if kind is GEMINI:
            assert here.cloud.requests[0].path.endswith(":generateContent")


@clouds
@pytest.mark.parametrize(
    ("settings", "fields", "streams"),
    [
        ({}, {"max_tokens": 9000}, False),
        ({}, {"max_tokens": 9001}, True),
        ({}, {"max_completion_tokens": 9001}, True),
        ({}, {"reasoning_effort": "medium"}, False),
        ({}, {"reasoning_effort": "high"}, True),
        ({}, {"reasoning_effort": "xhigh"}, True),
        ({}, {"reasoning_effort": "max"}, True),
        ({"first_byte_timeout_s": 273}, {}, True),
        ({"first_byte_timeout_s": 10}, {"max_tokens": 300}, False),
        ({"first_byte_timeout_s": 10}, {"max_tokens": 301}, True),
    ],
)
async def test_an_answer_that_may_be_late_is_requested_as_a_stream(
    kind: Kind, settings: Any, fields: Any, streams: bool
) -> None:
    async with faulty(kind, kind.well, **settings) as here:
        heard = await ask(here.http, stream=False, **fields)
        assert (heard.text, heard.target) == (HELLO + THERE, "cloud")
        assert [kind.streams(asked) for asked in here.cloud.requests] == [streams]


async def test_the_limit_that_counts_is_the_one_that_is_sent() -> None:
    """A model with a low limit of its own ends in time, whatever the caller allows."""
    models = {MODEL: (200, {"id": MODEL, "max_tokens": 4096})}
    async with (
        claude_server(document(CLAUDE.document), models=models) as server,
        backend_of(server, TimeLimits()) as backend,
    ):
        await probed(backend)
        await events_of(backend, claude_request(max_tokens=LONG))
    assert "stream" not in server.asked[0].body


# --- answers --------------------------------------------------------------------------------------


def both_ways(kind: Kind, recording: Path) -> Script:
    """Answer with a recording, as a stream or whole, as requested."""
    stream = recording.read_bytes()
    put_together = whole_claude if kind is CLAUDE else whole_gemini
    whole = orjson.dumps(put_together(stream), option=orjson.OPT_INDENT_2)

    async def script(connection: Connection, request: Request) -> None:
        if kind.streams(request):
            await connection.stream(stream)
        else:
            await connection.answer(whole)

    return script


@pytest.mark.parametrize(
    ("kind", "recording"),
    [
        pytest.param(kind, path, id=f"{kind.name}-{path.stem}")
        for kind, folder in zip(CLOUDS, (CLAUDE_RECORDINGS, GEMINI_RECORDINGS), strict=True)
        for path in sorted(folder.glob("*.sse"))
    ],
)
async def test_every_recorded_stream_says_the_same_when_it_comes_whole(
    kind: Kind, recording: Path
) -> None:
    async with faulty(kind, both_ways(kind, recording)) as here:
        whole, streamed = [
            await here.http.post(
                CHAT.path,
                json=CHAT.body(stream=False) | {"max_tokens": most, "logprobs": True},
                headers={"X-Force-Route": "cloud"},
            )
            for most in (9, LONG)
        ]
        assert {kind.streams(asked) for asked in here.cloud.requests} == {False, True}
    assert whole.status_code == streamed.status_code
    assert said(whole) == said(streamed)


def said(answer: httpx2.Response) -> Any:
    """Return an answer without generated values: its id and time, and ids of calls."""
    body = answer.json()
    if answer.status_code != 200:
        return body
    for call in body["choices"][0]["message"].get("tool_calls") or ():
        call["id"] = call["id"] if not call["id"].startswith("call_") else "minted"
        call["function"]["arguments"] = orjson.loads(call["function"]["arguments"])
    return {name: value for name, value in body.items() if name not in ("id", "created")}


@pytest.mark.parametrize(
    ("kind", "recording", "opaque"),
    [
        (CLAUDE, CLAUDE_RECORDINGS / "thinking.sse", b"EqQBCgIYAhIM1gbcDa9GJwZA2b3h"),
        (GEMINI, GEMINI_RECORDINGS / "tool_calls.sse", b"QUJD+/8="),
    ],
    ids=["claude", "gemini"],
)
async def test_opaque_data_of_a_whole_answers_calls_comes_back_with_them(
    kind: Kind, recording: Path, opaque: bytes
) -> None:
    async with faulty(kind, both_ways(kind, recording)) as here:
        body: dict[str, Any] = CHAT.body(stream=False) | {"model": "cloud"}
        message = (await here.http.post(CHAT.path, json=body)).json()["choices"][0]["message"]
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": "ok"}
            for call in message["tool_calls"]
        ]
        body["messages"] += [message, *results]
        await here.http.post(CHAT.path, json=body)
        first, second = here.cloud.requests
    assert not kind.streams(second)
    assert opaque in second.body
    assert opaque not in first.body


@clouds
async def test_answers_at_the_same_time_do_not_mix(kind: Kind) -> None:
    async def echo(connection: Connection, request: Request) -> None:
        turns = request.json["messages" if kind is CLAUDE else "contents"]
        (part,) = turns[0]["content" if kind is CLAUDE else "parts"]
        word = orjson.dumps(part["text"])
        await connection.answer(kind.document.replace(orjson.dumps(HELLO + THERE), word))

    async def asked(http: httpx2.AsyncClient, words: str) -> str:
        heard = await ask(http, stream=False, messages=[user(words)])
        return heard.text

    async with faulty(kind, echo) as here:
        words = [f"{i} words" for i in range(30)]
        assert await asyncio.gather(*(asked(here.http, each) for each in words)) == words


# --- failures -------------------------------------------------------------------------------------


@clouds
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503, 504, 529])
async def test_an_error_in_place_of_a_whole_answer_is_the_same_as_in_a_stream(
    kind: Kind, status: int
) -> None:
    error = kind.failure(status, "No.")

    async def script(connection: Connection, request: Request) -> None:
        if kind.streams(request):
            await connection.stream(b"event: error\ndata: " + error + b"\n\n")
        else:
            await connection.answer(error)

    async with faulty(kind, script) as here:
        whole, streamed = [
            await ask(here.http, stream=False, force="cloud", max_tokens=most) for most in (9, LONG)
        ]
    assert (whole.status, whole.error) == (streamed.status, streamed.error)
    assert whole.status >= 400


async def test_a_gemini_that_fails_in_mid_answer_is_asked_once_more() -> None:
    """No part of a whole answer has reached the caller yet."""
    answer = orjson.loads(GEMINI.document)
    failed = orjson.loads(GEMINI.document)
    failed["candidates"][0]["finishReason"] = "MALFORMED_FUNCTION_CALL"
    answers = [failed, answer]

    async def script(connection: Connection, request: Request) -> None:
        await connection.answer(orjson.dumps(answers.pop(0)))

    async with faulty(GEMINI, script) as here:
        heard = await ask(here.http, stream=False)
    assert (heard.text, heard.target) == (HELLO + THERE, "cloud")
    assert len(here.cloud.requests) == 2


@clouds
async def test_a_message_in_an_undocumented_form_is_broken(kind: Kind) -> None:
    broken = [
        {"type": "message", "content": content, "candidates": content}
        for content in (None, "Hi", [None], [{"type": "text"}], [{"content": {"parts": [1]}}])
    ]

    async def script(connection: Connection, request: Request) -> None:
        await connection.answer(orjson.dumps(broken[len(here.cloud.requests) - 1]))

    async with faulty(kind, script) as here:
        for _ in broken:
            heard = await ask(here.http, stream=False, force="cloud")
            assert heard.status == 502
            here.forgive()


@clouds
async def test_a_whole_answer_that_dribbles_is_given_up_when_it_must_have_come(kind: Kind) -> None:
    async def dribbling(connection: Connection, request: Request) -> None:
        await connection.begin_stream("application/json")
        for i in range(len(kind.document)):
            await connection.chunk(kind.document[i : i + 1])
            await asyncio.sleep(0.05)

    async with faulty(kind, dribbling, first_byte_timeout_s=0.5) as here:
        began = asyncio.get_running_loop().time()
        heard = await ask(here.http, stream=False, force="cloud", max_tokens=5)
        assert heard.status == 504
        assert asyncio.get_running_loop().time() - began < 2
        assert not kind.streams(here.cloud.requests[0])
        await settled(lambda: not here.cloud.answering, "its connection stays open")


@clouds
async def test_a_gateway_that_streams_whatever_it_is_asked_for_is_understood(kind: Kind) -> None:
    async def streaming(connection: Connection, request: Request) -> None:
        assert not kind.streams(request)
        await connection.stream(kind.begin, kind.more, kind.end)

    async with faulty(kind, streaming) as here:
        heard = await ask(here.http, stream=False)
    assert (heard.text, heard.target) == (HELLO + THERE, "cloud")
