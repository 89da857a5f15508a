"""The headers that say which side answered."""

import orjson

from tests.support.running_app import running_app
from tests.support.scripted import Connection, Request


async def test_the_model_that_answered_is_named_in_characters_that_a_header_may_have() -> None:
    async def naming(connection: Connection, request: Request) -> None:
        choice = {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}
        await connection.answer(orjson.dumps({"model": "größe\n2 €", "choices": [choice]}))

    async with running_app(local=naming) as h:
        answer = await h.ask("Hi")
        assert answer.headers["x-router-model"].encode("latin-1") == "größe?2 ?".encode("latin-1")
