"""CLOUD_FALLBACK: a second cloud that answers when the first is down or fails."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from config import SettingsError, load_settings
from tests.support.backend_answers import local_answer, models
from tests.support.keys import CANARIES
from tests.support.running_app import RunningApp, cloud_side, refusing, running_app
from tests.support.scripted import Connection, Request, Script, ScriptedServer, scripted

HARD = "Design a lock-free queue in C++ and prove that it is linearizable."
NOWHERE = "http://127.0.0.1:9"


async def second_cloud(connection: Connection, request: Request) -> None:
    body, kind = local_answer(request, calls=False)
    await (connection.stream(body) if kind == "sse" else connection.answer(body))


@asynccontextmanager
async def two_clouds(
    first: Script = cloud_side, **settings: Any
) -> AsyncIterator[tuple[RunningApp, ScriptedServer]]:
    """Start the app with Claude and, as its fallback, an OpenAI-compatible cloud."""
    async with scripted(second_cloud, models) as second:
        options: dict[str, Any] = {
            "cloud_fallback": "openai",
            "openai_api_key": "sk-unused",
            "openai_model": "gpt-x",
            "openai_base_url": f"{second.url}/v1",
            "prices": {"gpt-x": {"input": 1e6, "output": 0}},
        }
        async with running_app(cloud=first, **options | settings) as app:
            yield app, second


def asked(server: ScriptedServer) -> int:
    return sum(request.method == "POST" for request in server.requests)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status", [401, 429, 500, 529])
async def test_the_second_cloud_answers_when_the_first_fails(status: int, stream: bool) -> None:
    async with two_clouds(refusing(status, "broken")) as (app, _):
        answer = await app.ask(HARD, body={"stream": stream})
        record = app.last
    assert answer.status_code == 200
    assert answer.headers["x-router-backend"] == "openai"
    assert (record.target, record.backend, record.model) == ("cloud", "openai", "gpt-x")
    assert (record.reason, record.cost_usd) == ("complex", 7.0)
    assert [attempt.backend for attempt in record.attempts] == ["claude"]


async def test_while_the_first_works_the_second_is_not_asked() -> None:
    async with two_clouds() as (app, second):
        assert (await app.ask(HARD)).headers["x-router-backend"] == "claude"
        assert asked(second) == 0


async def test_a_cloud_that_is_down_is_left_alone_for_a_while() -> None:
    async with two_clouds(anthropic_base_url=NOWHERE) as (app, _):
        tried = []
        for _ in range(3):
            await app.ask(HARD)
            tried.append([attempt.backend for attempt in app.last.attempts])
        health = (await app.http.get("/health")).json()
    assert tried == [["claude"], [], []]
    assert health["cloud"]["backend"] == "openai"
    assert list(health["clouds"]) == ["claude", "openai"]
    assert health["headline"]["level"] == "ok"


async def test_a_request_that_is_at_fault_is_not_sent_elsewhere() -> None:
    async with two_clouds(refusing(400, "no such field")) as (app, second):
        assert (await app.ask(HARD)).status_code == 400
        assert asked(second) == 0


@pytest.mark.parametrize(
    ("options", "status", "backend"),
    [
        ({"headers": {"x-force-route": "cloud"}}, 200, "openai"),
        ({"body": {"model": "cloud"}}, 200, "openai"),
        ({"body": {"model": "claude-sonnet-4-6"}}, 502, "claude"),
        ({"headers": {"x-force-route": "local"}}, 200, "local"),
    ],
    ids=["header", "name", "its model", "local"],
)
async def test_a_forced_request_keeps_to_what_was_forced(
    options: dict[str, Any], status: int, backend: str
) -> None:
    async with two_clouds(refusing(500, "broken")) as (app, _):
        answer = await app.ask(HARD, **options)
    assert (answer.status_code, answer.headers["x-router-backend"]) == (status, backend)


async def test_it_comes_after_both_where_the_local_model_should_answer() -> None:
    failing = refusing(500, "broken")
    async with two_clouds(failing, local_base_url=f"{NOWHERE}/v1") as (app, _):
        answer = await app.ask("What is 2 + 2?")
        assert app.last.reason == "local_down"
    assert answer.headers["x-router-backend"] == "openai"


async def test_a_private_request_goes_to_neither() -> None:
    async with two_clouds(local_base_url=f"{NOWHERE}/v1") as (app, second):
        assert (await app.ask(f"Why is {CANARIES['GitHub']} refused?")).status_code == 503
        assert asked(second) == 0


async def test_offline_there_is_no_cloud_at_all() -> None:
    async with two_clouds(offline=True) as (app, _):
        assert app.assembly.router.clouds == ()
        assert orjson.loads((await app.http.get("/health")).content)["clouds"] == {}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cloud_fallback": "anthropic"}, "is the first cloud already"),
        ({"cloud_fallback": "gemini"}, "needs GEMINI_API_KEY"),
        ({"cloud_fallback": "openai"}, "needs OPENAI_API_KEY and OPENAI_MODEL"),
        ({"cloud_fallback": "openai", "openai_api_key": "k"}, "needs OPENAI_API_KEY and"),
        ({"cloud_fallback": "mistral"}, "CLOUD_FALLBACK must be"),
    ],
)
def test_a_fallback_that_cannot_work_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_settings(None, anthropic_api_key="sk-ant-unused", **settings)
