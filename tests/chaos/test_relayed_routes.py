"""/v1/embeddings and /v1/completions while the local server, which alone answers them, fails."""

import asyncio

import httpx2
import orjson
import pytest

from tests.support.chaos.callers import CHAT
from tests.support.chaos.running_server import HASTY, RunningServer, running_server
from tests.support.chaos.sides import CLAUDE, LOCAL, data
from tests.support.scripted import Connection, Request

EMBEDDINGS = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}
PIECE = data({"object": "text_completion", "choices": [{"index": 0, "text": "Hi"}]})
ROUTES = {"/v1/embeddings": {"input": "Hi"}, "/v1/completions": {"prompt": "Hi"}}
routes = pytest.mark.parametrize("path", ROUTES)


async def ask(here: RunningServer, path: str, **fields: object) -> httpx2.Response:
    async with asyncio.timeout(10):
        return await here.http.post(path, json=ROUTES[path] | fields)


@routes
async def test_the_answer_is_relayed_unchanged(path: str) -> None:
    body = orjson.dumps(EMBEDDINGS | {"new": True})

    async def script(connection: Connection, request: Request) -> None:
        assert request.path == path
        await connection.answer(body)

    async with running_server(LOCAL, script, CLAUDE.well) as here:
        answer = await ask(here, path)
        assert (answer.status_code, answer.content) == (200, body)
        assert here.local.requests[0].json == ROUTES[path] | {"model": "local-model"}


@routes
@pytest.mark.parametrize(
    ("status", "ours"), [(400, 400), (401, 502), (404, 502), (429, 429), (500, 502), (302, 502)]
)
async def test_a_refusal_has_the_shape_of_the_callers_dialect(
    path: str, status: int, ours: int
) -> None:
    async def script(connection: Connection, request: Request) -> None:
        await connection.answer(b'{"detail": "No."}', status, Location="http://127.0.0.1:1/")

    async with running_server(LOCAL, script, CLAUDE.well) as here:
        answer = await ask(here, path)
        assert answer.status_code == ours
        assert CHAT.error_of(answer.json())
        assert answer.headers["x-should-retry"] == "false"
        assert not here.cloud.requests, "embeddings never leave the machine"


@routes
async def test_a_silent_or_missing_server_is_reported(path: str) -> None:
    async def script(connection: Connection, request: Request) -> None:
        await connection.silence()

    async with running_server(LOCAL, script, CLAUDE.well, **HASTY) as here:
        assert (await ask(here, path)).status_code == 504
        await here.local.stop()
        assert (await ask(here, path)).status_code == 503


@routes
async def test_a_document_that_is_cut_off_is_an_error(path: str) -> None:
    async def script(connection: Connection, request: Request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        await connection.send(b'Content-Length: 999\r\n\r\n{"data": [')
        connection.reset()

    async with running_server(LOCAL, script, CLAUDE.well) as here:
        answer = await ask(here, path)
        assert answer.status_code == 502
        assert CHAT.error_of(answer.json())


async def test_a_stream_that_is_cut_off_ends_with_an_error() -> None:
    async def script(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        await connection.chunk(PIECE + b'data: {"choi')
        await asyncio.sleep(0.02)
        connection.reset()

    async with running_server(LOCAL, script, CLAUDE.well) as here:
        answer = await ask(here, "/v1/completions", stream=True)
        assert answer.status_code == 200
        first, *_, last = answer.content.strip().split(b"\n\n")
        assert first + b"\n\n" == PIECE
        assert CHAT.error_of(orjson.loads(last.removeprefix(b"data: ")))
