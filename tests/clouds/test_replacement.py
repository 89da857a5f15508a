"""Defaults that a provider has retired: the nearest model of the same tier answers."""

import logging
from typing import Any

import orjson
import pytest
from aiohttp import web

from config import load_settings
from router.clouds.replacement import nearest
from router.errors import BackendMisconfigured
from router.request import ChatRequest
from tests.clouds.test_gemini_backend import Gemini, playing, recording, refusal
from tests.support.backend_answers import claude_answer
from tests.support.running_app import RunningApp, running_app
from tests.support.scripted import Connection, Request

GONE, OTHER, ELDER = "claude-sonnet-4-6", "claude-sonnet-5", "claude-sonnet-4-1"
LISTED = [
    {"id": "claude-opus-5-5", "type": "model", "lifecycle": "active"},
    {"id": "claude-sonnet-5-5", "type": "model", "lifecycle": "active"},
    {"id": OTHER, "type": "model", "lifecycle": "active"},
    {"id": "claude-sonnet-4-7", "type": "model", "lifecycle": "retired"},
]
FORCED = {"X-Force-Route": "cloud"}


@pytest.mark.parametrize(
    ("gone", "names", "found"),
    [
        ("claude-sonnet-4-6", ["claude-opus-5", "claude-sonnet-5-5", "claude-sonnet-5"], 2),
        ("claude-sonnet-4-6", ["claude-sonnet-5-20260801", "claude-sonnet-5"], 1),
        ("claude-sonnet-4-6", ["claude-sonnet-4", "claude-sonnet-4-5", "claude-haiku-5"], 1),
        ("claude-sonnet-4-6", ["claude-opus-5", "claude-haiku-5"], None),
        ("claude-sonnet-4-6", [], None),
        ("gemini-2.0-flash", ["gemini-2.5-flash-lite", "gemini-2.5-pro", "gemini-2.5-flash"], 2),
        ("gemini-2.0-flash", ["gemini-3.8-flash", "gemini-3-flash"], 1),
        ("gemini-2.0-flash", ["gemini-2.5-flash-001", "gemini-2.5-flash-preview"], 0),
        ("gemini-2.0-flash", ["gemini-flash-latest", "gemini-1.5-flash"], 1),
        ("gemini-2.0-flash", ["gemini-2.5-flash-image", "gemini-10.0-flash"], 1),
    ],
)
def test_the_nearest_of_the_same_tier_takes_its_place(
    gone: str, names: list[str], found: int | None
) -> None:
    assert nearest(gone, names) == (None if found is None else names[found])


async def claude(connection: Connection, request: Request) -> None:
    if request.json["model"] in (GONE, ELDER):
        error = {"type": "not_found_error", "message": f"model: {GONE}"}
        await connection.answer(orjson.dumps({"type": "error", "error": error}), 404)
        return
    body, kind = claude_answer(request, calls=False)
    await (connection.stream(body) if kind == "sse" else connection.answer(body))


async def claude_models(connection: Connection, request: Request) -> None:
    path = request.path.partition("?")[0]
    named = [model for model in LISTED if path.endswith(f"/{model['id']}")]
    if path == "/v1/models":
        await connection.answer(orjson.dumps({"data": LISTED}))
    elif named:
        await connection.answer(orjson.dumps(named[0]))
    else:
        error = {"type": "not_found_error", "message": f"model: {GONE}"}
        await connection.answer(orjson.dumps({"type": "error", "error": error}), 404)


async def forced(app: RunningApp) -> Any:
    return await app.ask("Hi", headers=FORCED)


async def test_a_retired_default_is_replaced_and_the_page_and_log_say_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "router")
    async with running_app(cloud=claude, cloud_models=claude_models) as app:
        first = await forced(app)
        await app.assembly.start()
        second = await forced(app)
        side = (await app.http.get("/health")).json()["cloud"]
        listed = [row["id"] for row in (await app.http.get("/v1/models")).json()["data"]]
    for answer in (first, second):
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-router-model"] == OTHER
    said = f"{GONE} is gone, so {OTHER} answers. Set ANTHROPIC_MODEL to choose another."
    assert (side["model"], side["detail"]) == (OTHER, said)
    assert len([line for line in caplog.messages if said in line]) == 1
    assert OTHER in listed
    assert GONE not in listed


async def test_a_model_that_the_user_has_set_is_not_replaced() -> None:
    async with running_app(cloud=claude, cloud_models=claude_models, anthropic_model=GONE) as app:
        answer = await forced(app)
    assert answer.status_code == 502
    said = answer.json()["error"]["message"]
    assert (
        "Set ANTHROPIC_MODEL to one of: claude-opus-5-5, claude-sonnet-5-5, claude-sonnet-5."
        in said
    )


async def test_another_model_that_is_not_there_is_not_replaced() -> None:
    async with running_app(cloud=claude, cloud_models=claude_models) as app:
        cloud = app.assembly.router.cloud
        assert cloud is not None
        request = ChatRequest({"messages": [{"role": "user", "content": "Hi"}]})
        await app.assembly.start()
        with pytest.raises(BackendMisconfigured, match="ANTHROPIC_MODEL"):
            await cloud.backend.open(request, ELDER)


async def gemini_models(request: web.Request) -> web.StreamResponse:
    name = "gemini-2.5-flash"
    if request.path.endswith("/models"):
        listed = {"name": f"models/{name}", "supportedGenerationMethods": ["generateContent"]}
        return web.json_response({"models": [listed]})
    if request.path.endswith(name):
        return web.json_response({"name": f"models/{name}", "inputTokenLimit": 1_048_576})
    return await refusal(404, "NOT_FOUND", "It is not found.")(request)


@pytest.mark.parametrize("is_default", [True, False])
async def test_gemini_answers_with_the_nearest_model_in_place_of_its_default(
    is_default: bool,
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if "gemini-2.0-flash" in request.path:
            return await refusal(404, "NOT_FOUND", "It is not found.")(request)
        return await recording("text")(request)

    request = ChatRequest({"messages": [{"role": "user", "content": "Hi"}], "stream": True})
    gemini = Gemini(answer, models=gemini_models)
    gone = "gemini-2.0-flash"
    async with playing(gemini, model=gone, is_default=is_default) as backend:
        await backend.warm()
        if is_default:
            reply = await backend.open(request, gone)
            assert reply.model == "gemini-2.5-flash"
            await reply.aclose()
            status = await backend.probe()
            assert status.model is not None
            assert (status.state, status.model.id) == ("ready", "gemini-2.5-flash")
            assert status.model.context_tokens == 1_048_576
            assert "Set GEMINI_MODEL to choose another." in status.detail
        else:
            with pytest.raises(BackendMisconfigured, match=r"GEMINI_MODEL.*use: gemini-2.5-flash"):
                await backend.open(request, gone)
            assert (await backend.probe()).state == "down"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"anthropic_api_key": "k"}, False),
        ({"anthropic_api_key": "k", "anthropic_model": GONE}, True),
        ({"anthropic_api_key": "k", "gemini_model": "gemini-2.0-flash"}, False),
        ({"gemini_api_key": "k", "gemini_model": "gemini-2.0-flash"}, True),
    ],
)
def test_only_a_model_that_is_set_counts_as_the_users(given: dict[str, Any], named: bool) -> None:
    settings = load_settings(env=None, **given)
    assert settings.names_model_of(settings.provider) is named
