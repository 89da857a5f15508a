"""Every dialect in front of every kind of backend, with the official clients, over HTTP."""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import anthropic
import httpx2
import openai
import orjson
import pytest

from config import load_settings
from router.build import assemble
from router.request import Dialect
from router.wire import sse
from tests.support.backend_answers import (
    PATH,
    WORDS,
    claude_answer,
    gemini_answer,
    local_answer,
    models,
)
from tests.support.clients import recorded
from tests.support.published import check_answer, check_error, check_event
from tests.support.scripted import Connection, Request, ScriptedServer, scripted
from web.app import create_app

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n and so on").decode()
SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string"}},
    "required": ["path"],
    "additionalProperties": False,
}
# --- backends: the answer of each with text, and with a call of `look` ----------------------------


def llama_cpp_answer(request: Request, calls: bool) -> tuple[bytes, str]:
    """Answer as llama.cpp, which has Claude's format as well."""
    native = request.path == "/v1/messages"
    return claude_answer(request, calls) if native else local_answer(request, calls)


ANSWERS = {
    "local": local_answer,
    "llama.cpp": llama_cpp_answer,
    "claude": claude_answer,
    "gemini": gemini_answer,
}
LOCAL = ("local", "llama.cpp")
SAYS_NO = {
    "llama.cpp": {"error": {"code": 400, "message": "No.", "type": "invalid_request_error"}},
    "local": {"error": {"message": "No.", "type": "invalid_request_error"}},
    "claude": {"type": "error", "error": {"type": "invalid_request_error", "message": "No."}},
    "gemini": {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "No."}},
}


# --- dialects: the official clients, with the same questions and answers --------------------------


@dataclass
class Heard:
    """An answer as a client has read it."""

    text: str
    call: tuple[str, Any] | None
    """Name and arguments of the tool it is to run."""
    ended: str | None
    tokens: tuple[int, int] | None
    turn: list[Any]
    """The answer as it goes into the next request."""
    call_id: str = ""


class Caller(Protocol):
    """An official client of one dialect. The image and the tool are optional."""

    async def ask(self, words: str, *, stream: bool, tools: bool, image: bool) -> Heard: ...
    async def answer(self, heard: Heard, result: str, *, stream: bool) -> Heard: ...


class ChatCaller:
    def __init__(self, http: httpx2.AsyncClient, force: str) -> None:
        self.client = openai.AsyncOpenAI(
            api_key="k", base_url="http://localhost/v1", http_client=http, max_retries=0
        )
        self.force = {"X-Force-Route": force}
        self.messages: list[Any] = []
        self.tools: Any = openai.omit

    async def ask(self, words: str, *, stream: bool, tools: bool, image: bool) -> Heard:
        content: Any = words
        if image:
            picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
            content = [{"type": "text", "text": words}, picture]
        self.messages = [{"role": "user", "content": content}]
        if tools:
            self.tools = [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}]
        return await self._send(stream)

    async def answer(self, heard: Heard, result: str, *, stream: bool) -> Heard:
        self.messages += heard.turn
        self.messages.append({"role": "tool", "tool_call_id": heard.call_id, "content": result})
        return await self._send(stream)

    async def _send(self, stream: bool) -> Heard:
        asked: Any = {"model": "auto", "messages": self.messages, "tools": self.tools}
        if stream:
            async with self.client.chat.completions.stream(
                **asked, stream_options={"include_usage": True}, extra_headers=self.force
            ) as streaming:
                answer: Any = await streaming.get_final_completion()
        else:
            answer = await self.client.chat.completions.create(**asked, extra_headers=self.force)
        (choice,) = answer.choices
        calls = choice.message.tool_calls or []
        call = (
            (calls[0].function.name, orjson.loads(calls[0].function.arguments)) if calls else None
        )
        return Heard(
            choice.message.content or "",
            call,
            choice.finish_reason,
            (answer.usage.prompt_tokens, answer.usage.completion_tokens),
            [choice.message.model_dump(exclude_none=True, exclude={"parsed"})],
            calls[0].id if calls else "",
        )


class ResponsesCaller:
    def __init__(self, http: httpx2.AsyncClient, force: str) -> None:
        self.client = openai.AsyncOpenAI(
            api_key="k", base_url="http://localhost/v1", http_client=http, max_retries=0
        )
        self.force = {"X-Force-Route": force}
        self.items: list[Any] = []
        self.tools: Any = openai.omit

    async def ask(self, words: str, *, stream: bool, tools: bool, image: bool) -> Heard:
        content: Any = words
        if image:
            picture = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}
            content = [{"type": "input_text", "text": words}, picture]
        self.items = [{"role": "user", "content": content}]
        if tools:
            tool = {"type": "function", "name": "look", "parameters": SCHEMA, "strict": True}
            self.tools = [tool, {"type": "web_search"}]
        return await self._send(stream)

    async def answer(self, heard: Heard, result: str, *, stream: bool) -> Heard:
        output = {"type": "function_call_output", "call_id": heard.call_id, "output": result}
        self.items += [*heard.turn, output]
        return await self._send(stream)

    async def _send(self, stream: bool) -> Heard:
        asked: Any = {"model": "auto", "input": self.items, "tools": self.tools}
        if stream:
            async with self.client.responses.stream(**asked, extra_headers=self.force) as streaming:
                answer: Any = await streaming.get_final_response()
        else:
            answer = await self.client.responses.create(**asked, extra_headers=self.force)
        calls = [item for item in answer.output if item.type == "function_call"]
        return Heard(
            answer.output_text,
            (calls[0].name, orjson.loads(calls[0].arguments)) if calls else None,
            {"completed": "tool_calls" if calls else "stop"}.get(answer.status),
            (answer.usage.input_tokens, answer.usage.output_tokens),
            [item.to_dict() for item in answer.output],
            calls[0].call_id if calls else "",
        )


class MessagesCaller:
    def __init__(self, http: httpx2.AsyncClient, force: str) -> None:
        self.client = anthropic.AsyncAnthropic(
            api_key="k", base_url="http://localhost", http_client=http, max_retries=0
        )
        self.force = {"X-Force-Route": force}
        self.messages: list[Any] = []
        self.tools: Any = anthropic.omit

    async def ask(self, words: str, *, stream: bool, tools: bool, image: bool) -> Heard:
        content: Any = words
        if image:
            source = {"type": "base64", "media_type": "image/png", "data": PNG}
            content = [{"type": "text", "text": words}, {"type": "image", "source": source}]
        self.messages = [{"role": "user", "content": content}]
        if tools:
            self.tools = [{"name": "look", "input_schema": SCHEMA}]
        return await self._send(stream)

    async def answer(self, heard: Heard, result: str, *, stream: bool) -> Heard:
        block = {"type": "tool_result", "tool_use_id": heard.call_id, "content": result}
        self.messages.append({"role": "assistant", "content": heard.turn})
        self.messages.append({"role": "user", "content": [block]})
        return await self._send(stream)

    async def _send(self, stream: bool) -> Heard:
        asked: Any = {"model": "auto", "max_tokens": 99, "messages": self.messages}
        asked["tools"] = self.tools
        if stream:
            async with self.client.messages.stream(**asked, extra_headers=self.force) as streaming:
                answer: Any = await streaming.get_final_message()
        else:
            answer = await self.client.messages.create(**asked, extra_headers=self.force)
        calls = [block for block in answer.content if block.type == "tool_use"]
        reasons = {"end_turn": "stop", "tool_use": "tool_calls"}
        return Heard(
            "".join(block.text for block in answer.content if block.type == "text"),
            (calls[0].name, calls[0].input) if calls else None,
            reasons.get(answer.stop_reason),
            (answer.usage.input_tokens, answer.usage.output_tokens),
            [block.to_dict() for block in answer.content],
            calls[0].id if calls else "",
        )


CALLERS: dict[str, Callable[[httpx2.AsyncClient, str], Caller]] = {
    "chat": ChatCaller,
    "responses": ResponsesCaller,
    "messages": MessagesCaller,
}
pairs = pytest.mark.parametrize(
    ("dialect", "backend"), [(dialect, backend) for dialect in CALLERS for backend in ANSWERS]
)
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


RELAYED = {
    *(("chat", "local"), ("chat", "llama.cpp")),
    *(("messages", "claude"), ("messages", "llama.cpp")),
}
"""Pairs of dialect and backend whose bytes are relayed unchanged."""


class Checked(httpx2.AsyncBaseTransport):
    """A transport that checks every answer against its published schema."""

    def __init__(self, server: httpx2.AsyncBaseTransport, backend: str) -> None:
        self._server = server
        self._backend = backend

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await self._server.handle_async_request(request)
        data = await answer.aread()
        path = request.url.path.removeprefix("/v1/")
        dialect: Dialect | None = DIALECTS.get(path)
        if dialect is not None:
            self._check(dialect, answer, data)
        return httpx2.Response(answer.status_code, headers=answer.headers, content=data)

    def _check(self, dialect: Dialect, answer: httpx2.Response, data: bytes) -> None:
        if answer.status_code != 200:
            check_error(dialect, orjson.loads(data))
        elif (dialect, self._backend) in RELAYED:
            pass
        elif answer.headers["content-type"].startswith("text/event-stream"):
            for event in sse.data_of(data):
                if event != b"[DONE]" and b'"error":{' not in event:
                    check_event(dialect, orjson.loads(event))
        else:
            check_answer(dialect, orjson.loads(data))


DIALECTS: dict[str, Dialect] = {
    "chat/completions": "chat",
    "responses": "responses",
    "messages": "messages",
}


@asynccontextmanager
async def running_backend(
    backend: str, *, fails: bool = False, breaks: bool = False
) -> AsyncIterator[tuple[Any, ScriptedServer]]:
    """Start the app in front of one scripted backend; yield a transport to it.

    The backend calls `look` if it may and has no result yet. Or it refuses every request, or it
    breaks off in the middle of its answer.
    """

    async def script(connection: Connection, request: Request) -> None:
        if fails:
            await connection.answer(orjson.dumps(SAYS_NO[backend]), 400)
            return
        calls = b'"look"' in request.body and b"print(1)" not in request.body
        body, kind = ANSWERS[backend](request, calls)
        if breaks:
            await connection.begin_stream()
            await connection.chunk(body[: body.index(WORDS[1].encode())].rpartition(b"\n\n")[0])
            await connection.chunk(b"\n\n")
            connection.reset()
        elif kind == "sse":
            await connection.stream(body)
        else:
            await connection.answer(body)

    probe = partial(models, owner="llamacpp") if backend == "llama.cpp" else models
    async with scripted(script, probe) as server:
        settings = load_settings(
            env=None,
            local_base_url=f"{server.url}/v1",
            local_model="local-model",
            embedded_model="off",
            journal_path="off",
            cloud_provider="gemini" if backend == "gemini" else "anthropic",
            anthropic_api_key="sk-ant-unused" if backend == "claude" else None,
            anthropic_base_url=server.url,
            gemini_api_key="unused" if backend == "gemini" else None,
            gemini_base_url=server.url,
            gemini_model="gemini-3.8-flash",
        )
        assembly = assemble(settings)
        try:
            transport = httpx2.ASGITransport(create_app(settings, assembly))
            yield Checked(transport, backend), server
        finally:
            await assembly.aclose()


@asynccontextmanager
async def caller(
    dialect: str, backend: str, **options: Any
) -> AsyncIterator[tuple[Caller, ScriptedServer]]:
    async with (
        running_backend(backend, **options) as (transport, server),
        httpx2.AsyncClient(transport=transport) as http,
    ):
        client: Caller = CALLERS[dialect](http, "local" if backend in LOCAL else "cloud")
        yield client, server


@pairs
@both_ways
async def test_text_reaches_the_client(dialect: str, backend: str, stream: bool) -> None:
    async with caller(dialect, backend) as (client, _):
        heard = await client.ask("What does it print?", stream=stream, tools=False, image=False)
    assert heard.text == "".join(WORDS)
    assert heard.ended == "stop"
    assert heard.tokens == (7, 5)


@pairs
@both_ways
async def test_a_tool_is_called_and_its_result_is_read(
    dialect: str, backend: str, stream: bool
) -> None:
    async with caller(dialect, backend) as (client, server):
        heard = await client.ask("What does it print?", stream=stream, tools=True, image=False)
        assert heard.call == ("look", PATH)
        assert heard.ended == "tool_calls"
        heard = await client.answer(heard, "print(1)", stream=stream)
        assert heard.text == "".join(WORDS)
        assert len(server.requests) == 2


@pairs
async def test_a_picture_reaches_the_backend(dialect: str, backend: str) -> None:
    async with caller(dialect, backend) as (client, server):
        await client.ask("What is this?", stream=False, tools=False, image=True)
        assert PNG.encode() in server.requests[0].body


@pairs
@both_ways
async def test_a_refused_request_is_the_callers_own_error(
    dialect: str, backend: str, stream: bool
) -> None:
    kind = anthropic.BadRequestError if dialect == "messages" else openai.BadRequestError
    async with caller(dialect, backend, fails=True) as (client, _):
        with pytest.raises(kind, match=r"No\."):
            await client.ask("Hi", stream=stream, tools=False, image=False)


@pairs
async def test_an_answer_that_breaks_off_is_an_error_of_the_client(
    dialect: str, backend: str
) -> None:
    kind = anthropic.APIStatusError if dialect == "messages" else openai.APIError
    async with caller(dialect, backend, breaks=True) as (client, _):
        with pytest.raises(kind):
            await client.ask("Hi", stream=True, tools=False, image=False)


async def test_only_claude_gets_claude_codes_billing_line() -> None:
    recording = recorded("claude-code-turn")
    line = b"x-anthropic-billing-header"
    assert line in orjson.dumps(recording["body"])
    for backend in ("local", "claude"):
        async with running_backend(backend) as (transport, server):
            async with httpx2.AsyncClient(transport=transport) as http:
                answer = await http.post(
                    "http://localhost/v1/messages?beta=true",
                    json=recording["body"],
                    headers=recording["headers"]
                    | {"X-Force-Route": "local" if backend == "local" else "cloud"},
                )
            assert answer.status_code == 200
            (asked,) = server.requests
        assert (line in asked.body) == (backend == "claude")
        if backend == "claude":
            assert asked.json == recording["body"] | {"model": "claude-sonnet-4-6"}
            assert "mid-conversation-system" in asked.headers["anthropic-beta"]


@pytest.mark.parametrize(
    ("path", "backend", "tool", "dropped"),
    [
        ("responses", "local", {"type": "web_search"}, "tools.web_search"),
        ("responses", "claude", {"type": "web_search"}, "tools.web_search"),
        (
            "messages",
            "local",
            {"type": "web_search_20250305", "name": "web_search"},
            "tools.web_search",
        ),
        ("messages", "claude", {"type": "web_search_20250305", "name": "web_search"}, None),
    ],
)
async def test_tools_that_no_side_can_run_are_named(
    path: str, backend: str, tool: dict[str, Any], dropped: str | None
) -> None:
    body: dict[str, Any] = {"model": "auto", "tools": [tool]}
    said = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
    body |= {"input": "Hi"} if path == "responses" else said
    async with (
        running_backend(backend) as (transport, _),
        httpx2.AsyncClient(transport=transport) as http,
    ):
        answer = await http.post(
            f"http://localhost/v1/{path}",
            json=body,
            headers={"X-Force-Route": "local" if backend == "local" else "cloud"},
        )
    assert answer.status_code == 200
    assert answer.headers.get("x-router-dropped") == dropped


async def test_a_long_list_of_dropped_fields_is_cut() -> None:
    body = {"input": "Hi"} | {f"field_{number}": 1 for number in range(10_000)}
    async with (
        running_backend("claude") as (transport, _),
        httpx2.AsyncClient(transport=transport) as http,
    ):
        answer = await http.post("http://localhost/v1/responses", json=body)
    dropped = answer.headers["x-router-dropped"]
    assert dropped.startswith("field_0, field_1, ")
    assert dropped.endswith("...")
    assert len(dropped) < 2100


@both_ways
async def test_a_response_can_be_followed_up_by_its_id(stream: bool) -> None:
    async with (
        running_backend("local") as (transport, server),
        httpx2.AsyncClient(transport=transport) as http,
    ):
        client = ResponsesCaller(http, "local").client
        if stream:
            async with client.responses.stream(model="auto", input="One") as streaming:
                first = (await streaming.get_final_response()).id
        else:
            first = (await client.responses.create(model="auto", input="One")).id
        await client.responses.create(model="auto", input="Two", previous_response_id=first)
        assert [m["content"] for m in server.requests[1].json["messages"]] == [
            "One",
            "".join(WORDS),
            "Two",
        ]
        with pytest.raises(openai.BadRequestError, match="not kept"):
            await client.responses.create(model="auto", input="Two", previous_response_id="resp_0")


async def test_tokens_of_a_messages_request_are_counted_without_a_backend() -> None:
    async with (
        running_backend("local") as (transport, server),
        httpx2.AsyncClient(transport=transport) as http,
    ):
        count = await MessagesCaller(http, "local").client.messages.count_tokens(
            model="auto", messages=[{"role": "user", "content": "word " * 350}]
        )
        assert 350 < count.input_tokens < 1000
        assert server.requests == []
