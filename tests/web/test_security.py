"""Security: guessable ids of responses, framed pages, guessed content types."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from tests.support.running_app import RunningApp, running_app
from web import describe

ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/responses": {"input": "The password is swordfish."},
    "/v1/messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9},
}
LISTS = ("/", "/health", "/info", "/stats", "/decisions", "/confidence", "/metrics", "/v1/models")
ENDLESS = "/events"  # test_events.py looks at its head
GETS = [
    path
    for path, entry in describe.examples().items()
    if "request" not in entry and path != ENDLESS
]
POSTS = [path for path, entry in describe.examples().items() if "request" in entry]
COMMON_PREFIX = 8
"""More equal digits than this at the front of random ids are no accident."""


@pytest.fixture
async def h() -> AsyncIterator[RunningApp]:
    async with running_app() as h:
        yield h


async def follow_up(h: RunningApp, response_id: str) -> int:
    body = {"input": "What is it?", "previous_response_id": response_id}
    return (await h.http.post("/v1/responses", json=body)).status_code


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_response_can_be_continued_only_by_a_caller_that_has_its_id(
    h: RunningApp, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = await h.http.post("/v1/responses", json={**ASKED["/v1/responses"], "stream": stream})
    if stream:
        created = next(line for line in answer.text.splitlines() if line.startswith("data:"))
        response_id = orjson.loads(created[5:])["response"]["id"]
    else:
        response_id = answer.json()["id"]
    assert await follow_up(h, response_id) == 200
    shown = [(await h.http.get(path)).text for path in LISTS]
    for text in (*shown, str(answer.headers), repr(h.last), caplog.text):
        assert response_id.removeprefix("resp_") not in text
    row_ids = [row["id"] for row in (await h.http.get("/decisions")).json()["decisions"]]
    assert len(row_ids) == 2
    for row_id in row_ids:
        for guess in (row_id, row_id.replace("req_", "resp_"), "resp_", "resp_" + "0" * 24):
            assert await follow_up(h, guess) == 400


@pytest.mark.parametrize("path", ASKED)
async def test_ids_are_random(path: str, h: RunningApp) -> None:
    answers = [await h.http.post(path, json=ASKED[path]) for _ in range(5)]
    row_ids = [answer.headers["x-request-id"] for answer in answers]
    for ids in (row_ids, [answer.json()["id"] for answer in answers if path == "/v1/responses"]):
        digits = {one.rpartition("_")[2][:COMMON_PREFIX] for one in ids}
        assert len(digits) == len(ids)
        assert all(len(one.rpartition("_")[2]) == 24 for one in ids)


@pytest.mark.parametrize("path", ASKED)
async def test_an_answer_is_rated_by_the_id_in_its_headers(path: str, h: RunningApp) -> None:
    answer = await h.http.post(path, json=ASKED[path])
    rating = {"request_id": answer.headers["x-request-id"], "feedback": "bad"}
    assert (await h.http.post("/feedback", json=rating)).status_code == 200
    (row,) = (await h.http.get("/decisions")).json()["decisions"]
    assert (row["id"], row["feedback"]) == (rating["request_id"], "bad")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", path.replace("{model_id:path}", "auto")) for path in GETS),
        *(("POST", path) for path in POSTS),
        *(("GET", path) for path in ("/", "/docs", "/openapi.json", "/nowhere", *ASKED)),
        *(("POST", path) for path in ("/stats", "/nowhere")),
    ],
)
async def test_no_answer_is_sniffed_for_another_type(h: RunningApp, method: str, path: str) -> None:
    body: Any
    for body in (describe.examples().get(path, {}).get("request"), {}):
        answer = await h.http.request(method, path, json=body if method == "POST" else None)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers.get_list("x-content-type-options", split_commas=True) == ["nosniff"]


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/stats", "/nowhere"])
async def test_no_page_of_another_site_can_frame_an_answer(h: RunningApp, path: str) -> None:
    answer = await h.http.get(path)
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_docs_load_nothing_from_another_origin(h: RunningApp) -> None:
    page = await h.http.get("/docs")
    assert page.status_code == 200
    assert "://" not in page.text
    for part in page.text.split('"'):
        if part.startswith("/"):
            assert (await h.http.get(part)).status_code == 200, part
