"""Local servers that speak the caller's dialect: requests that pass unchanged, and answers."""

import asyncio
from typing import Any

import orjson
import pytest

from router.backend import Relayed, Reply, TimeLimits, Translated
from router.errors import BackendBroken, BackendError, BackendUnfit
from router.events import Finish, TextDelta, Usage, each_of
from router.local.native import ENDPOINTS, Endpoint
from router.local_client import LocalBackend
from router.request import ChatRequest
from router.wire.anthropic import messages
from router.wire.anthropic.messages_relay import MessagesTally
from router.wire.responses import responses
from tests.support.clients import recorded, recorded_for
from tests.support.scripted import Connection, Request, Script, ScriptedServer, scripted

QUICK = TimeLimits(connect_s=1, first_byte_s=1, idle_s=1, total_s=5)
KINDS: dict[str, dict[str, Any]] = {
    "lmstudio": {"/api/v1/models": {"models": [{"key": "m", "loaded_instances": []}]}},
    "ollama": {"/api/ps": {"models": []}, "/api/tags": {"models": [{"name": "m"}]}},
    "llama.cpp": {"/v1/models": {"data": [{"id": "m", "owned_by": "llamacpp"}]}},
    "vllm": {"/v1/models": {"data": [{"id": "m", "owned_by": "vllm"}]}},
    "openai": {"/v1/models": {"data": [{"id": "m", "owned_by": "me"}]}},
}
"""Answers of each kind of server to a probe."""

HI: dict[str, Any] = {
    "model": "auto",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "Hi"}],
}
TOOL = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}
THINKS = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aa"}}


def event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))


def block(index: int, kind: str, *words: str) -> bytes:
    """A content block, as llama.cpp sends it."""
    delta, key = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}[kind]
    deltas = [
        event("content_block_delta", index=index, delta={"type": delta, key: word})
        for word in words
    ]
    start = event("content_block_start", index=index, content_block={"type": kind, key: ""})
    return start + b"".join(deltas) + event("content_block_stop", index=index)


COUNTS: dict[str, Any] = {"cache_read_input_tokens": 3, "input_tokens": 4, "output_tokens": 0}
MESSAGE: dict[str, Any] = {
    "id": "chatcmpl-x",
    "type": "message",
    "role": "assistant",
    "model": "real",
    "content": [],
}
START = event("message_start", message={**MESSAGE, "usage": COUNTS})
DELTA = {"stop_reason": "end_turn", "stop_sequence": None}
END = event("message_delta", delta=DELTA, usage={"output_tokens": 2}) + event("message_stop")
HELLO = block(0, "text", 'say "error": ', "“Grüß”")
WHOLE: dict[str, Any] = {
    **MESSAGE,
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "usage": {**COUNTS, "output_tokens": 2},
    "x_timings": {"ms": 1},
}
CHAT = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}


def looked_at(kind: str) -> Script:
    async def probe(connection: Connection, request: Request) -> None:
        known = KINDS[kind].get(request.path)
        await connection.answer(orjson.dumps(known or {"error": "?"}), 200 if known else 404)

    return probe


async def by_path(connection: Connection, request: Request) -> None:
    """A whole answer in the format of the path."""
    if request.path == "/v1/messages":
        await connection.answer(orjson.dumps(WHOLE))
    else:
        await connection.answer(orjson.dumps(CHAT))


def answering(*chunks: bytes) -> Script:
    async def script(connection: Connection, request: Request) -> None:
        await connection.stream(*chunks)

    return script


class Asked:
    """Return the answer to a request, and the request as the server got it."""

    def __init__(self, reply: Reply, raw: bytes, events: list[Any], server: ScriptedServer) -> None:
        self.reply, self.raw, self.events, self.server = reply, raw, events, server

    @property
    def paths(self) -> list[str]:
        """Those of the requests, without looks at the server."""
        return [request.path for request in self.server.requests if "/api/" not in request.path]


async def ask(
    body: dict[str, Any], script: Script = by_path, kind: str = "llama.cpp", dialect: Any = messages
) -> Asked:
    return await send(dialect.parse(orjson.dumps(body)), script, kind)


async def send(request: ChatRequest, script: Script, kind: str = "llama.cpp") -> Asked:
    async with scripted(script, looked_at(kind)) as server:
        local = LocalBackend(f"{server.url}/v1", "m", limits=QUICK)
        try:
            assert (await local.probe()).server == kind
            reply = await local.open(request, "m")
            raw, events = b"", []
            if isinstance(reply, Relayed):
                raw = b"".join([chunk async for chunk in reply.chunks])
            else:
                events = [event async for event in each_of(reply.events)]
            return Asked(reply, raw, events, server)
        finally:
            await local.aclose()


# --- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.server} {e.dialect}")
async def test_each_row_of_the_table_is_kept_to(endpoint: Endpoint) -> None:
    assert endpoint.why
    body, wire = (HI, messages) if endpoint.dialect == "messages" else ({"input": "Hi"}, responses)
    asked = await ask(body, kind=endpoint.server, dialect=wire)
    used = f"/v1/{endpoint.dialect}" if endpoint.reads else "/v1/chat/completions"
    assert asked.paths == [used]


async def test_a_server_that_is_not_in_the_table_gets_chat() -> None:
    assert (await ask(HI, kind="openai")).paths == ["/v1/chat/completions"]


async def test_a_server_without_the_endpoint_gets_chat() -> None:
    async def old(connection: Connection, request: Request) -> None:
        if request.path == "/v1/messages":
            await connection.answer(b'{"error":{"code":404,"message":"File Not Found"}}', 404)
        else:
            await connection.answer(orjson.dumps(CHAT))

    asked = await ask(HI, old)
    assert asked.paths == ["/v1/messages", "/v1/chat/completions"]
    assert orjson.loads(asked.raw) == CHAT


def conversation(*turns: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    return HI | {
        "messages": [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]
    }


CALLED = {"type": "tool_use", "id": "call_1", "name": "look", "input": {}}


def returned(**fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "call_1", "content": "ok", **fields}


@pytest.mark.parametrize(
    "body",
    [
        HI | {"system": "Be brief.", "temperature": 0.5, "top_p": 0.9, "top_k": 5},
        HI | {"system": [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}]},
        HI | {"stop_sequences": ["."], "metadata": {"user_id": "u"}, "stream": False},
        HI | {"tools": [TOOL], "tool_choice": {"type": "any"}},
        HI | {"tools": [TOOL | {"type": "custom"}], "tool_choice": {"type": "auto"}},
        HI | THINKS,
        HI | {"thinking": {"type": "adaptive"}},
        conversation([{"type": "text", "text": "Look"}, PICTURE]),
        conversation("Look", [{"type": "thinking", "thinking": "Hm", "signature": ""}, CALLED],
                     [returned(), {"type": "text", "text": "And?"}]),
        conversation("Look", [CALLED], [returned(content=[{"type": "text", "text": "ok"}])]),
    ],
)  # fmt: skip
async def test_a_request_that_it_reads_goes_out_as_it_came(body: dict[str, Any]) -> None:
    asked = await ask(body)
    assert asked.paths == ["/v1/messages"]
    assert asked.server.requests[0].json == body | {"model": "m"}
    assert asked.raw == orjson.dumps(WHOLE)


@pytest.mark.parametrize(
    "body",
    [
        HI | {"output_config": {"effort": "low"}},
        HI | {"output_config": {"format": {"type": "json_schema", "schema": {}}}},
        HI | {"context_management": {"edits": []}},
        HI | {"thinking": {"type": "disabled"}},
        HI | {"thinking": {"type": "adaptive", "display": "omitted"}},
        HI | {"tools": [TOOL], "tool_choice": {"type": "none"}},
        HI | {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "look"}},
        HI | {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        HI | {"tools": [TOOL, {"type": "web_search_20250305", "name": "web_search"}]},
        HI | {"tools": [TOOL | {"strict": True}]},
        HI | {"messages": [*HI["messages"], {"role": "system", "content": "It is late."}]},
        HI | {"messages": HI["messages"] * 2},
        conversation("Look", [CALLED], [returned(is_error=True)]),
        conversation("Look", [CALLED], [returned(content=[PICTURE])]),
        conversation("Look", [{"type": "redacted_thinking", "data": "x"}, CALLED], [returned()]),
        conversation([{"type": "document", "source": {"type": "text", "data": "A deed."}}]),
    ],
)  # fmt: skip
async def test_a_request_that_says_more_is_translated(body: dict[str, Any]) -> None:
    assert (await ask(body)).paths == ["/v1/chat/completions"]


async def test_a_part_that_no_server_reads_is_refused() -> None:
    deed = {"type": "document", "source": {"type": "base64", "media_type": "x/y", "data": "aa"}}
    with pytest.raises(BackendUnfit):
        await ask(conversation([deed]))


async def test_the_billing_line_never_reaches_it() -> None:
    line = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=a51f5;"}
    system = [line, {"type": "text", "text": "You are Claude Code."}]
    body = HI | {"system": system}
    asked = await ask(body)
    assert asked.paths == ["/v1/messages"]
    assert asked.server.requests[0].json["system"] == system[1:]
    assert body["system"] == system


@pytest.mark.parametrize("name", recorded_for("/v1/messages"))
async def test_no_recorded_request_loses_anything_on_its_way_to_llama_cpp(name: str) -> None:
    """Claude Code sends more than llama.cpp's endpoint reads: effort, mid-conversation notes."""
    request = messages.parse(orjson.dumps(recorded(name)["body"] | {"stream": False}))
    asked = await send(request, by_path)
    assert b"x-anthropic-billing-header" not in asked.server.requests[0].body
    if asked.paths == ["/v1/messages"]:
        assert request.dropped == ()


# --- answers --------------------------------------------------------------------------------------


async def test_a_stream_comes_back_byte_for_byte() -> None:
    stream = START + HELLO + END
    pieces = [stream[i : i + 11] for i in range(0, len(stream), 11)]
    asked = await ask(HI | {"stream": True}, answering(*pieces))
    assert asked.raw == stream
    assert isinstance(asked.reply, Relayed)
    assert (asked.reply.format, asked.reply.model) == ("messages", "real")
    assert asked.reply.usage == Usage(7, 2, cached_tokens=3)


async def test_a_stream_without_its_first_event_gets_one() -> None:
    """llama.cpp leaves it out if the first token is half of a character."""
    asked = await ask(HI | {"stream": True}, answering(HELLO, END))
    assert isinstance(asked.reply, Relayed)
    start, rest = asked.raw.split(b"\n\n", 1)
    assert rest == HELLO + END
    message = orjson.loads(start.removeprefix(b"event: message_start\ndata: "))["message"]
    assert (message["role"], message["model"], message["content"]) == ("assistant", "m", [])
    assert message["id"].startswith("msg_")
    assert message["usage"]["input_tokens"] > 0
    assert asked.reply.usage == Usage(0, 2), "an estimate is no count"


def test_a_first_event_after_a_ping_is_not_added_again() -> None:
    ping = event("ping")
    for sent, passed in (
        ([ping, START, HELLO, END], [ping, START, HELLO, END]),
        ([ping, HELLO, END], [ping, START + HELLO, END]),
        ([END], [START + END]),
    ):
        tally = MessagesTally(lambda: START)
        assert tally.words(SAID) is None
        assert [tally.passed(block) for block in sent] == passed


async def test_the_tokens_of_a_whole_answer_are_known() -> None:
    asked = await ask(HI)
    assert isinstance(asked.reply, Relayed)
    assert (asked.reply.format, asked.reply.model) == ("messages", "real")
    assert asked.reply.usage == Usage(7, 2, cached_tokens=3)


THOUGHT = block(0, "thinking", "Hm.")
SAID = block(1, "text", "Hi")


async def test_thoughts_pass_if_the_caller_asked_for_them() -> None:
    stream = START + THOUGHT + SAID + END
    asked = await ask(HI | THINKS | {"stream": True}, answering(stream))
    assert asked.raw == stream


async def test_thoughts_that_were_not_asked_for_are_left_out_by_the_encoder() -> None:
    asked = await ask(HI | {"stream": True}, answering(START, THOUGHT, SAID, END))
    assert isinstance(asked.reply, Translated)
    assert asked.events[-2:] == [TextDelta("Hi"), Finish("stop", Usage(7, 2, cached_tokens=3))]


@pytest.mark.parametrize("asks", [True, False])
async def test_a_whole_answer_has_thoughts_if_they_were_asked_for(asks: bool) -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    body = orjson.dumps(WHOLE | {"content": [thought, *WHOLE["content"]]})

    async def script(connection: Connection, request: Request) -> None:
        await connection.answer(body)

    asked = await ask(HI | (THINKS if asks else {}), script)
    assert asked.raw == (body if asks else orjson.dumps(WHOLE))


@pytest.mark.parametrize(
    "error",
    [
        event("error", error={"type": "api_error", "message": "Model has crashed"}),
        b'event: error\ndata: {"code":500,"message":"Model has crashed","type":"server_error"}\n\n',
        b'data: {"error":{"code":500,"message":"Model has crashed"}}\n\n',
        b'data: {"error":"Model has crashed"}\n\n',
    ],
)
@pytest.mark.parametrize("before", [b"", START, START + HELLO])
async def test_an_error_in_the_stream_is_raised_there(before: bytes, error: bytes) -> None:
    with pytest.raises(BackendError, match="crashed") as caught:
        await ask(HI | THINKS | {"stream": True}, answering(before + error))
    assert caught.value.code == "local_not_ready"


@pytest.mark.parametrize("cut", [b"", START, START + HELLO, START + HELLO + END[:40]])
@pytest.mark.parametrize("asks", [THINKS, {}])
async def test_a_stream_that_ends_early_is_never_taken_for_finished(
    cut: bytes, asks: dict[str, Any]
) -> None:
    with pytest.raises(BackendBroken):
        await ask(HI | asks | {"stream": True}, answering(cut))


@pytest.mark.parametrize("body", [b"{}", b"[]", b"<html>", b'{"content": ["x"]}', b""])
async def test_a_whole_answer_that_is_none_is_broken(body: bytes) -> None:
    async def script(connection: Connection, request: Request) -> None:
        await connection.answer(body)

    with pytest.raises(BackendBroken):
        await ask(HI, script)


@pytest.mark.parametrize("asks", [THINKS, {}])
@pytest.mark.parametrize("read", [True, False])
async def test_closing_the_reply_closes_the_connection(read: bool, asks: dict[str, Any]) -> None:
    async def stalling(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        await connection.chunk(START + THOUGHT)
        await connection.silence()

    async with scripted(stalling, looked_at("llama.cpp")) as server:
        local = LocalBackend(f"{server.url}/v1", "m", limits=QUICK)
        await local.probe()
        request = messages.parse(orjson.dumps(HI | asks | {"stream": True}))
        reply = await local.open(request, "m")
        items: Any = reply.chunks if isinstance(reply, Relayed) else reply.events
        if read:
            await anext(items)
        await reply.aclose()
        async with asyncio.timeout(0.2):
            await server.all_closed()
        await local.aclose()
