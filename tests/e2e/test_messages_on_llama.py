"""The anthropic client, the router and a real llama.cpp server: Messages on both ends."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest

from config import load_settings
from router.build import assemble
from web.app import create_app

TOOL: Any = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
HELLO: Any = [{"role": "user", "content": "Say hello."}]


@asynccontextmanager
async def client_of(
    local_url: str, journal: Path | str = "off", cloud_url: str | None = None
) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Open the client of a router that has this local server."""
    settings = load_settings(
        env=None,
        local_base_url=f"{local_url}/v1",
        local_model="SmolLM2-135M-Instruct.Q4_1",
        embedded_model="off",
        journal_path=str(journal),
        anthropic_api_key="sk-ant-stand-in" if cloud_url else None,
        anthropic_base_url=cloud_url,
        complexity_threshold=100,
    )
    assembly = assemble(settings)
    transport = httpx2.ASGITransport(create_app(settings, assembly))
    try:
        async with httpx2.AsyncClient(transport=transport) as http:
            yield anthropic.AsyncAnthropic(
                api_key="k", base_url="http://localhost", http_client=http, max_retries=0
            )
    finally:
        await assembly.aclose()


def weather_in(city: str, id: str) -> list[Any]:
    call = {"type": "tool_use", "id": id, "name": "get_weather", "input": {"city": city}}
    return [
        {"role": "user", "content": f"What is the weather in {city}?"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result_of(id)]},
        {"role": "assistant", "content": "Rain."},
    ]


def result_of(id: str) -> Any:
    return {"type": "tool_result", "tool_use_id": id, "content": "Rain."}


def is_llamas_own(message: Any) -> bool:
    """Return whether llama.cpp wrote this message itself, which its ids show."""
    return bool(message.id.startswith("chatcmpl-"))


async def test_text_is_relayed_unchanged_and_its_tokens_are_in_the_journal(
    model_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "journal.db"
    async with client_of(model_url, path) as client:
        whole = await client.messages.create(model="auto", max_tokens=8, messages=HELLO)
        assert is_llamas_own(whole)
        assert whole.content[0].type == "text"
        assert whole.content[0].text.strip()
        async with client.messages.stream(model="auto", max_tokens=8, messages=HELLO) as stream:
            pieces = [text async for text in stream.text_stream]
            streamed = await stream.get_final_message()
        assert is_llamas_own(streamed)
        assert len(pieces) > 1
        assert streamed.stop_reason in ("end_turn", "max_tokens")
    with closing(sqlite3.connect(path)) as journal:
        rows = journal.execute("SELECT prompt_tokens, completion_tokens FROM requests").fetchall()
    counts = [
        (m.usage.input_tokens + (m.usage.cache_read_input_tokens or 0), m.usage.output_tokens)
        for m in (whole, streamed)
    ]
    assert rows == counts


@pytest.mark.parametrize("with_cloud", [False, True])
async def test_a_tool_is_called_and_its_result_is_read(
    tool_model_url: str, model_url: str, with_cloud: bool
) -> None:
    """With a cloud to fall back to, the call is held back until it is verified."""
    async with client_of(tool_model_url, cloud_url=model_url if with_cloud else None) as client:
        turns: list[Any] = []
        for i, city in enumerate(
            ("London", "Rome", "Berlin")
        ):  # one example makes the small model call a tool
            turns += weather_in(city, f"toolu_{i}")
        turns.append({"role": "user", "content": "What is the weather in Paris?"})
        async with client.messages.stream(
            model="auto",
            max_tokens=64,
            messages=turns,
            tools=[TOOL],
            tool_choice={"type": "any"},
        ) as stream:
            called = await stream.get_final_message()
            assert stream.response.headers["x-router-target"] == "local"
        assert called.stop_reason == "tool_use"
        call = called.content[-1]
        assert call.type == "tool_use"
        assert call.name == "get_weather"
        assert call.input == {"city": "Paris"}
        turns += [
            {"role": "assistant", "content": called.content},
            {"role": "user", "content": [result_of(call.id)]},
        ]
        raw = await client.messages.with_raw_response.create(
            model="auto", max_tokens=8, messages=turns, tools=[TOOL]
        )
        assert raw.headers["x-router-target"] == "local"
        assert is_llamas_own(await raw.parse())


async def test_a_request_that_llama_cpp_would_misread_is_translated(model_url: str) -> None:
    schema = {
        "type": "object",
        "properties": {"size": {"enum": ["small", "large"]}},
        "required": ["size"],
        "additionalProperties": False,
    }
    async with client_of(model_url) as client:
        message = await client.messages.create(
            model="auto",
            max_tokens=60,
            messages=[{"role": "user", "content": "Is an ant small or large?"}],
            output_config={"format": {"type": "json_schema", "schema": schema}},
        )
        assert message.id.startswith("msg_")
        assert message.content[0].type == "text"
        assert "".join(message.content[0].text.split()) in ('{"size":"small"}', '{"size":"large"}')


async def test_a_prompt_that_is_too_long_gets_claudes_error_message(model_url: str) -> None:
    async with client_of(model_url) as client:
        with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
            await client.messages.create(
                model="local",
                max_tokens=8,
                messages=[{"role": "user", "content": "word " * 9000}],
            )
