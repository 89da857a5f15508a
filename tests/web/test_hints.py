"""What clients say in headers about a request's purpose, and the names in Claude Code's picker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.running_app import RunningApp, cloud_side, local_side, running_app
from tests.support.scripted import Connection, Request
from tests.support.two_sides import EASY, HARD

CLASS = "x-claude-code-request-class"
AGENT = "x-claude-code-agent-id"
CODEX_AGENT = "x-openai-subagent"
CODEX_TURN = "x-codex-turn-metadata"


@asynccontextmanager
async def app(**settings: Any) -> AsyncIterator[tuple[RunningApp, list[Request]]]:
    """Yield the app, and the requests that its backends get."""
    asked: list[Request] = []

    async def local(connection: Connection, request: Request) -> None:
        asked.append(request)
        await local_side(connection, request)

    async def cloud(connection: Connection, request: Request) -> None:
        asked.append(request)
        await cloud_side(connection, request)

    async with running_app(local, cloud, **settings) as running:
        yield running, asked


def message(words: str, model: str = "claude-auto") -> dict[str, Any]:
    return {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": words}]}


@pytest.mark.parametrize(
    ("headers", "subagents", "target", "reason"),
    [
        ({}, "local", "cloud", "complex"),
        ({CLASS: "main"}, "local", "cloud", "complex"),
        ({CLASS: "side_reply", AGENT: "a1"}, "local", "cloud", "complex"),
        ({CLASS: "a class of next year"}, "local", "cloud", "complex"),
        ({CLASS: "subagent"}, "auto", "cloud", "complex"),
        ({CLASS: "subagent"}, "local", "local", "subagent"),
        ({CLASS: "workflow"}, "local", "local", "subagent"),
        ({AGENT: "a1"}, "local", "local", "subagent"),
        ({CLASS: "main", AGENT: "a1"}, "local", "cloud", "complex"),
        ({CLASS: "subagent"}, "cloud", "cloud", "subagent"),
        ({CLASS: "compaction"}, "auto", "local", "compaction"),
        ({CLASS: "auxiliary"}, "auto", "local", "background"),
        ({CODEX_AGENT: "collab_spawn"}, "local", "local", "subagent"),
        ({CODEX_AGENT: "review"}, "local", "cloud", "complex"),
        ({CODEX_AGENT: "compact"}, "auto", "local", "compaction"),
        ({CODEX_TURN: '{"request_kind":"turn"}'}, "local", "cloud", "complex"),
        ({CODEX_TURN: '{"request_kind":"compaction"}'}, "auto", "local", "compaction"),
        (
            {CODEX_TURN: '{"request_kind":"compaction"}', CODEX_AGENT: "collab_spawn"},
            *("cloud", "local", "compaction"),
        ),
    ],
)
async def test_a_hint_of_the_client_places_its_request(
    headers: dict[str, str], subagents: str, target: str, reason: str
) -> None:
    async with app(subagents=subagents) as (running, asked):
        answer = await running.http.post("/v1/messages", json=message(HARD), headers=headers)
        shown = await running.http.post("/classify", json={"prompt": HARD}, headers=headers)
    assert answer.headers["x-router-target"] == target
    assert answer.headers["x-router-reason"] == shown.json()["reason"] == reason
    assert not headers.keys() & asked[0].headers.keys()


async def test_a_summary_is_made_where_the_conversation_was_answered() -> None:
    turns = [
        {"role": "user", "content": HARD},
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "Summarize the conversation so far."},
    ]
    async with app() as (running, _):
        first = await running.http.post("/v1/messages", json=message(HARD))
        body = message("") | {"messages": turns}
        headers = {CLASS: "compaction"}
        second = await running.http.post("/v1/messages", json=body, headers=headers)
    assert first.headers["x-router-target"] == "cloud"
    assert second.headers["x-router-target"] == "cloud"
    assert second.headers["x-router-reason"] == "compaction"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize(
    ("model", "words", "reason"),
    [
        ("claude-auto", EASY, "simple"),
        ("claude-auto", HARD, "complex"),
        ("Claude-Local", HARD, "forced"),
    ],
)
async def test_the_names_of_the_picker_work_everywhere(
    path: str, model: str, words: str, reason: str
) -> None:
    body = message(words, model)
    if path == "/v1/responses":
        body = {"model": model, "input": words}
    async with app() as (running, asked):
        answer = await running.http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-router-reason"] == reason
    assert asked[0].json["model"] in ("local-model", "claude-sonnet-4-6")


async def test_the_picker_of_claude_code_finds_names_that_it_shows() -> None:
    headers = {"anthropic-version": "2023-06-01"}
    async with app() as (running, _):
        listed = (await running.http.get("/v1/models?limit=1000", headers=headers)).json()
        one = (await running.http.get("/v1/models/claude-local", headers=headers)).json()
        others = (await running.http.get("/v1/models")).json()
    shown = [row for row in listed["data"] if "claude" in row["id"]]
    assert [row["id"] for row in shown] == ["claude-auto", "claude-local", "claude-sonnet-4-6"]
    assert all(row["display_name"] and row["description"] for row in shown)
    assert one in shown
    assert "claude-auto" not in [row["id"] for row in others["data"]]
