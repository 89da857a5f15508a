"""The commit point: what verifies a local answer, in every form in which one comes."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest

from router.answers.verify import verify
from router.backend import Items, Relayed, Reply, Translated
from router.errors import BackendBroken, BackendTimeout, NoUsableAnswer
from router.events import Event
from router.request import ChatRequest
from router.wire import sse
from router.wire.anthropic import messages, messages_relay
from router.wire.chat import completions
from tests.support.clients import said

Item = TypeVar("Item")
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string"}},
            "required": ["path"],
        },
    },
}
FORMS = ["chat stream", "chat whole", "messages stream", "messages whole", "events"]
forms = pytest.mark.parametrize("form", FORMS)


async def each(items: Iterable[Item]) -> AsyncGenerator[Item, None]:
    for item in items:
        yield item


def chat(content: list[dict[str, Any]], reason: str, stream: bool) -> list[bytes]:
    calls = [
        {
            "index": i,
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": block["arguments"]},
        }
        for i, block in enumerate(b for b in content if b["type"] == "tool_use")
    ]
    texts = [block["text"] for block in content if block["type"] == "text"]
    thoughts = [block["text"] for block in content if block["type"] == "thinking"]
    if not stream:
        message = {
            "content": "".join(texts),
            "reasoning_content": "".join(thoughts),
            "tool_calls": calls,
        }
        return [orjson.dumps({"choices": [{"message": message, "finish_reason": reason}]})]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": thought} for thought in thoughts]
    deltas += [{"content": text} for text in texts]
    deltas += [{"tool_calls": [call]} for call in calls]
    chunks = [sse.event({"choices": [{"delta": delta}]}) for delta in deltas]
    return [*chunks, sse.event({"choices": [{"delta": {}, "finish_reason": reason}]}), sse.DONE]


def native(content: list[dict[str, Any]], reason: str, stream: bool) -> list[bytes]:
    stop = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}[reason]
    if not stream:
        blocks = [
            {**block, "thinking": block.get("text"), "input": parsed(block.get("arguments", "{}"))}
            for block in content
        ]
        return [orjson.dumps({"type": "message", "content": blocks, "stop_reason": stop})]
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"usage": {}}}]
    for i, block in enumerate(content):
        match block["type"]:
            case "tool_use":
                start = {"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}}
                delta = {"type": "input_json_delta", "partial_json": block["arguments"]}
            case kind:
                key = "text" if kind == "text" else "thinking"
                start = {"type": kind, key: ""}
                delta = {"type": f"{kind}_delta", key: block["text"]}
        events += [
            {"type": "content_block_start", "index": i, "content_block": start},
            {"type": "content_block_delta", "index": i, "delta": delta},
            {"type": "content_block_stop", "index": i},
        ]
    events += [
        {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]
    return [sse.event(event, event["type"]) for event in events]


def parsed(arguments: str) -> Any:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments  # whole answers have no half inputs


def answer(form: str, content: list[dict[str, Any]], reason: str = "stop") -> Reply:
    """An answer of a local server in one of its forms."""
    if form == "events":
        (document,) = chat(content, reason, stream=False)
        return Translated(said(completions.decode_complete(orjson.loads(document))), "m")
    dialect, _, way = form.partition(" ")
    make, format = (chat, "chat") if dialect == "chat" else (native, "messages")
    chunks = make(content, reason, way == "stream")
    reply = Relayed(each(chunks), "m", format="chat" if format == "chat" else "messages")
    reply.document = None if way == "stream" else orjson.loads(chunks[0])
    return reply


def request(form: str, tools: list[dict[str, Any]] | None = None, **fields: Any) -> ChatRequest:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], **fields}
    return ChatRequest(body | {"stream": "stream" in form, "tools": tools or []})


async def read(reply: Reply) -> list[Any]:
    items: Items[Any] = reply.chunks if isinstance(reply, Relayed) else reply.events
    return [item async for item in items]


TEXT = {"type": "text", "text": "Hello"}
THOUGHT = {"type": "thinking", "text": "Hm"}


def call(
    arguments: str = '{"path": "a"}', name: str = "look", id: str = "call_0001"
) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "arguments": arguments}


def texts(*pieces: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": piece} for piece in pieces]


def relayed(form: str, chunks: AsyncGenerator[bytes, None]) -> Relayed:
    return Relayed(chunks, "m", "chat" if form.startswith("chat") else "messages")


async def reading(events: list[bytes]) -> AsyncGenerator[bytes, None]:
    """A model that reads a long prompt after its first sign of life."""
    yield events[0]
    for _ in range(4):
        await asyncio.sleep(0.1)
        yield b": processing\n\n"
    for event in events[1:]:
        yield event


async def noting(items: Items[bytes], noted: list[bytes]) -> AsyncGenerator[bytes, None]:
    async for item in items:
        noted.append(item)
        yield item


@forms
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([TEXT], "stop"),
        ([THOUGHT, TEXT], "stop"),
        ([call()], "tool_calls"),
        ([TEXT, call()], "tool_calls"),
        ([THOUGHT], "length"),
        ([], "length"),
        (texts("<th", "ink>Hm</th", "ink>\n\n", "Hello"), "stop"),
        (texts("<"), "stop"),
    ],
    ids=[
        *("words", "words after a thought", "call", "call after words", "thought cut", "cut"),
        *("words after a written thought", "words like a mark"),
    ],
)
async def test_an_answer_is_verified_and_nothing_of_it_is_lost(
    form: str, content: list[dict[str, Any]], reason: str
) -> None:
    reply = answer(form, content, reason)
    await verify(reply, request(form, [TOOL], max_tokens=9), "local", 60)
    assert await read(reply) == await read(answer(form, content, reason))


@pytest.mark.parametrize("form", ["chat stream", "messages stream"])
async def test_it_is_verified_by_its_first_words_and_read_no_further(form: str) -> None:
    reply = answer(form, texts("<think>Hm", "</think>\n", "Hello", "!"))
    assert isinstance(reply, Relayed)
    whole = await read(answer(form, texts("<think>Hm", "</think>\n", "Hello", "!")))
    read_so_far: list[bytes] = []
    reply.chunks = noting(reply.chunks, read_so_far)
    await verify(reply, request(form), "local", 60)
    assert b"Hello" in read_so_far[-1]
    assert await read(reply) == whole


@forms
@pytest.mark.parametrize(
    ("content", "reason", "fault"),
    [
        ([], "stop", "empty"),
        ([THOUGHT], "stop", "empty"),
        ([call(name="other")], "tool_calls", "does not exist"),
        ([call('{"path": 1}')], "tool_calls", "schema"),
        ([call("{}")], "tool_calls", "schema"),
        ([call(), call('["a"]', id="call_0002")], "tool_calls", "schema"),
        (texts("\n", " \n"), "stop", "empty"),
        (texts("<think>Hm", "</think>", "\n"), "stop", "empty"),
        (texts("<think>Hm"), "stop", "empty"),
        ([THOUGHT], "length", "empty"),
        (texts("<tool", '_call>{"name": "look"}</tool_call>'), "stop", "could not read"),
        (texts("\n[TOOL_REQUEST]{}[END_TOOL_REQUEST]"), "stop", "could not read"),
        (texts("<think>Hm</think><function=look>"), "stop", "could not read"),
    ],
)
async def test_an_answer_that_the_caller_could_not_use_is_broken(
    form: str, content: list[dict[str, Any]], reason: str, fault: str
) -> None:
    with pytest.raises(NoUsableAnswer, match=fault) as caught:
        await verify(answer(form, content, reason), request(form, [TOOL]), "local", 60)
    assert caught.value.code == "no_usable_answer"


async def outcome(form: str, content: list[dict[str, Any]], reason: str, **fields: Any) -> str:
    """Why the answer is refused; "" where it is not."""
    tools = fields.pop("tools", [TOOL])
    try:
        await verify(answer(form, content, reason), request(form, tools, **fields), "local", 60)
    except NoUsableAnswer as error:
        return error.message
    return ""


LOOP = "The cache is cleared and the server is started again. " * 30
WHOLE = ["chat whole", "messages whole", "events"]
STREAMS = ["chat stream", "messages stream"]


@pytest.mark.parametrize(
    ("content", "reason", "fault"),
    [
        ([TEXT, call(name="other")], "tool_calls", "does not exist"),
        (texts("All is well.\n", LOOP), "stop", "repeated itself"),
        (texts("Hello, and"), "length", "cut off"),
        ([TEXT, call()], "length", "cut off"),
    ],
)
async def test_only_a_whole_answer_is_judged_after_its_first_words(
    content: list[dict[str, Any]], reason: str, fault: str
) -> None:
    for form in WHOLE:
        assert fault in await outcome(form, content, reason)
    for form in STREAMS:
        assert await outcome(form, content, reason) == ""


@pytest.mark.parametrize("form", WHOLE)
async def test_an_answer_that_its_caller_cut_off_is_one(form: str) -> None:
    assert await outcome(form, [TEXT], "length", max_tokens=5) == ""
    assert "repeated itself" in await outcome(form, texts(LOOP), "length", max_tokens=500)


@pytest.mark.parametrize("form", WHOLE)
async def test_a_caller_may_ask_for_repetition(form: str) -> None:
    asked = "Write 100 times: The cache is cleared and the server is started again."
    messages = [{"role": "user", "content": asked}]
    assert await outcome(form, texts(LOOP), "stop", messages=messages) == ""


@forms
@pytest.mark.parametrize(
    ("calls", "fault"),
    [
        ([call('{"path": "a", "depth": 2}')], "does not declare"),
        ([call(), call(id="call_0002")], "twice"),
        ([call(), call('{ "path":"a" }', id="call_0002")], "twice"),
        ([call(), call('{"path": "b"}', id="call_0002")], ""),
    ],
)
async def test_a_made_up_argument_and_a_call_made_twice_are_faults(
    form: str, calls: list[dict[str, Any]], fault: str
) -> None:
    found = await outcome(form, calls, "tool_calls")
    assert fault in found
    assert bool(fault) == bool(found)


@forms
@pytest.mark.parametrize(
    ("pieces", "is_call"),
    [
        (('{"name": "lo', 'ok", "arguments": {"path": "a"}}'), True),
        (("```json\n", '[{"type": "function", "function": {"name": "look"}}]\n```'), True),
        (('{"tool": "look", "path": "a"}',), True),
        (('{"name": "look', 'out", "rank": 1}'), False),
        (('{"name": "Ada"}',), False),
        (("```json\n", '{"rank": 1}\n```'), False),
        (("[1, 2]",), False),
    ],
)
async def test_json_that_names_a_tool_is_a_call(
    form: str, pieces: tuple[str, ...], is_call: bool
) -> None:
    found = await outcome(form, texts(*pieces), "stop")
    assert ("could not read" in found) == bool(found) == is_call
    assert await outcome(form, texts(*pieces), "stop", tools=[]) == ""


@pytest.mark.parametrize("form", ["chat stream", "messages stream"])
async def test_a_thought_that_comes_in_one_block_is_no_answer(form: str) -> None:
    events = await read(answer(form, texts("<think>", "Hm")))
    reply = relayed(form, each([b"".join(events)]))
    with pytest.raises(NoUsableAnswer, match="empty"):
        await verify(reply, request(form), "local", 60)


@pytest.mark.parametrize("form", ["chat stream", "messages stream"])
async def test_a_model_that_reads_a_long_prompt_first_is_waited_for(form: str) -> None:
    events = await read(answer(form, [TEXT]))
    reply = relayed(form, reading(events))
    await verify(reply, request(form), "local", 0.05)
    assert [e for e in await read(reply) if not e.startswith(b":")] == events


@pytest.mark.parametrize("form", ["chat stream", "messages stream"])
async def test_signs_of_life_are_no_answer(form: str) -> None:
    reply = relayed(form, reading(await read(answer(form, []))))
    with pytest.raises(NoUsableAnswer, match="empty"):
        await verify(reply, request(form), "local", 0.05)


CUT_OFF: list[tuple[str, list[dict[str, Any]], list[bytes], type[Exception]]] = [
    ("chat stream", [], [], BackendBroken),
    ("chat stream", [THOUGHT], [], BackendBroken),
    ("chat stream", [THOUGHT], [b"finish_reason"], NoUsableAnswer),
    ("messages stream", [THOUGHT], [], BackendBroken),
]


@pytest.mark.parametrize(("form", "content", "kept", "error"), CUT_OFF)
async def test_a_stream_without_a_last_event_is_judged_by_its_content(
    form: str, content: list[dict[str, Any]], kept: list[bytes], error: type[Exception]
) -> None:
    events = await read(answer(form, content))
    last = (b"finish_reason", b"[DONE]", b"message_delta", b"message_stop")
    events = [e for e in events if not any(m in e for m in last) or any(m in e for m in kept)]
    with pytest.raises(error):
        await verify(relayed(form, each(events)), request(form), "local", 60)


@pytest.mark.parametrize(
    ("n", "choice"),
    [
        (2, {"index": 1, "delta": {"content": "Hello"}}),
        (1, {"index": 0, "delta": {"reasoning_details": [{"content": "Hello"}]}}),
        (1, {"index": 0, "delta": {"content": ""}, "logprobs": {"content": "Hello"}}),
    ],
)
async def test_words_that_stand_elsewhere_are_not_the_answers(
    n: int, choice: dict[str, Any]
) -> None:
    ends = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    chunks = [sse.event({"choices": [choice]}), sse.event(ends), sse.DONE]
    with pytest.raises(NoUsableAnswer, match="empty"):
        await verify(Relayed(each(chunks), "m"), request("chat stream", n=n), "local", 60)


async def test_a_call_with_arguments_that_are_no_text_is_still_checked() -> None:
    function = {"name": "look", "arguments": {"content": "Hello"}}
    delta = {"tool_calls": [{"index": 0, "id": "call_0001", "function": function}]}
    ends = {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}
    chunks = [sse.event({"choices": [{"delta": delta}]}), sse.event(ends), sse.DONE]
    with pytest.raises(NoUsableAnswer, match="schema"):
        await verify(Relayed(each(chunks), "m"), request("chat stream", [TOOL]), "local", 60)


@forms
@pytest.mark.parametrize(
    ("choice", "verified"),
    [
        ("auto", True),
        ("none", True),
        ("required", False),
        ({"type": "function", "function": {"name": "look"}}, False),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}, True),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}, False),
    ],
)
async def test_words_are_no_answer_if_the_caller_requires_a_call(
    form: str, choice: Any, verified: bool
) -> None:
    asked = request(form, [TOOL], tool_choice=choice)
    await verify(answer(form, [TEXT, call()], "tool_calls"), asked, "local", 60)
    if verified:
        await verify(answer(form, [TEXT]), asked, "local", 60)
    else:
        with pytest.raises(NoUsableAnswer, match="called no tool"):
            await verify(answer(form, [TEXT]), asked, "local", 60)


@forms
async def test_a_call_written_as_text_is_an_answer_if_there_are_no_tools(form: str) -> None:
    content = texts("<tool_call> is how such a call begins.")
    reply = answer(form, content)
    await verify(reply, request(form), "local", 60)
    assert await read(reply) == await read(answer(form, content))


@pytest.mark.parametrize("form", ["chat stream", "messages stream"])
async def test_a_model_that_falls_silent_while_it_thinks_has_stalled(form: str) -> None:
    closed = []

    async def thinking() -> AsyncGenerator[bytes, None]:
        try:
            for chunk in await read(answer(form, [THOUGHT])):
                if b"stop_reason" in chunk or b"finish_reason" in chunk:
                    break
                yield chunk
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    reply = relayed(form, thinking())
    async with asyncio.timeout(5):
        with pytest.raises(BackendTimeout, match="fell silent"):
            await verify(reply, request(form), "local", 0.05)
    assert closed


@pytest.mark.parametrize("form", ["chat stream", "messages stream", "chat whole"])
async def test_arguments_that_are_no_json_are_broken(form: str) -> None:
    reply = answer(form, [call('{"path": ')], "tool_calls")
    with pytest.raises(NoUsableAnswer, match="broken JSON"):
        await verify(reply, request(form, [TOOL]), "local", 60)


@pytest.mark.parametrize("form", ["chat stream", "messages stream"])
async def test_a_stream_that_is_no_such_stream_is_broken(form: str) -> None:
    reply = Relayed(each([b"data: {oops\n\n"]), "m", "chat" if "chat" in form else "messages")
    with pytest.raises(BackendBroken):
        await verify(reply, request(form), "local", 60)


@pytest.mark.parametrize("form", ["chat stream", "messages stream"])
async def test_it_is_held_no_longer_than_it_may_be(form: str) -> None:
    """Thoughts prove nothing, but the caller has waited long enough."""
    content = [THOUGHT] * 20
    reply = answer(form, content)
    seconds = count()
    await verify(reply, request(form), "local", 3, clock=lambda: next(seconds))
    assert await read(reply) == await read(answer(form, content))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": 5},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"$schema": {"not": "a name"}},
        {"$schema": "https://example.com/unknown"},
        {"type": "object", "properties": {"path": {"pattern": "("}}},
        {"type": "object", "patternProperties": {"(": {}}},
        {"type": "object", "properties": {"path": {"type": "string", "pattern": "(a+)+$"}}},
        "anything",
        [],
        None,
    ],
    ids=str,
)
async def test_a_schema_that_is_beyond_us_is_not_the_models_fault(schema: Any) -> None:
    arguments = orjson.dumps({"path": "a" * 40 + "!"}).decode()
    reply = answer("events", [call(arguments)], "tool_calls")
    await verify(reply, request("events", [with_schema(schema)]), "local", 60)


@pytest.mark.filterwarnings("ignore")  # else what is fetched would fail
async def test_nothing_that_a_schema_refers_to_is_fetched(tmp_path: Path) -> None:
    forbidding = tmp_path / "schema.json"
    forbidding.write_text('{"not": {}}')
    reply = answer("events", [call()], "tool_calls")
    schema = {"$ref": forbidding.as_uri()}
    await verify(reply, request("events", [with_schema(schema)]), "local", 60)


def with_schema(schema: Any) -> dict[str, Any]:
    """The tool, with arguments of another kind."""
    return {"type": "function", "function": {"name": "look", "parameters": schema}}


async def test_a_whole_answer_in_claudes_format_is_judged_like_its_stream() -> None:
    content = [THOUGHT, TEXT, call()]
    (document,) = native(content, "tool_calls", stream=False)
    events: list[Event] = messages_relay.decode_complete(orjson.loads(document))
    body = await messages.complete(said(events), request("whole"), "m", "msg_1", 1)
    assert [block["type"] for block in body["content"]] == ["text", "tool_use"]
    assert body["stop_reason"] == "tool_use"
    assert body["content"][1]["input"] == {"path": "a"}
