"""/docs: every route is described, and its examples match real answers."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from router.telemetry.tracing import PROVIDERS
from tests.support.browser import Tab, needs_browser
from tests.support.keys import CANARIES
from tests.support.running_app import RunningApp, on_a_socket, running_app
from web import describe

ELSEWHERE = ("/v1/completions", "/v1/embeddings", "/events")
"""Answers of the local server; and a stream without an end, which test_events.py reads."""
OURS = [path for path in describe.examples() if path not in ELSEWHERE]


@pytest.fixture
async def h() -> AsyncIterator[RunningApp]:
    async with running_app() as h:
        yield h


async def test_every_route_says_what_it_does_and_shows_an_example(h: RunningApp) -> None:
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
            if method == "post" and "method" not in describe.examples().get(path, {}):
                assert route["requestBody"]["content"]["application/json"]["example"], path


@pytest.mark.parametrize("path", OURS)
async def test_an_example_has_the_fields_of_the_real_answer(h: RunningApp, path: str) -> None:
    entry = describe.examples()[path]
    await h.ask("Is a tomato a fruit?")
    body = entry.get("request", {})
    if path == "/feedback":
        body = {**body, "request_id": h.last.id}
    if path == "/privacy/allow":
        asked = await h.http.post(
            "/classify", json={"prompt": f"Why is {CANARIES['GitHub']} refused?"}
        )
        body = {"id": asked.json()["finding"]["id"]}
    address = path.replace("{model_id:path}", "local").replace("{request_id}", h.last.id)
    method = entry.get("method", "POST" if body else "GET")
    answer = await h.http.request(method, address, json=body or None)
    assert answer.status_code == 200, answer.text
    if "text" in entry:
        assert entry["text"].splitlines()[:2] == answer.text.splitlines()[:2]
        assert answer.headers["content-type"].startswith("text/plain")
    else:
        assert is_like(entry["answer"], answer.json()), answer.json()


def is_like(shown: Any, real: Any) -> bool:
    """Return whether both have the same shape: names, and objects where there are objects.

    Of lists the first items count. A value that is null in one may be anything in the other.
    """
    if isinstance(shown, dict) and isinstance(real, dict):
        return shown.keys() == real.keys() and all(is_like(shown[k], real[k]) for k in shown)
    if isinstance(shown, list) and isinstance(real, list):
        return not shown or not real or is_like(shown[0], real[0])
    if shown is None or real is None:
        return True
    return _kind(shown) is _kind(real)


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)


async def test_a_stream_is_shown_as_it_is(h: RunningApp) -> None:
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses"):
        entry = describe.examples()[path]
        answer = await h.http.post(path, json=entry["request"] | {"stream": True})
        shown, real = shape(entry["stream"]), shape(answer.text)
        assert shown, path
        assert [event for event in shown if event not in real] == [], path


def shape(stream: str) -> list[tuple[str, list[str]]]:
    """Return the name of each event, or `data`, with the names of its fields."""
    found = []
    for event in filter(None, stream.split("\n\n")):
        lines = dict(line.split(": ", 1) for line in event.splitlines())
        data = lines["data"]
        fields = sorted(json.loads(data)) if data.startswith("{") else [data]
        found.append((lines.get("event", "data"), fields))
    return found


async def test_the_document_names_every_backend(h: RunningApp) -> None:
    document = (await h.http.get("/openapi.json")).json()
    answer = document["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]
    said = answer["headers"]["X-Router-Backend"]["description"]
    assert [name for name in (*PROVIDERS, "embedded") if f"`{name}`" not in said] == []


async def test_the_document_names_the_key(h: RunningApp) -> None:
    document = (await h.http.get("/openapi.json")).json()
    (name,) = document["components"]["securitySchemes"]
    scheme = document["components"]["securitySchemes"][name]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert document["security"] == [{name: []}, {}]


@needs_browser
async def test_the_page_asks_for_the_key_and_sends_it(tab: Tab) -> None:
    async with (
        running_app(router_api_key="open sesame") as h,
        on_a_socket(h.app) as address,
    ):
        await tab.open(f"{address}docs")
        for key, then in (
            ("guess", "document.querySelector('form').innerText.includes('That key was refused.')"),
            ("open sesame", "document.querySelector('.opblock')"),
        ):
            await tab.until("!document.querySelector('form').hidden")
            assert await tab.value("sessionStorage.getItem('key')") is None
            await tab.value("document.querySelector('input').focus()")
            await tab.type(key)
            await tab.press("Enter")
            await tab.until(then)
        await tab.until("document.querySelector('.authorize.locked')")
