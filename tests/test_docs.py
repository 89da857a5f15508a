"""/docs: every route is there, says what it does, and its examples are like the real thing."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.house import House, house
from web import describe

OURS = [path for path in describe.examples() if path not in ("/v1/completions", "/v1/embeddings")]


@pytest.fixture
async def h() -> AsyncIterator[House]:
    async with house() as h:
        yield h


async def test_every_route_says_what_it_does_and_shows_an_example(h: House) -> None:
    schema = (await h.http.get("/openapi.json")).json()
    paths = {path.replace(":path}", "}") for path in describe.examples()}
    assert set(schema["paths"]) == paths
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            assert route["summary"] != path, path
            assert route["tags"], path
            answer = route["responses"]["200"]["content"]
            assert all(one["example"] for one in answer.values()), (path, answer)
            assert "default" in route["responses"], path
            if method == "post":
                assert route["requestBody"]["content"]["application/json"]["example"], path


@pytest.mark.parametrize("path", OURS)
async def test_an_example_has_the_fields_of_the_real_answer(h: House, path: str) -> None:
    told = describe.examples()[path]
    await h.ask("Is a tomato a fruit?")
    body = told.get("request", {})
    if path == "/feedback":
        body = {**body, "request_id": h.last.id}
    address = path.replace("{model_id:path}", "local")
    answer = await h.http.request("POST" if body else "GET", address, json=body or None)
    assert answer.status_code == 200, answer.text
    if "text" in told:
        assert told["text"].splitlines()[:2] == answer.text.splitlines()[:2]
        assert answer.headers["content-type"].startswith("text/plain")
    else:
        assert is_like(told["answer"], answer.json()), answer.json()


def is_like(shown: Any, real: Any) -> bool:
    """Have they the same names, all the way down? Of lists the first items count."""
    if isinstance(shown, dict) and isinstance(real, dict):
        return shown.keys() == real.keys() and all(is_like(shown[k], real[k]) for k in shown)
    if isinstance(shown, list) and isinstance(real, list) and shown and real:
        return is_like(shown[0], real[0])
    return True


async def test_a_stream_is_shown_as_it_is(h: House) -> None:
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses"):
        told = describe.examples()[path]
        answer = await h.http.post(path, json=told["request"] | {"stream": True})
        first, *_ = told["stream"].split("\n")
        assert first.partition(":")[0] in answer.text
        if first.startswith("event:"):
            assert first in answer.text
