"""Blocks of a Messages request that are new, or that only Claude knows."""

from typing import Any

import orjson
import pytest

from router.wire.anthropic import claude, messages
from tests.support.backend_answers import claude_answer
from tests.support.running_app import running_app
from tests.support.scripted import Connection, Request

BLOCKS: dict[str, tuple[dict[str, Any], str]] = {
    "a tool that a search found": ({"type": "tool_reference", "tool_name": "Weather"}, "Weather"),
    "the tabs of a browser": (
        {"type": "browser_state", "tabs": [{"tab_id": "1", "title": "News", "url": "http://n"}]},
        "News http://n",
    ),
    "a search result": (
        {"type": "search_result", "source": "http://s", "title": "S", "content": []},
        "http://s S",
    ),
    "a block of a later year": ({"type": "hologram", "content": [{"text": "words"}]}, "words"),
}
WITHOUT_WORDS: list[dict[str, Any]] = [
    {"type": "hologram", "data": "AAAA"},
    {"type": "browser_state", "tabs": []},
    {"type": "search_result", "content": []},
]
USE = {"type": "tool_use", "id": "toolu_123456", "name": "search", "input": {}}


def body(block: dict[str, Any], place: str) -> dict[str, Any]:
    """A request with the block in one of the places where blocks stand."""
    said: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
    system: list[dict[str, Any]] = []
    match place:
        case "user":
            said = [{"role": "user", "content": [block]}]
        case "result":
            result = {"type": "tool_result", "tool_use_id": USE["id"], "content": [block]}
            said += [{"role": "assistant", "content": [USE]}, {"role": "user", "content": [result]}]
        case "answer":
            said += [{"role": "assistant", "content": [block]}, {"role": "user", "content": "Go"}]
        case "system":
            system = [{"type": "text", "text": "Be brief."}, block]
    return {"model": "cloud", "max_tokens": 99, "messages": said, "system": system}


PLACES = ["user", "result", "answer", "system"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_of_another_type_is_put_into_words(name: str, place: str) -> None:
    block, words = BLOCKS[name]
    request = messages.parse(orjson.dumps(body(block, place)))
    assert all(word in str(request.messages) for word in words.split())
    assert request.dropped == ()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("block", WITHOUT_WORDS)
def test_a_block_without_words_is_left_out_and_reported(block: dict[str, Any], place: str) -> None:
    request = messages.parse(orjson.dumps(body(block, place)))
    assert request.dropped == (f"messages.{block['type']}",)
    assert b"AAAA" not in orjson.dumps(request.messages)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("block", [*(block for block, _ in BLOCKS.values()), *WITHOUT_WORDS])
async def test_claude_gets_every_block_as_it_came(block: dict[str, Any], place: str) -> None:
    received: list[Any] = []

    async def script(connection: Connection, request: Request) -> None:
        received.append(request.json)
        await connection.answer(claude_answer(request, calls=False)[0])

    async with running_app(cloud=script) as app:
        answer = await app.http.post("/v1/messages", json=body(block, place))
        assert answer.status_code == 200, answer.text
        assert "x-router-dropped" not in answer.headers
    sent, asked = received[0], body(block, place)
    assert (sent["messages"], sent["system"]) == (asked["messages"], asked["system"])


async def test_another_side_answers_and_reports_the_blocks_it_cannot_read() -> None:
    async with running_app() as app:
        asked = body({"type": "hologram", "data": "AAAA"}, "user") | {"model": "local"}
        answer = await app.http.post("/v1/messages", json=asked)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-router-dropped"] == "messages.hologram"


async def test_a_picture_from_a_source_that_only_claude_knows_goes_to_claude() -> None:
    picture = {"type": "image", "source": {"type": "tape", "reel": 7}}
    async with running_app() as app:
        answer = await app.http.post("/v1/messages", json=body(picture, "user"))
        assert answer.status_code == 200, answer.text
        forced = body(picture, "user") | {"model": "local"}
        answer = await app.http.post("/v1/messages", json=forced)
        assert answer.status_code == 400, answer.text


COMPACTED = {"type": "compaction", "content": "They greeted.", "encrypted_content": "x"}


def test_a_compaction_comes_and_goes_unchanged() -> None:
    asked = body(COMPACTED, "answer") | {"context_management": {"edits": []}}
    request = messages.parse(orjson.dumps(asked))
    assert request.original is not None
    assert claude.passed_on(request.original, "m") == asked | {"model": "m"}
    assert request.messages[-2]["content"] == "They greeted."
    start = {"type": "content_block_start", "index": 0, "content_block": COMPACTED}
    block = b"data: " + orjson.dumps(start) + b"\n\n"
    assert claude.ClaudeTally().passed(block) == block


def test_an_input_that_is_null_means_no_arguments() -> None:
    asked = body({**USE, "input": None}, "answer")
    [call] = messages.parse(orjson.dumps(asked)).messages[-2]["tool_calls"]
    assert call["function"]["arguments"] == "{}"
