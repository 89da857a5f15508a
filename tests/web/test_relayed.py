"""/v1/embeddings and /v1/completions: unknown models, and the record of each request."""

import asyncio
from typing import Any

import openai
import orjson
import pytest

from tests.support.backend_answers import models
from tests.support.running_app import RunningApp, running_app
from tests.support.scripted import Connection, Request, Script

ROUTES: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"input": "Hi"},
    "/v1/completions": {"prompt": "Hi"},
}
routes = pytest.mark.parametrize("path", ROUTES)
LISTED = ["local-model", "text-embed-small"]


async def two_models(connection: Connection, request: Request) -> None:
    if request.path == "/v1/models":
        data = [{"id": name, "object": "model", "owned_by": "test"} for name in LISTED]
        await connection.answer(orjson.dumps({"object": "list", "data": data}))
    else:
        await models(connection, request)


def refusing(status: int, error: Any) -> Script:
    async def script(connection: Connection, request: Request) -> None:
        await connection.answer(orjson.dumps({"error": error}), status)

    return script


@routes
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, {"message": 'model "nobody" not found, try pulling it first'}),
        (404, {"message": "The model `nobody` does not exist.", "type": "NotFoundError"}),
        (400, "Invalid model identifier. Please specify a valid downloaded model."),
        (400, {"message": "no", "code": "model_not_found"}),
    ],
)
async def test_an_unknown_model_is_a_404_that_lists_the_models(
    path: str, status: int, error: Any
) -> None:
    async with running_app(refusing(status, error), local_models=two_models) as app:
        answer = await app.http.post(path, json=ROUTES[path] | {"model": "nobody"})
        assert answer.status_code == 404
        told = answer.json()["error"]
        assert (told["code"], told["param"]) == ("model_not_found", "model")
        assert "'nobody'" in told["message"]
        assert all(name in told["message"] for name in LISTED)
        assert "LOCAL_MODEL" not in told["message"]
        assert_recorded(app, "failed", 404, "nobody")


@routes
async def test_another_refusal_is_not_blamed_on_the_model(path: str) -> None:
    async with running_app(refusing(404, "no such path"), local_models=two_models) as app:
        answer = await app.http.post(path, json=ROUTES[path] | {"model": "local-model"})
        assert answer.status_code == 502
        assert "no such path" in answer.json()["error"]["message"]


@routes
async def test_each_request_is_recorded_and_its_id_is_in_the_answer(path: str) -> None:
    async def script(connection: Connection, request: Request) -> None:
        await connection.answer(b'{"object": "list"}')

    async with running_app(script) as app:
        answer = await app.http.post(path, json=ROUTES[path] | {"model": "m"})
        assert answer.status_code == 200
        assert_recorded(app, "done", 200, "m")
        assert answer.headers["x-request-id"] == app.last.id
        refused = await app.http.post(path, content=b"no JSON")
        assert_recorded(app, "failed", 400, "")
        assert refused.headers["x-request-id"] == app.last.id


async def test_a_stream_that_fails_raises_in_the_client_and_is_recorded_as_failed() -> None:
    async def script(connection: Connection, request: Request) -> None:
        text = {"object": "text_completion", "choices": [{"index": 0, "text": "Hi"}]}
        await connection.stream(
            b"data: " + orjson.dumps(text) + b"\n\n",
            b'error: {"code": 500, "message": "the slot failed"}\n\n',
            b"data: [DONE]\n\n",
        )

    async with running_app(script) as app:
        client = openai.AsyncOpenAI(
            api_key="k", base_url="http://localhost/v1", http_client=app.http, max_retries=0
        )
        stream = await client.completions.create(model="m", prompt="Hi", stream=True)
        with pytest.raises(openai.APIError, match="the slot failed"):
            [chunk async for chunk in stream]
        assert_recorded(app, "failed", 502, "m")


async def test_a_caller_that_leaves_is_recorded_as_gone() -> None:
    async def script(connection: Connection, request: Request) -> None:
        await connection.silence()

    async with running_app(script) as app:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await app.http.post("/v1/embeddings", json={"input": "Hi"})
        assert app.last.outcome == "left"


async def test_a_caller_that_leaves_before_the_head_leaves_no_answer_open() -> None:
    is_closed, head = asyncio.Event(), asyncio.Event()

    async def script(connection: Connection, request: Request) -> None:
        try:
            await connection.begin_stream()
            await connection.silence()
        finally:
            is_closed.set()

    bodies = [b'{"prompt": "Hi", "stream": true}']

    async def receive() -> dict[str, Any]:
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        await head.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        head.set()
        await asyncio.Event().wait()

    async with running_app(script) as app:
        scope = {"type": "http", "method": "POST", "path": "/v1/completions", "query_string": b""}
        await app.app(scope | {"headers": [(b"host", b"localhost")]}, receive, send)
        async with asyncio.timeout(10):
            await is_closed.wait()
        assert app.last.outcome == "left"


def assert_recorded(app: RunningApp, outcome: str, status: int, model: str) -> None:
    record = app.last
    assert (record.outcome, record.status, record.asked_model) == (outcome, status, model)
    assert record.target == "local"
    assert record.backend == ("local" if model else "")
