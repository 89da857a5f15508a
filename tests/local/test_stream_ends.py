"""Streams of a local server that end in an unusual way, for each caller."""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import orjson
import pytest

from router.errors import BackendBroken, BackendError, BackendUnfit
from router.wire import sse
from tests.support.local_backend import (
    DONE,
    HELLO,
    ROLE,
    STOP,
    answering,
    ask,
    backend,
    chunk,
    request,
)
from tests.support.running_app import RunningApp, running_app
from tests.support.scripted import Connection, Request, Script, scripted

TOO_LONG = {
    "code": 400,
    "message": "the request exceeds the available context size",
    "type": "exceed_context_size_error",
}
CRASH = {"code": 500, "message": "the slot failed", "type": "server_error"}


def error_events(error: dict[str, Any]) -> dict[str, bytes]:
    """The same error in every form that servers use in a stream."""
    raw = orjson.dumps(error)
    return {
        "a field named error": b"error: " + raw + b"\n\n",
        "data with an error": b"data: " + orjson.dumps({"error": error}) + b"\n\n",
        "an event named error": b"event: error\ndata: " + raw + b"\n\n",
        "an object of kind error": sse.event({**error, "object": "error"}),
        "beside a choice": chunk({}, finish="error", error=error),
        "with CRLF": b"error: " + raw + b"\r\n\r\n",
    }


FORMS = list(error_events(CRASH))


async def read_into(heard: list[bytes], blocks: AsyncIterator[bytes]) -> None:
    async for block in blocks:
        heard.append(block)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("in_one_piece", [True, False])
async def test_an_error_in_mid_stream_is_raised_though_done_follows(
    form: str, in_one_piece: bool
) -> None:
    pieces = [ROLE, HELLO, error_events(CRASH)[form], DONE]
    if in_one_piece:
        pieces = [b"".join(pieces)]
    async with scripted(answering(*pieces)) as server:
        local = backend(server)
        reply: Any = await local.open(request(stream=True), "local-model")
        heard: list[bytes] = []
        with pytest.raises(BackendBroken, match="the slot failed"):
            await read_into(heard, reply.chunks)
        await local.aclose()
    assert b"".join(heard) == ROLE + HELLO


@pytest.mark.parametrize("form", FORMS)
async def test_an_error_at_once_keeps_its_meaning(form: str) -> None:
    with pytest.raises(BackendUnfit) as raised:
        await ask(answering(error_events(TOO_LONG)[form], DONE), stream=True)
    assert raised.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    "said", ["an error: {broken}", 'error: {"a": 1}', '"error"', "event: error\n\nerror: x"]
)
async def test_words_about_errors_are_words(said: str) -> None:
    stream = ROLE + chunk({"content": said}) + STOP + DONE
    assert await ask(answering(stream), stream=True) == stream


async def asked_of(app: RunningApp, dialect: str) -> type[Exception]:
    """Stream an answer through the official client of a dialect; return the error it raises."""
    openai_client = openai.AsyncOpenAI(
        api_key="k", base_url="http://localhost/v1", http_client=app.http, max_retries=0
    )
    claude_client = anthropic.AsyncAnthropic(
        api_key="k", base_url="http://localhost", http_client=app.http, max_retries=0
    )
    said: Any = [{"role": "user", "content": "Hi"}]
    try:
        if dialect == "chat":
            stream: Any = await openai_client.chat.completions.create(
                model="local", messages=said, stream=True
            )
        elif dialect == "responses":
            stream = await openai_client.responses.create(model="local", input="Hi", stream=True)
        else:
            stream = await claude_client.messages.create(
                model="local", messages=said, max_tokens=9, stream=True
            )
        async for _ in stream:
            pass
    except (openai.OpenAIError, anthropic.AnthropicError) as error:
        return type(error)
    return type(None)  # type: ignore[return-value]


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
@pytest.mark.parametrize("form", FORMS)
async def test_the_callers_client_raises_and_the_journal_says_failed(
    dialect: str, form: str
) -> None:
    script = answering(ROLE, HELLO, error_events(CRASH)[form], DONE)
    async with running_app(local=script) as app:
        raised = await asked_of(app, dialect)
        assert issubclass(raised, openai.APIError | anthropic.APIError)
        assert (app.last.outcome, app.last.error) == ("failed", "BackendBroken")


CALLED = [
    chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"x":'}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
]


async def test_a_whole_call_without_a_finish_reason_is_complete() -> None:
    answer = await ask(answering(ROLE, *CALLED), stream=True)
    begun = ROLE + b"".join(CALLED)
    assert answer.startswith(begun)
    *finish, done = sse.data_of(answer[len(begun) :])
    assert done == b"[DONE]"
    assert [orjson.loads(data)["choices"][0]["finish_reason"] for data in finish] == ["tool_calls"]


@pytest.mark.parametrize("stream", [[ROLE, *CALLED[:2]], [ROLE, HELLO]])
async def test_half_a_call_or_half_a_text_without_a_finish_reason_is_broken(
    stream: list[bytes],
) -> None:
    with pytest.raises(BackendBroken):
        await ask(answering(*stream), stream=True)


async def hang_up(connection: Connection, *chunks: bytes) -> None:
    await connection.begin_stream()
    for data in chunks:
        await connection.chunk(data)
    connection.reset()


@pytest.mark.parametrize("rest", [b"", b"data: [DO", b"data: [DONE]\n"])
async def test_after_the_finish_a_broken_connection_costs_nothing(rest: bytes) -> None:
    async def script(connection: Connection, request: Request) -> None:
        await hang_up(connection, ROLE, HELLO, STOP, *([rest] if rest else []))

    assert await ask(script, stream=True) == ROLE + HELLO + STOP + DONE


async def test_before_the_finish_a_broken_connection_is_an_error() -> None:
    async def script(connection: Connection, request: Request) -> None:
        await hang_up(connection, ROLE, HELLO)

    with pytest.raises(BackendError):
        await ask(script, stream=True)


HALVES = [
    ROLE,
    chunk({"content": "go "}).replace(b"go ", rb"go \ud83d"),
    chunk({"content": "?"}).replace(b"?", rb"\ude80"),
    chunk({"content": "?"}).replace(b"?", b"\xc3"),
    chunk({"content": "?"}).replace(b"?", b"\xa9\xff"),
]


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
async def test_half_characters_reach_no_caller(dialect: str) -> None:
    async with running_app(local=answering(*HALVES, STOP, DONE)) as app:
        body: dict[str, Any] = {"model": "local", "stream": True, "max_tokens": 9}
        said = [{"role": "user", "content": "Hi"}]
        path, asked = {
            "chat": ("/v1/chat/completions", {"messages": said}),
            "responses": ("/v1/responses", {"input": said}),
            "messages": ("/v1/messages", {"messages": said}),
        }[dialect]
        answer = await app.http.post(path, json=body | asked)
        text = answer.content.decode()
        assert "🚀" in text or r"\ud83d\ude80" in text
        assert "é\ufffd" in text
        assert app.last.outcome == "done"


async def test_half_a_character_in_a_whole_answer_is_replaced() -> None:
    message = rb'{"role": "assistant", "content": "go \ud83d"}'
    body = b'{"choices": [{"index": 0, "message": %b, "finish_reason": "stop"}]}' % message

    async def script(connection: Connection, request: Request) -> None:
        await connection.answer(body)

    document = orjson.loads(await ask(script))
    assert document["choices"][0]["message"]["content"] == "go \ufffd"


TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("docs.lookup", "web.search", "wiki.search")
]


def calling(name: str, stream: bool) -> Script:
    call = {"index": 0, "id": "call_1", "type": "function",
            "function": {"name": name, "arguments": "null"}}  # fmt: skip
    if stream:
        return answering(ROLE, chunk({"tool_calls": [call]}), chunk(finish="tool_calls"), DONE)
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}

    async def script(connection: Connection, request: Request) -> None:
        await connection.answer(orjson.dumps(body))

    return script


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("called", "target"), [("lookup", "local"), ("docs.lookup", "local"), ("search", "cloud")]
)
async def test_a_unique_last_part_of_a_tools_name_is_completed(
    called: str, target: str, stream: bool
) -> None:
    async with running_app(local=calling(called, stream)) as app:
        answer = await app.ask("Hi", body={"tools": TOOLS, "stream": stream})
        assert answer.headers["x-router-target"] == target
        assert (b'"docs.lookup"' in answer.content) == (target == "local")
