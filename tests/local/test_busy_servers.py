"""A local server that is loading or overloaded, for a caller that insists on it."""

from typing import Any

import orjson
import pytest

from tests.support.running_app import running_app
from tests.support.scripted import Connection, Request, Script

LOADING = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}
BUSY = {"error": {"message": "All slots are busy."}}


def refusing(status: int, body: dict[str, Any], **headers: str) -> Script:
    async def script(connection: Connection, request: Request) -> None:
        await connection.answer(orjson.dumps(body), status, **headers)

    return script


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize(
    ("script", "status", "wait"),
    [
        (refusing(503, LOADING), 503, "5"),
        (refusing(503, BUSY), 503, "5"),
        (refusing(503, BUSY, retry_after="17"), 503, "17"),
        (refusing(529, BUSY), 503, "5"),
        (refusing(200, LOADING), 503, "5"),
        (refusing(429, BUSY), 429, None),
        (refusing(429, BUSY, retry_after="3"), 429, "3"),
    ],
)
async def test_a_busy_server_is_a_503_that_says_when_to_come_back(
    path: str, script: Script, status: int, wait: str | None
) -> None:
    said = [{"role": "user", "content": "Hi"}]
    body = {"model": "local", "messages": said, "input": said, "max_tokens": 9}
    async with running_app(local=script) as app:
        answer = await app.http.post(path, json=body)
        assert (answer.status_code, answer.headers.get("retry-after")) == (status, wait)
