"""ClaudeBackend in front of a real server of Anthropic's format: llama.cpp's /v1/messages."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from router.backend import Relayed, Status, TimeLimits, Translated
from router.cloud_client import ClaudeBackend
from router.errors import BackendError, BackendRejected
from router.events import Event, Finish, ToolCallDelta, each_of
from router.request import ChatRequest
from router.wire import sse
from tests.support.claude_words import PICTURE, assistant, call, request, result, system, user
from tests.support.speech import heard

LIMITS = TimeLimits(first_byte_s=120, idle_s=60)
CITY = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture
async def backend(model_url: str) -> AsyncIterator[ClaudeBackend]:
    backend = ClaudeBackend("unused", "any", max_tokens=32, limits=LIMITS, base_url=model_url)
    yield backend
    await backend.aclose()


async def events_of(backend: ClaudeBackend, asked: ChatRequest) -> list[Event]:
    reply = await backend.open(asked, "any")
    assert isinstance(reply, Translated)
    return [event async for event in each_of(reply.events)]


async def test_real_tokens(backend: ClaudeBackend) -> None:
    events = await events_of(backend, request(user("Say hello."), max_tokens=12, stream=True))
    answer = heard(events)
    assert answer.text.strip()
    assert len(events) > 3  # token by token
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 5
    assert 0 < answer.usage.completion_tokens <= 12


async def test_a_real_limit(backend: ClaudeBackend) -> None:
    asked = request(user("Tell a very long story."), max_tokens=6)
    answer = heard(await events_of(backend, asked))
    assert answer.reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 6


async def test_a_real_stop_sequence(backend: ClaudeBackend) -> None:
    asked = request(user("Count: 1, 2, 3, 4, 5, 6, 7, 8, 9"), max_tokens=60, stop=[","])
    answer = heard(await events_of(backend, asked))
    assert "," not in answer.text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_real_tool_call(tool_model_url: str, stream: bool) -> None:
    history: list[dict[str, Any]] = []
    for i, city in enumerate(
        ("London", "Rome", "Berlin")
    ):  # one example makes the small model call a tool
        history += [
            user(f"What is the weather in {city}?"),
            assistant(None, call(f"call:{i}", "get_weather", f'{{"city": "{city}"}}')),
            result(f"call:{i}", "Rain."),
            assistant("Rain."),
        ]
    history.append(user("What is the weather in Paris?"))
    backend = ClaudeBackend("x", "any", max_tokens=64, limits=LIMITS, base_url=tool_model_url)
    try:
        asked = request(*history, tools=[CITY], tool_choice="required", stream=stream)
        events = await events_of(backend, asked)
        answer = heard(events)
        assert answer.reason == "tool_calls"
        [(id, name, arguments)] = answer.calls
        assert id
        assert name == "get_weather"
        assert orjson.loads(arguments) == {"city": "Paris"}
        pieces = [event for event in events if isinstance(event, ToolCallDelta)]
        assert (len(pieces) > 1) == stream

        history += [assistant(None, call(id, name, arguments)), result(id, "Rain.")]
        again = heard(await events_of(backend, request(*history, tools=[CITY])))
        assert again.text
    finally:
        await backend.aclose()


async def test_a_conversation_with_turns_of_other_models_is_accepted(
    backend: ClaudeBackend,
) -> None:
    asked = request(
        system("Be brief."),
        assistant("Welcome."),
        user("a"),
        user("b"),
        assistant(
            None, call("functions.x:0", "files.read"), call("call_0", "get_weather", "{oops")
        ),
        result("call_0", "ok"),
        system("Mind the time.", "developer"),
        assistant("c"),
        result("gone", "late"),
        assistant("And then"),
        tools=[CITY],
        max_tokens=4,
    )
    assert isinstance((await events_of(backend, asked))[-1], Finish)


async def test_a_real_refusal_of_pictures_keeps_its_words(backend: ClaudeBackend) -> None:
    with pytest.raises(BackendError, match="image input is not supported"):
        await backend.open(request(user([PICTURE])), "any")


async def test_a_context_that_is_too_long_has_its_code(backend: ClaudeBackend) -> None:
    with pytest.raises(BackendRejected) as raised:
        await backend.open(request(user("word " * 40_000)), "any")
    assert raised.value.code == "context_length_exceeded"


async def test_leaving_stops_the_model(backend: ClaudeBackend) -> None:
    asked = request(user("Tell a very long story."), max_tokens=2000, stream=True)
    reply = await backend.open(asked, "any")
    assert isinstance(reply, Translated)
    await anext(reply.events)
    await reply.aclose()
    async with asyncio.timeout(30):  # if the model were still busy, this would wait
        assert heard(await events_of(backend, request(user("Hi"), max_tokens=2))).usage


def messages(stream: bool, **fields: Any) -> ChatRequest:
    original = {
        "model": "auto",
        "max_tokens": 8,
        "messages": [{"role": "user", "content": "Say hello."}],
        "stream": stream,
        **fields,
    }
    return ChatRequest({"messages": [user("Say hello.")]}, "messages", original)


async def test_a_real_stream_is_relayed_unchanged(backend: ClaudeBackend) -> None:
    # At another temperature the first token may be half a character, and llama.cpp (build 11549)
    # then sends no message_start.
    reply = await backend.open(messages(stream=True, temperature=0), "any")
    assert isinstance(reply, Relayed)
    stream = b"".join([chunk async for chunk in reply.chunks])
    kinds = [orjson.loads(data)["type"] for data in sse.data_of(stream)]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert reply.usage is not None
    assert reply.usage.completion_tokens > 0


async def test_a_real_document_is_relayed_unchanged(backend: ClaudeBackend) -> None:
    reply = await backend.open(messages(stream=False), "any")
    assert isinstance(reply, Relayed)
    message = orjson.loads(b"".join([chunk async for chunk in reply.chunks]))
    assert message["type"] == "message"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == message["usage"]["output_tokens"]


async def test_a_look_at_a_server_without_a_models_api(backend: ClaudeBackend) -> None:
    status = await probed(backend)
    assert status.up


async def probed(backend: ClaudeBackend) -> Status:
    """A look with the SDK in place; without it a key is taken at its word."""
    await backend.warm()
    return await backend.probe()
