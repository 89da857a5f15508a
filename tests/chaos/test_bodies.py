"""Bodies that no side can answer: refused at once, in the caller's dialect, naming the field."""

import asyncio
from itertools import chain
from typing import Any

import httpx2
import orjson
import pytest

from tests.support.chaos.callers import CHAT, MESSAGES, Dialect
from tests.support.chaos.malformed import BODIES, malformed
from tests.support.chaos.running_server import RunningServer, running_server
from tests.support.chaos.sides import CLAUDE, GEMINI, KINDS, LOCAL, Kind
from tests.support.scripted import Connection, Request

SEEDS = 150
AT_A_TIME = 10
routes = pytest.mark.parametrize("path", BODIES)


def dialect_of(path: str) -> Dialect:
    """The dialect that errors have on each path."""
    return MESSAGES if path.startswith("/v1/messages") else CHAT


async def post(here: RunningServer, path: str, raw: bytes, **headers: str) -> httpx2.Response:
    async with asyncio.timeout(20):
        return await here.http.post(path, content=raw, headers=headers)


def assert_refused(path: str, answer: httpx2.Response, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["x-should-retry"] == "false"
    return dialect_of(path).error_of(answer.json())


NOT_JSON = {
    "nothing": b"",
    "blanks": b" \r\n",
    "half an object": b'{"messages": [',
    "a comma too many": b'{"messages": [],}',
    "single quotes": b"{'messages': []}",
    "a word": b"undefined",
    "NaN": b'{"messages": [], "temperature": NaN}',
    "Infinity": b'{"messages": [], "temperature": -Infinity}',
    "a number without end": b'{"messages": [], "n": 1e999}',
    "invalid UTF-8": b'{"messages": "\xff\xfe"}',
    "UTF-16": '{"messages": []}'.encode("utf-16"),
    "a raw null byte": b'{"messages": "\x00"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "two objects": b"{}{}",
    "a form": b"messages=Hi&model=auto",
    "XML": b"<messages>Hi</messages>",
    "nested too deep": b"[" * 100_000,
    "nested too deep, and closed": b'{"messages": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
}
NO_OBJECT = {"null": b"null", "a list": b"[1]", "text": b'"Hi"', "a number": b"5", "true": b"true"}


@routes
async def test_a_body_that_is_no_json_object_is_refused(path: str) -> None:
    async with running_server(LOCAL, LOCAL.well, CLAUDE.well) as here:
        for name, raw in (NOT_JSON | NO_OBJECT).items():
            error = assert_refused(path, await post(here, path, raw))
            assert "body" in error["message"].lower(), name
        assert not here.local.requests


WRONG: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "/v1/chat/completions": [
        ("messages", {}),
        ("messages", {"messages": None}),
        ("messages", {"messages": []}),
        ("messages", {"messages": "Hi"}),
        ("messages[0]", {"messages": ["Hi"]}),
        ("messages[0].role", {"messages": [{"content": "Hi"}]}),
        ("messages[0].role", {"messages": [{"role": "robot", "content": "Hi"}]}),
        ("messages[1].role", {"messages": [{"role": "user", "content": ""}, {"role": 5}]}),
        ("messages[0].content", {"messages": [{"role": "user", "content": 5}]}),
        ("messages[0].content[0]", {"messages": [{"role": "user", "content": ["Hi"]}]}),
        ("model", {"model": 5}),
        ("stream", {"stream": "yes"}),
        ("tools", {"tools": "look"}),
        ("tools[0]", {"tools": ["look"]}),
        ("tools[0].function.name", {"tools": [{"type": "function", "function": {}}]}),
        ("max_tokens", {"max_tokens": "many"}),
    ],
    "/v1/responses": [
        ("input", {}),
        ("input", {"input": 5}),
        ("input", {"input": []}),
        ("input[0]", {"input": [5]}),
        ("model", {"input": "Hi", "model": 5}),
        ("stream", {"input": "Hi", "stream": 1}),
        ("tools", {"input": "Hi", "tools": {}}),
    ],
    "/v1/messages": [
        ("messages", {"max_tokens": 9}),
        ("messages", {"max_tokens": 9, "messages": []}),
        ("messages[0].role", {"max_tokens": 9, "messages": [{"role": "x", "content": "Hi"}]}),
        ("messages[0].content", {"max_tokens": 9, "messages": [{"role": "user"}]}),
        ("system", {"max_tokens": 9, "system": 5}),
    ],
    "/v1/messages/count_tokens": [("messages", {}), ("messages", {"messages": 5})],
    "/classify": [("prompt", {}), ("prompt", {"prompt": 5}), ("messages", {"messages": []})],
    "/feedback": [
        ("request_id", {"feedback": "good"}),
        ("feedback", {"request_id": "chatcmpl-1", "feedback": "so-so"}),
    ],
    "/v1/embeddings": [],
    "/v1/completions": [],
}
"""Wrong bodies and the field that the answer must name. Relayed routes do not check theirs."""
SAID = {"messages": [{"role": "user", "content": "Hi"}]}


@routes
async def test_a_wrong_field_is_named_in_the_error(path: str) -> None:
    async with running_server(LOCAL, LOCAL.well, CLAUDE.well) as here:
        for name, fields in WRONG[path]:
            about_chat = path.endswith(("completions", "messages")) and "messages" not in name
            body = (SAID if about_chat else {}) | fields
            error = assert_refused(path, await post(here, path, orjson.dumps(body)))
            assert name in error["message"], (body, error)
            assert error.get("param", name) == name
        assert not here.local.requests


RELAYED = {
    "a key twice": b'{"messages": [{"role": "user", "content": "Hi"}], "seed": 1, "seed": 2}',
    "null bytes": b'{"messages": [{"role": "user", "content": "a\\u0000b"}]}',
    "unknown fields": b'{"messages": [{"role": "user", "content": "Hi", "x": {}}], "y": [[]]}',
    "empty text": b'{"messages": [{"role": "user", "content": ""}]}',
    "no content": b'{"messages": [{"role": "user"}]}',
    "a huge number": b'{"messages": [{"role": "user", "content": "Hi"}], "seed": 1%b}'
    % (b"0" * 99),
    "emoji": '{"messages": [{"role": "user", "content": "\U0001f600\u202e\uffff"}]}'.encode(),
    "deep enough": b'{"messages": [{"role": "user", "content": "Hi"}], "x": %b%b}'
    % (b"[" * 200, b"]" * 200),
}


@pytest.mark.parametrize("name", RELAYED)
async def test_well_formed_json_reaches_the_local_server_unchanged(name: str) -> None:
    async with running_server(LOCAL, LOCAL.well, CLAUDE.well) as here:
        answer = await post(here, CHAT.path, RELAYED[name], **{"X-Force-Route": "local"})
        assert answer.status_code == 200
        (asked,) = here.local.requests
        assert asked.json == orjson.loads(RELAYED[name]) | {"model": "local-model"}


@pytest.mark.no_cover
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_no_type_of_a_field_causes_an_internal_error(
    kind: Kind, path: str, stream: bool
) -> None:
    cloud = GEMINI if kind is GEMINI else CLAUDE
    async with running_server(kind, LOCAL.well, cloud.well) as here:
        faults = await asyncio.gather(
            *(
                _faults(here, path, range(first, SEEDS, AT_A_TIME), stream, kind.target)
                for first in range(AT_A_TIME)
            )
        )
    assert list(chain(*faults)) == []


@pytest.mark.parametrize("path", list(BODIES)[3:])
async def test_no_field_of_the_small_routes_causes_an_internal_error(path: str) -> None:
    async def picky(connection: Connection, request: Request) -> None:
        status = 200 if request.json.keys() & {"input", "prompt"} else 400
        await connection.answer(b'{"error": {"message": "No."}}', status)

    async with running_server(LOCAL, picky, CLAUDE.well) as here:
        assert await _faults(here, path, range(SEEDS), stream=False) == []


async def _faults(
    here: RunningServer, path: str, seeds: Any, stream: bool, force: str = ""
) -> list[tuple[int, Any]]:
    """Return the seeds whose bodies got something other than an answer or a 4xx."""
    found = []
    headers = {"X-Force-Route": force} if force else {}
    for seed in seeds:
        body = malformed(BODIES[path], seed)
        if stream and "stream" in body:
            body["stream"] = True
        answer = await post(here, path, orjson.dumps(body), **headers)
        if answer.status_code >= 500 or b"has made a mistake" in answer.content:
            found.append((seed, answer.text[-200:]))
        elif answer.status_code != 200:
            assert_refused(path, answer, answer.status_code)
    return found
