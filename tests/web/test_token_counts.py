"""POST /v1/messages/count_tokens: Claude's own count where the prompt would go to Claude."""

from typing import Any

import orjson
import pytest

from tests.support.keys import CANARIES
from tests.support.running_app import running_app
from tests.support.scripted import Connection, Request

PATH = "/v1/messages/count_tokens"
MODEL = "claude-sonnet-4-6"
SAID = [{"role": "user", "content": "Is a tomato a fruit?"}]


async def count_4711(connection: Connection, request: Request) -> None:
    assert request.path == PATH
    await connection.answer(b'{"input_tokens": 4711}')


@pytest.mark.parametrize(
    ("fields", "by_claude"),
    [
        ({"model": MODEL}, True),
        ({"model": "cloud"}, True),
        ({"model": "local"}, False),
        ({"model": "auto"}, False),
        ({"model": MODEL, "system": f"My key is {CANARIES['Anthropic']}."}, False),
    ],
)
async def test_claude_counts_requests_that_would_go_to_claude(
    fields: dict[str, Any], by_claude: bool
) -> None:
    async with running_app(cloud=count_4711, anthropic_model=MODEL) as app:
        answer = await app.http.post(PATH, json={"messages": SAID} | fields)
        assert answer.status_code == 200, answer.text
        tokens = answer.json()["input_tokens"]
        assert (tokens == 4711) == by_claude
        assert tokens > 5


async def test_claude_gets_the_body_as_it_came() -> None:
    received: list[Any] = []

    async def script(connection: Connection, request: Request) -> None:
        received.append(request.json)
        await connection.answer(b'{"input_tokens": 1}')

    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    async with running_app(cloud=script, anthropic_model=MODEL) as app:
        asked = {"model": MODEL, "messages": SAID, "tools": tools}
        await app.http.post(PATH, json=asked)
    assert received == [asked]


@pytest.mark.parametrize("body", [b'{"input_tokens": null}', b"<html>", b'{"error": {}}'])
@pytest.mark.parametrize("status", [200, 400, 529])
async def test_an_estimate_stands_in_for_a_count_that_fails(status: int, body: bytes) -> None:
    async def script(connection: Connection, request: Request) -> None:
        await connection.answer(body, status)

    async with running_app(cloud=script, anthropic_model=MODEL) as app:
        answer = await app.http.post(PATH, json={"model": MODEL, "messages": SAID})
        assert answer.status_code == 200, answer.text
        assert 5 < orjson.loads(answer.content)["input_tokens"] < 50
