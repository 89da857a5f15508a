"""Requests of clients besides their questions, and errors in the shape that each client reads."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx2
import openai
import orjson
import pytest

from config import load_settings
from router.build import assemble
from tests.support.backend_answers import claude_answer, local_answer, models
from tests.support.clients import recorded, recorded_for
from tests.support.scripted import Connection, Request, ScriptedServer, scripted
from web.app import create_app

KEY = "a-key-that-is-long-enough"
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
HI: dict[str, Any] = {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


async def by_path(connection: Connection, request: Request) -> None:
    """A local server and Claude at one address."""
    if request.path == "/v1/messages":
        body, kind = claude_answer(request, calls=False)
    elif request.path == "/v1/chat/completions":
        body, kind = local_answer(request, calls=False)
    else:
        body, kind = orjson.dumps({"asked": request.path, "model": request.json["model"]}), "json"
    await (connection.stream(body) if kind == "sse" else connection.answer(body))


@asynccontextmanager
async def router(
    *, cloud: bool = True, **settings: Any
) -> AsyncIterator[tuple[httpx2.AsyncClient, ScriptedServer]]:
    """The server in front of both sides, a client of it, and the requests that the sides got."""
    async with scripted(by_path, models) as server:
        known = load_settings(
            env=None,
            embedded_model="off",
            journal_path="off",
            local_model="local-model",
            anthropic_api_key="sk-ant-unused" if cloud else None,
            anthropic_base_url=server.url,
            **{"local_base_url": f"{server.url}/v1", **settings},
        )
        assembly = assemble(known)
        transport = httpx2.ASGITransport(create_app(known, assembly))
        try:
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
                yield http, server
        finally:
            await assembly.aclose()


async def test_no_limit_as_local_servers_write_it_reaches_them_and_means_none_elsewhere() -> None:
    async with router() as (http, server):
        for side in ("local", "cloud"):
            body = {**HI, "model": side, "max_tokens": -1}
            answer = await http.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text
        refused = await http.post("/v1/chat/completions", json={**HI, "max_tokens": 0})
    to_local, to_cloud = (request.json["max_tokens"] for request in server.requests)
    assert (to_local, to_cloud) == (-1, 8192)
    assert "from 1, or -1 for no limit" in refused.text


def claude_client(http: httpx2.AsyncClient, **options: Any) -> anthropic.AsyncAnthropic:
    options = {"api_key": "k", **options}
    return anthropic.AsyncAnthropic(
        base_url="http://localhost", http_client=http, max_retries=0, **options
    )


def openai_client(http: httpx2.AsyncClient, key: str = "k") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key=key, base_url="http://localhost/v1", http_client=http, max_retries=0
    )


# --- one decision at all routes -------------------------------------------------------------------

SYSTEM = "You are an expert. Prove, analyse and refactor everything step by step. " * 50
TOOL = {"name": "prove", "description": "Prove a theorem.", "input_schema": {"type": "object"}}
FUNCTION = {"name": "prove", "description": "Prove a theorem.", "parameters": {"type": "object"}}


def chat_body(text: str) -> dict[str, Any]:
    said = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    return {"messages": said, "tools": [{"type": "function", "function": FUNCTION}]}


def responses_body(text: str) -> dict[str, Any]:
    part = {"type": "input_text", "text": text}
    items = [{"type": "message", "role": "user", "content": [part]}]
    return {"instructions": SYSTEM, "input": items, "tools": [{"type": "function", **FUNCTION}]}


def messages_body(text: str) -> dict[str, Any]:
    reminder = {"type": "text", "text": f"<system-reminder>\n{SYSTEM}\n</system-reminder>"}
    said = [{"role": "user", "content": [reminder, {"type": "text", "text": text}]}]
    return {"max_tokens": 9, "system": SYSTEM, "messages": said, "tools": [TOOL]}


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of France?",
        "Prove that there are infinitely many primes, and compare two proofs.",
        "Übersetze das ins Englische: Guten Morgen!",
        "def f(x):\n    return x\n\nWhy does f(None) return None?",
    ],
)
async def test_a_question_has_the_same_score_at_each_route(text: str) -> None:
    routes = {
        "/v1/chat/completions": chat_body(text),
        "/v1/responses": responses_body(text),
        "/v1/messages": messages_body(text),
    }
    async with router() as (http, _):
        bare = await http.post("/classify", json={"prompt": text})
        scores = {
            path: (await http.post(path, json=body | {"model": "auto"})).headers["x-router-score"]
            for path, body in routes.items()
        }
    assert len(set(scores.values())) == 1
    # Both are rounded, this one to a tenth.
    assert float(scores["/v1/messages"]) == pytest.approx(bare.json()["score"], abs=0.55)


# --- probes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/v1/models/auto"])
async def test_head_answers_like_get_without_the_body(path: str) -> None:
    """Claude Code asks `HEAD /` before it does anything."""
    async with router() as (http, _):
        head, get = await http.head(path), await http.get(path)
    assert head.status_code == get.status_code == 200
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.content == b""


@pytest.mark.parametrize("path", ["/", "/v1/chat/completions", "/v1/messages", "/v1/models"])
async def test_options_names_the_methods(path: str) -> None:
    async with router() as (http, _):
        answer = await http.options(path)
    assert answer.status_code == 204
    assert "POST" in answer.headers["allow"]


async def test_each_client_can_read_the_list_of_models() -> None:
    own, models = ["auto", "local", "cloud"], ["local-model", "claude-sonnet-4-6"]
    async with router() as (http, _):
        openais = [model.id async for model in openai_client(http).models.list()]
        claudes = [model.id async for model in claude_client(http).models.list(limit=100)]
        assert openais == own + models
        assert claudes == [*own, "claude-auto", "claude-local", *models]
        assert (await openai_client(http).models.retrieve("local-model")).owned_by == "local"
        assert (await claude_client(http).models.retrieve("auto")).type == "model"


# --- routes that only the local server has --------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/embeddings", {"input": "text"}), ("/v1/completions", {"prompt": "Once"})],
)
async def test_embeddings_and_completions_are_the_local_servers(
    path: str, body: dict[str, Any]
) -> None:
    async with router() as (http, server):
        answer = await http.post(path, json=body | {"model": "auto", "x_field": [1]})
        named = await http.post(path, json=body | {"model": "bge-small"})
    assert answer.json() == {"asked": path, "model": "local-model"}
    assert named.json()["model"] == "bge-small"
    assert server.requests[0].json == body | {"model": "local-model", "x_field": [1]}


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/completions"])
async def test_they_never_go_to_a_cloud(path: str) -> None:
    async with router(local_base_url="http://127.0.0.1:9/v1") as (http, server):
        answer = await http.post(path, json={"input": "text", "prompt": "text"})
    assert answer.status_code == 503
    assert "Is it running?" in answer.json()["error"]["message"]
    assert server.requests == []


async def test_the_password_of_the_local_address_is_sent_and_never_shown() -> None:
    async with scripted(by_path, models) as server:
        address = server.url.replace("http://", "http://me:hunter2%21@")
        async with router(local_base_url=f"{address}/v1") as (http, _):
            shown = [(await http.get(path)).text for path in ("/health", "/info")]
            await http.post("/v1/embeddings", json={"input": "text"})
            sent = server.requests[-1].headers["authorization"]
    async with router(local_base_url="http://me:hunter2%21@127.0.0.1:9/v1") as (http, _):
        shown += [(await http.get(path)).text for path in ("/health", "/info")]
        shown.append((await http.post("/v1/embeddings", json={"input": "text"})).text)
    assert sent == "Basic " + base64.b64encode(b"me:hunter2!").decode()
    assert not [text for text in shown if "hunter2" in text]


# --- errors, in the caller's shape ----------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/classify"])
async def test_a_body_that_is_too_large_ends_the_connection_at_every_path(path: str) -> None:
    async with router(max_body_mb=0.001) as (http, _):
        answer = await http.post(path, content=b"x" * 2000)
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-should-retry"] == "false"


async def test_a_wrong_key_is_an_error_in_each_clients_shape() -> None:
    async with router(router_api_key=KEY) as (http, _):
        with pytest.raises(openai.AuthenticationError) as caught:
            await openai_client(http).models.list()
        assert caught.value.code == "invalid_api_key"
        with pytest.raises(anthropic.AuthenticationError) as claudes:
            await claude_client(http).messages.create(model="auto", **HI)
        body: Any = claudes.value.body
        assert body["type"] == "error"
        assert body["error"]["type"] == "authentication_error"


@pytest.mark.parametrize("options", [{"api_key": KEY}, {"api_key": None, "auth_token": KEY}])
async def test_claudes_clients_send_the_key_as_they_like(options: dict[str, Any]) -> None:
    async with router(router_api_key=KEY) as (http, _):
        message = await claude_client(http, **options).messages.create(model="local", **HI)
        assert message.content
        assert (await http.get("/v1/models", headers={"x-api-key": KEY})).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("POST", "/v1/messages/count_tokens", "invalid_request_error"),
        ("POST", "/v1/messages", "invalid_request_error"),
        ("GET", "/v1/models/gone", "not_found_error"),
        ("GET", "/v1/files", "not_found_error"),
        ("PUT", "/v1/messages", "invalid_request_error"),
    ],
)
async def test_claudes_clients_get_every_failure_in_claudes_shape(
    method: str, path: str, kind: str
) -> None:
    async with router() as (http, _):
        answer = await http.request(
            method, path, content=b'{"messages": 5}', headers={"anthropic-version": "2023-06-01"}
        )
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == kind


# --- fields and tools that only one side supports -------------------------------------------------


async def test_unknown_fields_reach_the_local_server_or_are_reported() -> None:
    async with router() as (http, server):
        chat = await http.post("/v1/chat/completions", json=HI | {"model": "local", "x_new": 1})
        claude = await http.post("/v1/messages?beta=true", json=HI | {"model": "local", "x_new": 1})
    assert server.requests[0].json["x_new"] == 1
    assert "x-router-dropped" not in chat.headers
    assert claude.status_code == 200
    assert claude.headers["x-router-dropped"] == "x_new"


@pytest.mark.parametrize(
    "choice", [{"type": "any"}, {"type": "tool", "name": "web_search"}], ids=["any", "named"]
)
@pytest.mark.parametrize("cloud", [True, False])
async def test_a_forced_tool_of_claudes_is_for_claude_alone(
    choice: dict[str, Any], cloud: bool
) -> None:
    body = HI | {"model": "auto", "tools": [SEARCH], "tool_choice": choice}
    async with router(cloud=cloud, complexity_threshold=100) as (http, server):
        answer = await http.post("/v1/messages", json=body)
    if cloud:
        assert answer.headers["x-router-target"] == "cloud"
        assert server.requests[-1].json["tools"] == [SEARCH]
    else:
        assert answer.status_code == 400
        assert "cannot run" in answer.json()["error"]["message"]
        assert server.requests == []


async def test_a_forced_tool_of_openais_is_refused() -> None:
    body = {"input": "Hi", "tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}
    async with router() as (http, server):
        with pytest.raises(openai.BadRequestError, match="web_search"):
            await openai_client(http).responses.create(model="auto", **body)  # type: ignore[call-overload]
    assert server.requests == []


@pytest.mark.parametrize("name", recorded_for("/v1/messages"))
async def test_the_line_that_claude_code_changes_in_each_request_does_not_reach_the_local_server(
    name: str,
) -> None:
    """Its prompt cache is valid as long as the bytes are the same."""
    body = recorded(name)["body"] | {"stream": False}
    line = next(b["text"] for b in body["system"] if b["text"].startswith("x-anthropic-billing"))
    again = orjson.loads(orjson.dumps(body).replace(line.encode(), line.encode()[:-6] + b"ff0;"))
    assert again != body
    async with router(cloud=False) as (http, server):
        for sent in (body, again):
            assert (await http.post("/v1/messages", json=sent)).status_code == 200
    first, second = server.requests
    assert first.body == second.body
    offered = [tool["name"] for tool in body.get("tools", []) if "input_schema" in tool]
    assert [tool["function"]["name"] for tool in first.json.get("tools", [])] == offered
