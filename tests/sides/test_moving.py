"""One conversation that moves between the sides, in the middle of a tool loop, over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import orjson
import pytest
from pydantic import BaseModel

from config import load_settings
from router.build import assemble
from router.wire.gemini.generate_content import NO_SIGNATURE
from tests.support.backend_answers import models
from tests.support.claude_rules import assert_acceptable
from tests.support.gemini_rules import assert_wellformed
from tests.support.scripted import Connection, Request, ScriptedServer, scripted
from web.app import create_app

LOOK: Any = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
    },
}
THOUGHT = {"type": "thinking", "thinking": "Let me look.", "signature": "c2ln"}
SIGNATURE = "QUJD"


def sse(*events: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)


def local_calls(turn: int) -> bytes:
    """A local model, whose calls have the same id in every answer."""
    function = {"name": "look", "arguments": f'{{"path": "{turn}"}}'}
    call = {"index": 0, "id": "call_0", "type": "function", "function": function}
    said: list[tuple[Any, Any]] = [
        ({"role": "assistant", "content": "Hm."}, None),
        ({"tool_calls": [call]}, None),
        ({}, "tool_calls"),
    ]
    chunks = [
        {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        }
        for delta, reason in said
    ]
    return sse(*chunks) + b"data: [DONE]\n\n"


def claude_calls(turn: int) -> bytes:
    """Claude, who thinks, says something, and calls."""
    use = {"type": "tool_use", "id": f"toolu_{turn}", "name": "look", "input": {}}
    arguments = {"type": "input_json_delta", "partial_json": f'{{"path": "{turn}"}}'}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}},
    ]
    written: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
        (
            THOUGHT | {"thinking": "", "signature": ""},
            [
                {"type": "thinking_delta", "thinking": THOUGHT["thinking"]},
                {"type": "signature_delta", "signature": THOUGHT["signature"]},
            ],
        ),
        ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "I look."}]),
        (use, [arguments]),
    ]
    for i, (block, deltas) in enumerate(written):
        events.append({"type": "content_block_start", "index": i, "content_block": block})
        events += [{"type": "content_block_delta", "index": i, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": i})
    ending = {"stop_reason": "tool_use", "stop_sequence": None}
    events.append({"type": "message_delta", "delta": ending, "usage": {"output_tokens": 9}})
    return sse(*events, {"type": "message_stop"})


def gemini_calls(turn: int) -> bytes:
    """Gemini, which signs its call."""
    call = {"id": f"fc_{turn}", "name": "look", "args": {"path": str(turn)}}
    part = {"functionCall": call, "thoughtSignature": SIGNATURE}
    candidate = {"index": 0, "content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}
    return sse({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 7}})


PATHS = {
    "/v1/chat/completions": local_calls,
    "/v1/messages": claude_calls,
    "/v1/models/gemini-3.8-flash:streamGenerateContent": gemini_calls,
}


@asynccontextmanager
async def client_of(server: ScriptedServer, provider: str) -> AsyncIterator[openai.AsyncOpenAI]:
    settings = load_settings(
        env=None,
        local_base_url=f"{server.url}/v1",
        local_model="local-model",
        embedded_model="off",
        journal_path="off",
        cloud_provider=provider,
        anthropic_api_key="sk-ant-unused",
        anthropic_base_url=server.url,
        gemini_api_key="unused",
        gemini_base_url=server.url,
        gemini_model="gemini-3.8-flash",
    )
    assembly = assemble(settings)
    transport = httpx2.ASGITransport(create_app(settings, assembly))
    async with httpx2.AsyncClient(transport=transport) as http:
        yield openai.AsyncOpenAI(
            api_key="k", base_url="http://localhost/v1", http_client=http, max_retries=0
        )
    await assembly.aclose()


async def test_a_conversation_moves_between_all_sides_in_the_middle_of_a_tool_loop() -> None:
    async def script(connection: Connection, request: Request) -> None:
        calls = PATHS[request.path.partition("?")[0]]
        await connection.stream(calls(len(server.requests)))

    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What does it print?"},
    ]
    async with (
        scripted(script, models) as server,
        client_of(server, "anthropic") as with_claude,
        client_of(server, "gemini") as with_gemini,
    ):
        for side in ["local", "claude", "local", "gemini", "claude", "gemini", "local"]:
            client = with_gemini if side == "gemini" else with_claude
            async with client.chat.completions.stream(
                model="local" if side == "local" else "cloud", messages=messages, tools=[LOOK]
            ) as stream:
                answer = (await stream.get_final_completion()).choices[0].message
            (call,) = answer.tool_calls or []
            assert orjson.loads(call.function.arguments) == {"path": str(len(server.requests))}
            messages.append(answer.model_dump(exclude_none=True, exclude={"parsed"}))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": f"<{call.id}>"})
    sent = {side: [r for r in server.requests if PATHS[_path(r)] is calls] for side, calls in SIDES}
    assert [len(sent[side]) for side in sent] == [3, 2, 2]
    _check_claude(sent["claude"])
    _check_gemini(sent["gemini"])
    # A local server is told what the caller said, as it said it.
    assert sent["local"][2].json["messages"] == messages[:-2]


SIDES = [("local", local_calls), ("claude", claude_calls), ("gemini", gemini_calls)]


def _path(request: Request) -> str:
    return request.path.partition("?")[0]


def _check_claude(requests: list[Request]) -> None:
    for request in requests:
        assert_acceptable(request.json)
    first, second = (request.body for request in requests)
    end = b'],"stream":true}'
    assert first.endswith(end)
    assert second.startswith(first.removesuffix(end))  # what the cache has of the first
    turns = [turn["content"] for turn in requests[1].json["messages"] if turn["role"] != "user"]
    # Its own thoughts come back in their place; what the others thought is none of its business.
    assert [[block["type"] for block in turn] for turn in turns] == [
        ["text", "tool_use"],
        ["thinking", "text", "tool_use"],
        ["text", "tool_use"],
        ["tool_use"],
    ]
    assert turns[1][0] == THOUGHT
    assert [turn[-1]["id"] for turn in turns] == ["call_0", "toolu_2", "call_0_2", "fc_4"]


def _check_gemini(requests: list[Request]) -> None:
    for request in requests:
        assert_wellformed(request.json)
    before, after = (request.json["contents"] for request in requests)
    assert after[: len(before)] == before
    calls = [p for content in after for p in content["parts"] if "functionCall" in p]
    assert [(call["functionCall"]["id"], call["thoughtSignature"]) for call in calls] == [
        ("call_0", NO_SIGNATURE),
        ("toolu_2", NO_SIGNATURE),
        ("call_0", NO_SIGNATURE),
        ("fc_4", SIGNATURE),
        ("toolu_5", NO_SIGNATURE),
    ]


class City(BaseModel):
    name: str
    people: int


ULM = b'{\\"name\\": \\"Ulm\\", \\"people\\": 128928}'
SAYS: dict[str, bytes] = {
    "local": b"""
data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,\
"delta":{"role":"assistant","content":"%b"},"finish_reason":"stop"}]}

data: [DONE]

""",
    "claude": b"""
data: {"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":1}}}

data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":"%b"}}

data: {"type":"content_block_stop","index":0}

data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}

data: {"type":"message_stop"}

""",
    "gemini": b"""
data: {"candidates":[{"content":{"parts":[{"text":"%b"}]},"finishReason":"STOP"}]}

""",
}
SCHEMA_AT = {
    "local": ("response_format", "json_schema", "schema"),
    "claude": ("output_config", "format", "schema"),
    "gemini": ("generationConfig", "responseJsonSchema"),
}


@pytest.mark.parametrize("side", SAYS)
async def test_the_openai_client_parses_structured_output_from_every_side(side: str) -> None:
    async def script(connection: Connection, request: Request) -> None:
        await connection.stream(SAYS[side].lstrip() % ULM)

    async with (
        scripted(script, models) as server,
        client_of(server, "gemini" if side == "gemini" else "anthropic") as client,
    ):
        async with client.chat.completions.stream(
            model="local" if side == "local" else "cloud",
            messages=[{"role": "user", "content": "A city?"}],
            response_format=City,
        ) as stream:
            answer = await stream.get_final_completion()
        assert answer.choices[0].message.parsed == City(name="Ulm", people=128928)
        schema = server.requests[0].json
        for name in SCHEMA_AT[side]:
            schema = schema[name]
    assert set(schema["required"]) == {"name", "people"}
    assert schema["additionalProperties"] is False
