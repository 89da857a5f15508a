"""The live check, against servers that play the sides: well, and badly."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from router.events import Event, Finish, TextDelta, ToolCallDelta, ToolCallStart, Usage
from router.request import ChatRequest
from router.wire.anthropic import messages
from router.wire.chat import completions
from tests.support.backend_answers import models
from tests.support.clients import joined, said
from tests.support.live import live
from tests.support.scripted import Connection, Request, Script, ScriptedServer, scripted

KEY = "sk-ant-api03-" + "0123456789abcdefghijklmnopqrstuvwxyzABCD"


def words_for(body: bytes) -> list[Event]:
    """Return what a good model answers to each of the calls."""
    if b'"weather"' in body and b"light rain" not in body:
        return [
            ToolCallStart(0, "call_a", "weather"),
            ToolCallDelta(0, '{"city":"Paris"}'),
            Finish("tool_calls", Usage(7, 5)),
        ]
    text = "Hello."
    if b"iVBORw" in body:
        text = "Red."
    elif b'"age"' in body:
        text = '{"name":"Ada","age":36}'
    return [TextDelta(text), Finish("stop", Usage(7, 5))]


async def well(connection: Connection, request: Request) -> None:
    events = words_for(request.body)
    if "enerateContent" in request.path:
        await gemini_says(connection, request, events)
        return
    wire: Any = messages if request.path.startswith("/v1/messages") else completions
    asked = ChatRequest(request.json | {"messages": [], "stream_options": {"include_usage": True}})
    if request.json.get("stream"):
        await connection.stream(await joined(wire.stream(said(events), asked, "m", "id_1", 1)))
    else:
        answer = await wire.complete(said(events), asked, "m", "id_1", 1)
        await connection.answer(orjson.dumps(answer))


async def gemini_says(connection: Connection, request: Request, events: list[Event]) -> None:
    part: dict[str, Any] = {"functionCall": {"name": "weather", "args": {"city": "Paris"}}}
    if isinstance(first := events[0], TextDelta):
        part = {"text": first.text}
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 5}
    candidate = {"content": {"parts": [part]}, "finishReason": "STOP"}
    answer = orjson.dumps({"candidates": [candidate], "usageMetadata": usage})
    if "streamGenerateContent" in request.path:
        await connection.stream(b"data: %b\n\n" % answer)
    else:
        await connection.answer(answer)


async def badly(connection: Connection, request: Request) -> None:
    if b"iVBORw" in request.body:
        await connection.answer(b'{"error": {"message": "image input is not supported"}}', 500)
    elif request.path == "/v1/chat/completions":
        await connection.answer(orjson.dumps({"error": f"Two\nlines with {KEY}"}), 500)
    else:
        await gemini_says(connection, request, [TextDelta("Pardon?")])


@pytest.fixture
async def served(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ScriptedServer]:
    script: Script = request.param
    async with scripted(script, models) as server:
        settings = {
            "LOCAL_BASE_URL": f"{server.url}/v1",
            "LOCAL_MODEL": "local-model",
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": server.url,
            "GEMINI_API_KEY": "a-key-of-googles",
            "GEMINI_BASE_URL": server.url,
            "GEMINI_MODEL": "gemini-3.8-flash",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.mark.parametrize("served", [well], indirect=True)
async def test_every_side_that_is_configured_is_called(
    served: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await live()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    sides = {
        "local-model:": "local",
        "claude-sonnet-4-6:": "cloud",
        "gemini-3.8-flash:": "cloud",
    }
    kinds = ["text", "stream", "tools", "picture", "schema"]
    assert [line[:4] for line in lines] == [
        [target, kind, "ok", model] for model, target in sides.items() for kind in kinds
    ]
    asked = [request.path for request in served.requests]
    assert len([path for path in asked if path == "/v1/messages"]) == 6  # a tool takes two


@pytest.mark.parametrize("served", [badly], indirect=True)
async def test_a_failed_call_is_one_clear_line(
    served: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not await live()
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert len(lines) == 15
    assert [line[:24].split() for line in lines[:5]] == [
        ["local", "text", "FAILED"],
        ["local", "stream", "FAILED"],
        ["local", "tools", "FAILED"],
        ["local", "picture", "cannot"],
        ["local", "schema", "FAILED"],
    ]
    assert "502, The local server said: Two lines with" in lines[0]
    assert "no tool was called: 'Pardon?'" in out
    assert "the picture is red" not in out
    assert KEY not in out
    assert "Traceback" not in out
