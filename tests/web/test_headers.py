"""The headers that say which side answered."""

import orjson
import pytest

from tests.support.running_app import running_app
from tests.support.scripted import Connection, Request


async def test_the_model_that_answered_is_named_in_characters_that_a_header_may_have() -> None:
    async def naming(connection: Connection, request: Request) -> None:
        choice = {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}
        await connection.answer(orjson.dumps({"model": "größe\n2 €", "choices": [choice]}))

    async with running_app(local=naming) as h:
        answer = await h.ask("Hi")
        assert answer.headers["x-router-model"].encode("latin-1") == "größe?2 ?".encode("latin-1")


@pytest.mark.parametrize("broken", [False, True], ids=["answered", "refused"])
@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v1/messages", {"x-request-id", "request-id"}),
        ("/v1/chat/completions", {"x-request-id"}),
    ],
)
async def test_a_requests_id_is_also_sent_under_the_name_that_anthropics_sdk_reads(
    path: str, names: set[str], broken: bool
) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
    async with running_app() as h:
        answer = await h.http.post(path, json={} if broken else body)
        record = h.last
    sent = {name: value for name, value in answer.headers.items() if name.endswith("request-id")}
    assert answer.status_code == (400 if broken else 200)
    assert sent == dict.fromkeys(names, record.id)
