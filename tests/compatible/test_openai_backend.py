"""The relay to an OpenAI-compatible cloud, over real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from config import SettingsError, load_settings
from router.backend import Relayed, TimeLimits
from router.compatible.backend import OpenAIBackend
from router.errors import BackendMisconfigured, BackendUnfit
from router.request import ChatRequest
from tests.support.local_backend import (
    ANSWER,
    DONE,
    HELLO,
    ROLE,
    STOP,
    USAGE,
    answering,
    read,
    whole,
)
from tests.support.scripted import Connection, Request, Script, ScriptedServer, scripted

KEY = "sk-test-of-the-openai-backend"
ASKED: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}


@asynccontextmanager
async def cloud(
    script: Script, probe: Script | None = None
) -> AsyncIterator[tuple[OpenAIBackend, ScriptedServer]]:
    async with scripted(script, probe) as server:
        backend = OpenAIBackend(KEY, "gpt-x", base_url=f"{server.url}/v1", limits=TimeLimits())
        yield backend, server
        await backend.aclose()


def refusing(status: int, **error: str) -> Script:
    async def script(connection: Connection, _: Request) -> None:
        await connection.answer(orjson.dumps({"error": error}), status)

    return script


async def test_a_whole_answer_comes_back_byte_for_byte() -> None:
    async with cloud(whole(ANSWER)) as (backend, server):
        assert await read(await backend.open(ChatRequest(ASKED), "gpt-x")) == ANSWER
        sent = server.requests[0]
    assert sent.path == "/v1/chat/completions"
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.json == {**ASKED, "model": "gpt-x"}


async def test_a_stream_comes_back_without_the_usage_that_was_not_asked_for() -> None:
    async with cloud(answering(ROLE, HELLO, STOP + USAGE + DONE)) as (backend, _):
        reply = await backend.open(ChatRequest({**ASKED, "stream": True}), "gpt-x")
        assert isinstance(reply, Relayed)
        assert await read(reply) == ROLE + HELLO + STOP + DONE
        assert reply.usage is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"max_completion_tokens": 9},
        {"messages": [{"role": "developer", "content": "a"}, {"role": "system", "content": "b"}]},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}, "tools": []},
        {"response_format": {"type": "json_object"}},
        {"n": 2},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_a_request_goes_out_as_openai_documents_it(fields: dict[str, Any]) -> None:
    async with cloud(whole(ANSWER)) as (backend, server):
        await read(await backend.open(ChatRequest({**ASKED, **fields}), "gpt-x"))
        assert server.requests[0].json == {**ASKED, **fields, "model": "gpt-x"}


async def test_a_refused_key_names_the_setting() -> None:
    refusal = refusing(401, message="Incorrect API key provided.")
    async with cloud(refusal, refusal) as (backend, _):
        with pytest.raises(BackendMisconfigured, match="OPENAI_API_KEY"):
            await backend.open(ChatRequest(ASKED), "gpt-x")
        status = await backend.probe()
        assert (status.state, "OPENAI_API_KEY" in status.detail) == ("locked", True)


async def test_a_context_that_is_too_long_keeps_its_code() -> None:
    said = {"message": "Too long.", "code": "context_length_exceeded"}
    async with cloud(refusing(400, **said)) as (backend, _):
        with pytest.raises(BackendUnfit) as caught:
            await backend.open(ChatRequest(ASKED), "gpt-x")
        assert caught.value.code == "context_length_exceeded"


async def test_the_models_are_asked_for_once_an_hour() -> None:
    asked = []

    async def models(connection: Connection, request: Request) -> None:
        asked.append(request.path)
        await connection.answer(orjson.dumps({"data": [{"id": "gpt-y"}]}))

    async with cloud(whole(ANSWER), models) as (backend, _):
        status = await backend.probe()
        assert status.up
        assert "OPENAI_MODEL=gpt-x is not in the list" in status.detail
        assert await backend.probe() == status
        assert asked == ["/v1/models"]


async def test_a_cloud_that_does_not_answer_is_down() -> None:
    backend = OpenAIBackend(KEY, "gpt-x", base_url="http://127.0.0.1:9/v1", limits=TimeLimits())
    assert (await backend.probe()).state == "down"
    await backend.aclose()


def test_key_and_model_choose_the_cloud() -> None:
    settings = load_settings(None, openai_api_key=KEY, openai_model="gpt-x")
    assert (settings.provider, settings.cloud_configured, settings.cloud_model) == (
        "openai", True, "gpt-x",
    )  # fmt: skip
    assert KEY in settings.secrets
    with pytest.raises(SettingsError, match="CLOUD_PROVIDER=openai needs OPENAI_MODEL"):
        load_settings(None, openai_api_key=KEY, cloud_provider="openai")


def test_a_key_that_a_shell_holds_for_clients_chooses_no_cloud() -> None:
    settings = load_settings(None, openai_api_key="unused")
    assert (settings.provider, settings.cloud_configured) == ("anthropic", False)


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://localhost:8080/v1", None),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
        (None, None),
    ],
)
def test_the_routers_own_address_in_openai_base_url_is_ignored(
    url: str | None, asked: str | None
) -> None:
    assert load_settings(None, openai_base_url=url).openai_url == asked
