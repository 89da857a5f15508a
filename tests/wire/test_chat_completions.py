"""Chat Completions: requests, answers as streams and documents, and local servers' streams."""

import contextlib
from typing import Any

import openai
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from router.errors import (
    BackendBroken,
    BackendBusy,
    BackendError,
    BackendRejected,
    BackendUnfit,
    InvalidRequest,
    NoBackend,
)
from router.events import (
    Event,
    Finish,
    Logprobs,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
    Usage,
    each_of,
)
from router.request import ChatRequest
from router.wire import sse
from router.wire.chat import completions as wire
from tests.support.clients import joined, json_answer, openai_client, said, sse_answer
from tests.support.published import check_answer, check_event, validator
from tests.support.speech import answers, heard

USAGE = Usage(20, 9, cached_tokens=5, cache_write_tokens=2, reasoning_tokens=4)
ANSWERS: dict[str, list[Event]] = {
    "text": [TextDelta("Hel"), TextDelta('lo "you"\n'), Finish("stop", USAGE)],
    "reasoning": [ReasoningDelta("hm"), ReasoningDelta("."), TextDelta("4"), Finish("stop", USAGE)],
    "calls": [
        TextDelta("I look."),
        ToolCallStart(0, "call_a", "weather"),
        ToolCallStart(1, "call_b", "time"),
        ToolCallDelta(0, '{"city":'),
        ToolCallDelta(1, "{}"),
        ToolCallDelta(0, '"Ulm"}'),
        Finish("tool_calls", USAGE),
    ],
    "refusal": [RefusalDelta("I can't "), RefusalDelta("do that."), Finish("content_filter")],
    "cut": [TextDelta("Once upon"), Finish("length")],
    "nothing": [Finish("stop")],
    "log probabilities": [
        TextDelta("Yes"),
        Logprobs((TokenLogprob("Yes", -0.25, (TokenLogprob("No", -1.75),)),)),
        TextDelta("é."),
        Logprobs((TokenLogprob("é", -0.5), TokenLogprob(".", 0.0))),
        Finish("stop", USAGE),
    ],
    "half a character": [TextDelta("\ud83d"), Finish("stop")],
}


def asked(**fields: Any) -> ChatRequest:
    return ChatRequest({"messages": [{"role": "user", "content": "Hi"}], **fields})


async def encoded(events: list[Event], **fields: Any) -> bytes:
    stream = wire.stream(said(events), asked(stream=True, **fields), "m-1", "chatcmpl-1", 17)
    return await joined(stream)


async def chunks_of(events: list[Event], **fields: Any) -> list[dict[str, Any]]:
    data = list(sse.data_of(await encoded(events, **fields)))
    assert data.pop() == b"[DONE]"
    return [orjson.loads(chunk) for chunk in data]


async def decoded(*data: Any) -> list[Event]:
    blocks = [
        b"data: %b\n\n" % (chunk if isinstance(chunk, bytes) else orjson.dumps(chunk))
        for chunk in data
    ]

    async def relayed() -> Any:
        for block in blocks:
            yield block

    return [event async for event in each_of(wire.decode(relayed()))]


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def call(**fields: Any) -> dict[str, Any]:
    """A delta with one piece of a tool call; `name` and `arguments` go into its function."""
    function = {key: fields.pop(key) for key in ("name", "arguments") if key in fields}
    return delta(tool_calls=[{**fields, "function": function}])


# --- requests -------------------------------------------------------------------------------------


def test_keeps_every_field_of_the_body_as_it_came() -> None:
    raw = b'{"messages":[{"role":"user","content":"x","odd":1}],"odd":{"y":null}}'
    assert wire.parse(raw).body == orjson.loads(raw)


def test_a_responses_body_at_the_chat_route_is_read() -> None:
    request = wire.parse(b'{"model":"auto","input":"Hi","max_output_tokens":9}')
    assert request.dialect == "chat"
    assert request.body == {
        "model": "auto",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_completion_tokens": 9,
    }


@pytest.mark.parametrize("body", [b"{}", b'{"messages":[]}', b'{"input":7}', b"[]", b"nonsense"])
def test_a_body_that_is_no_chat_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        wire.parse(body)


@pytest.mark.parametrize("field", ["metadata", "tools"])
def test_a_body_that_is_nested_too_deeply_is_refused(field: str) -> None:
    def body(depth: int) -> bytes:
        deep = b'{"a":' * depth + b"1" + b"}" * depth
        tool = b'[{"type":"function","function":{"name":"f","parameters":%b}}]' % deep
        value = tool if field == "tools" else deep
        return b'{"messages":[{"role":"user","content":"x"}],"%b":%b}' % (field.encode(), value)

    request = wire.parse(body(230))
    assert orjson.dumps(request.body)
    for depth in (300, 900, 5000):
        with pytest.raises(InvalidRequest):
            wire.parse(body(depth))


# --- encoding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("usage_asked", [False, True])
@pytest.mark.parametrize("name", ANSWERS)
async def test_every_chunk_is_valid_by_the_published_schema(name: str, usage_asked: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if usage_asked else {}
    for chunk in await chunks_of(ANSWERS[name], **options):
        check_event("chat", chunk)


@pytest.mark.parametrize("name", ANSWERS)
async def test_every_whole_answer_is_valid_by_the_published_schema(name: str) -> None:
    body = await wire.complete(said(ANSWERS[name]), asked(), "m-1", "chatcmpl-1", 17)
    body = orjson.loads(sse.json_of(body))
    check_answer("chat", body)


async def test_a_stream_has_one_id_the_role_first_and_one_finish_last() -> None:
    chunks = await chunks_of(ANSWERS["calls"])
    assert {(c["id"], c["created"], c["model"]) for c in chunks} == {("chatcmpl-1", 17, "m-1")}
    choices = [chunk["choices"][0] for chunk in chunks]
    assert ["role" in choice["delta"] for choice in choices] == [True] + [False] * 7
    assert [choice["finish_reason"] for choice in choices] == [None] * 7 + ["tool_calls"]
    assert all(choice["logprobs"] is None for choice in choices)
    assert not any("usage" in chunk for chunk in chunks)


async def test_usage_comes_in_a_chunk_of_its_own_when_asked_for() -> None:
    *rest, last = await chunks_of(ANSWERS["text"], stream_options={"include_usage": True})
    assert all(chunk["usage"] is None for chunk in rest)
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 20,
        "completion_tokens": 9,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }


async def test_unknown_usage_is_left_out() -> None:
    events: list[Event] = [Finish("stop")]
    chunks = await chunks_of(events, stream_options={"include_usage": True})
    assert all(chunk["usage"] is None for chunk in chunks)
    assert "usage" not in await wire.complete(said(events), asked(), "m", "c", 1)


async def test_the_openai_client_reads_how_likely_each_token_was() -> None:
    tokens = [
        {
            "token": "Yes",
            "logprob": -0.25,
            "bytes": [89, 101, 115],
            "top_logprobs": [{"token": "No", "logprob": -1.75, "bytes": [78, 111]}],
        },
        {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": []},
        {"token": ".", "logprob": 0.0, "bytes": [46], "top_logprobs": []},
    ]
    events = ANSWERS["log probabilities"]
    client = openai_client(sse_answer(await encoded(events)))
    async with client.chat.completions.stream(model="m", messages=[]) as stream:
        streamed = await stream.get_final_completion()
    body = await wire.complete(said(events), asked(), "m", "chatcmpl-1", 17)
    whole = await openai_client(json_answer(body)).chat.completions.create(model="m", messages=[])
    for answer in (streamed, whole):
        assert answer.choices[0].message.content == "Yesé."
        told = answer.choices[0].logprobs
        assert told is not None
        assert [token.model_dump() for token in told.content or []] == tokens


async def test_a_tool_call_is_named_once_and_then_only_its_arguments_flow() -> None:
    chunks = await chunks_of(ANSWERS["calls"])
    pieces = [p for c in chunks for p in c["choices"][0]["delta"].get("tool_calls", [])]
    assert pieces == [
        {
            "index": 0,
            "id": "call_a",
            "type": "function",
            "function": {"name": "weather", "arguments": ""},
        },
        {
            "index": 1,
            "id": "call_b",
            "type": "function",
            "function": {"name": "time", "arguments": ""},
        },
        {"index": 0, "function": {"arguments": '{"city":'}},
        {"index": 1, "function": {"arguments": "{}"}},
        {"index": 0, "function": {"arguments": '"Ulm"}'}},
    ]


@pytest.mark.parametrize(
    ("name", "message", "finish"),
    [
        ("text", {"content": 'Hello "you"\n', "refusal": None}, "stop"),
        ("reasoning", {"content": "4", "refusal": None, "reasoning_content": "hm."}, "stop"),
        ("refusal", {"content": None, "refusal": "I can't do that."}, "content_filter"),
        ("nothing", {"content": "", "refusal": None}, "stop"),
    ],
)
async def test_a_whole_answer_says_the_same(
    name: str, message: dict[str, Any], finish: str
) -> None:
    body = await wire.complete(said(ANSWERS[name]), asked(), "m-1", "chatcmpl-1", 17)
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", **message},
            "logprobs": None,
            "finish_reason": finish,
        }
    ]


async def test_an_answer_of_tool_calls_alone_has_null_content() -> None:
    events: list[Event] = [ToolCallStart(0, "c", "f"), ToolCallDelta(0, "{}"), Finish("tool_calls")]
    body = await wire.complete(said(events), asked(), "m", "chatcmpl-1", 17)
    message = body["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]


@given(answers())
async def test_the_openai_client_rebuilds_the_answer_from_a_stream(events: list[Event]) -> None:
    for chunk in await chunks_of(events):
        check_event("chat", chunk)
    client = openai_client(sse_answer(await encoded(events)))
    text, reasoning, refusal, finish = "", "", "", []
    tokens: list[str] = []
    calls: dict[int, tuple[str, str, str]] = {}
    async for told in await client.chat.completions.create(model="m", messages=[], stream=True):
        (choice,) = told.choices
        text += choice.delta.content or ""
        refusal += choice.delta.refusal or ""
        reasoning += getattr(choice.delta, "reasoning_content", "")
        for piece in choice.delta.tool_calls or []:
            assert piece.function is not None
            arguments = piece.function.arguments or ""
            if piece.index in calls:
                id, name, before = calls[piece.index]
                assert piece.id is None
                calls[piece.index] = (id, name, before + arguments)
            else:
                calls[piece.index] = (piece.id or "", piece.function.name or "", arguments)
        finish += [choice.finish_reason] if choice.finish_reason else []
        if choice.logprobs is not None:
            tokens += [token.token for token in choice.logprobs.content or []]
    expected = heard(events)
    assert (text, reasoning, refusal) == (expected.text, expected.reasoning, expected.refusal)
    assert list(calls.values()) == expected.calls
    assert finish == [expected.reason]
    assert tokens == expected.tokens


@given(answers())
async def test_the_openai_client_reads_a_whole_answer(
    events: list[Event],
) -> None:
    body = await wire.complete(said(events), asked(), "m", "chatcmpl-1", 17)
    body = orjson.loads(sse.json_of(body))
    check_answer("chat", body)
    answer = await openai_client(json_answer(body)).chat.completions.create(model="m", messages=[])
    (choice,) = answer.choices
    expected = heard(events)
    assert (choice.message.content or "") == expected.text
    assert (choice.message.refusal or "") == expected.refusal
    assert getattr(choice.message, "reasoning_content", "") == expected.reasoning
    calls = [
        (call.id, call.function.name, call.function.arguments)
        for call in choice.message.tool_calls or []
        if call.type == "function"
    ]
    assert calls == expected.calls
    assert choice.finish_reason == expected.reason
    told = choice.logprobs.content if choice.logprobs else []
    assert [token.token for token in told or []] == expected.tokens


async def test_the_openai_client_parses_structured_output() -> None:
    class City(BaseModel):
        name: str

    events: list[Event] = [TextDelta('{"name":'), TextDelta('"Ulm"}'), Finish("stop")]
    client = openai_client(sse_answer(await encoded(events)))
    async with client.chat.completions.stream(
        model="m", messages=[], response_format=City
    ) as stream:
        answer = await stream.get_final_completion()
    assert answer.choices[0].message.parsed == City(name="Ulm")


async def test_a_failure_in_mid_stream_reaches_the_openai_client_as_an_error() -> None:
    begun = (await encoded([TextDelta("Once"), Finish("stop")])).split(b"\n\n")[0] + b"\n\n"
    failed = wire.error_event(NoBackend("LM Studio went away."))
    stream = await openai_client(sse_answer(begun + failed)).chat.completions.create(
        model="m", messages=[], stream=True
    )
    with pytest.raises(openai.APIError, match="LM Studio went away") as caught:
        async for _ in stream:
            pass
    assert caught.value.code == "no_backend"


async def test_the_openai_client_sees_no_keep_alives() -> None:
    data = wire.KEEPALIVE + await encoded(ANSWERS["text"])
    stream = await openai_client(sse_answer(data)).chat.completions.create(
        model="m", messages=[], stream=True
    )
    assert len([chunk async for chunk in stream]) == 4


def test_errors_have_the_published_shape() -> None:
    body = wire.error_body(InvalidRequest("`model` must be a string.", param="model"))
    validator("openai", "ErrorResponse").validate(body)
    assert body == {
        "error": {
            "message": "`model` must be a string.",
            "type": "invalid_request_error",
            "param": "model",
            "code": None,
        }
    }


# --- decoding -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "events"),
    [
        pytest.param(
            [delta(role="assistant", content=""), delta(content="a"), delta("stop")],
            [TextDelta("a"), Finish("stop")],
            id="text",
        ),
        pytest.param(
            [delta(content=[{"type": "text", "text": "a"}]), delta("stop")],
            [TextDelta("a"), Finish("stop")],
            id="content in parts",
        ),
        pytest.param(
            [delta(reasoning_content="a"), delta(reasoning="b"), delta("stop")],
            [ReasoningDelta("a"), ReasoningDelta("b"), Finish("stop")],
            id="reasoning under both of its names",
        ),
        pytest.param(
            [delta(reasoning_content="a", reasoning="a"), delta("stop")],
            [ReasoningDelta("a"), Finish("stop")],
            id="the same reasoning twice in one chunk",
        ),
        pytest.param(
            [delta(refusal="no"), delta("content_filter")],
            [RefusalDelta("no"), Finish("content_filter")],
            id="refusal",
        ),
        pytest.param(
            [delta("length", content="a")],
            [TextDelta("a"), Finish("length")],
            id="finish beside the last words",
        ),
        pytest.param([delta("eos")], [Finish("stop")], id="a finish reason of their own"),
        pytest.param([delta("tool_calls")], [Finish("stop")], id="tool_calls without any"),
        pytest.param(
            [{**delta("stop"), "usage": {"prompt_tokens": 3, "completion_tokens": 2}}],
            [Finish("stop", Usage(3, 2))],
            id="usage in the last choice's chunk",
        ),
        pytest.param(
            [
                delta("stop"),
                {
                    "choices": [],
                    "usage": {
                        "prompt_tokens": 3,
                        "completion_tokens": 2,
                        "prompt_tokens_details": {"cached_tokens": 1},
                        "completion_tokens_details": None,
                    },
                },
            ],
            [Finish("stop", Usage(3, 2, cached_tokens=1))],
            id="usage in a chunk of its own",
        ),
        pytest.param(
            [
                delta(content="a"),
                {"choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"}]},
                delta("stop"),
            ],
            [TextDelta("a"), Finish("stop")],
            id="only the first of several choices",
        ),
    ],
)
async def test_reads_the_streams_of_local_servers(
    data: list[dict[str, Any]], events: list[Event]
) -> None:
    assert await decoded(*data, b"[DONE]") == events


@pytest.mark.parametrize(
    ("data", "calls"),
    [
        pytest.param(
            [
                call(index=0, id="a", name="f", arguments=""),
                call(index=0, arguments='{"x":'),
                call(index=1, id="b", name="g", arguments="{}"),
                call(index=0, arguments="1}"),
            ],
            [("a", "f", '{"x":1}'), ("b", "g", "{}")],
            id="as the format has it, interleaved",
        ),
        pytest.param(
            [call(name="f", arguments='{"x":1}'), call(name="f", arguments='{"x":2}')],
            [(None, "f", '{"x":1}'), (None, "f", '{"x":2}')],
            id="whole calls without index and id",
        ),
        pytest.param(
            [
                call(index=0, id="a", name="f", arguments="{}"),
                call(index=0, id="b", name="f", arguments="{}"),
            ],
            [("a", "f", "{}"), ("b", "f", "{}")],
            id="every call has index 0",
        ),
        pytest.param(
            [
                call(index=0, id="a", name="f", arguments='{"x"'),
                call(index=0, id="a", name="f", arguments=":1}"),
            ],
            [("a", "f", '{"x":1}')],
            id="id and name repeated with each piece",
        ),
        pytest.param(
            [
                call(index=0, name="f", arguments='{"x"'),
                call(index=0, name="f", arguments=":1}"),
            ],
            [(None, "f", '{"x":1}')],
            id="name repeated, no id",
        ),
        pytest.param(
            [call(index=0, id="a", name="f", arguments='{"x":'), call(arguments="1}")],
            [("a", "f", '{"x":1}')],
            id="index only once",
        ),
        pytest.param(
            [
                call(index=0, id="a"),
                call(index=0, arguments='{"x":'),
                call(index=0, name="f", arguments="1}"),
            ],
            [("a", "f", '{"x":1}')],
            id="the name comes late",
        ),
        pytest.param(
            [call(index=0, id="a", name="f", arguments={"x": 1})],
            [("a", "f", '{"x":1}')],
            id="arguments as an object",
        ),
        pytest.param(
            [delta(function_call={"name": "f", "arguments": "{}"})],
            [(None, "f", "{}")],
            id="the function_call of old",
        ),
        pytest.param([call(index=0, id="a", name="f")], [("a", "f", "{}")], id="no arguments"),
        pytest.param(
            [call(index=3, id="a", name="f"), call(index=7, id="b", name="g")],
            [("a", "f", "{}"), ("b", "g", "{}")],
            id="an index that does not count from 0",
        ),
    ],
)
async def test_tells_tool_calls_apart(
    data: list[dict[str, Any]], calls: list[tuple[str | None, str, str]]
) -> None:
    events = await decoded(*data, delta("stop"), b"[DONE]")
    answer = heard(events)
    assert answer.reason == "tool_calls"
    assert [(name, arguments) for _, name, arguments in answer.calls] == [c[1:] for c in calls]
    ids = [id for id, _, _ in answer.calls]
    assert all(ids)
    assert len({*ids}) == len(ids)
    for id, (wanted, _, _) in zip(ids, calls, strict=True):
        assert wanted in (None, id)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("The model has crashed", BackendBroken),
        ({"message": "slow down", "type": "rate_limit_error", "code": None}, BackendBusy),
        ({"message": "Loading model", "type": "unavailable_error", "code": 503}, BackendBusy),
        ({"message": "too long", "code": "context_length_exceeded"}, BackendUnfit),
        ({"message": "too long", "type": "exceed_context_size_error", "code": 400}, BackendUnfit),
        ({"message": "bad schema", "type": "invalid_request_error"}, BackendRejected),
        ({"message": None, "code": ["odd"]}, BackendBroken),
        (["odd"], BackendBroken),
    ],
)
async def test_an_error_inside_the_answer_is_raised(error: Any, kind: type[BackendError]) -> None:
    with pytest.raises(kind) as caught:
        await decoded(delta(content="a"), {"error": error})
    assert caught.value.backend == "local"
    with pytest.raises(kind):
        wire.decode_complete({"error": error})


@pytest.mark.parametrize(
    "data",
    [
        pytest.param([delta(content="a")], id="ends without a finish"),
        pytest.param([delta(content="a"), b"[DONE]"], id="done without a finish"),
        pytest.param([], id="empty"),
        pytest.param([delta(content="a"), delta("error")], id="finish reason error"),
        pytest.param([delta(content="a"), b'{"choices": [{"del'], id="cut in the middle of JSON"),
        pytest.param([b"[1]"], id="not an object"),
        pytest.param([{"choices": [7]}], id="choices of another kind"),
        pytest.param([{"choices": 7}], id="choices is a number"),
        pytest.param([delta(tool_calls=[7])], id="tool calls of another kind"),
        pytest.param([call(index=0, id="a", arguments="{}"), delta("stop")], id="nameless call"),
    ],
)
async def test_a_broken_stream_never_passes_for_a_whole_one(data: list[Any]) -> None:
    with pytest.raises(BackendBroken):
        await decoded(*data)


KEYS = ["content", "reasoning", "refusal", "tool_calls", "function", "name", "arguments", "id"]
USAGE_KEYS = ["usage", "prompt_tokens", "prompt_tokens_details", "cached_tokens", "error", "code"]
leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5)
nested = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYS, *USAGE_KEYS, "index"]), inner, max_size=5)
    ),
    max_leaves=15,
)
deltas = st.dictionaries(st.sampled_from(KEYS), nested)
chunks = nested | st.builds(
    lambda said, finish, more: {
        "choices": [{"delta": said, "message": said, "finish_reason": finish}],
        **more,
    },
    deltas,
    nested,
    st.dictionaries(st.sampled_from(USAGE_KEYS), nested, max_size=1),
)


@given(st.lists(chunks, max_size=4))
async def test_whatever_a_server_sends_is_an_answer_or_a_backend_error(data: list[Any]) -> None:
    with contextlib.suppress(BackendError):
        await decoded(*data, delta("stop"))
    for body in data:
        if isinstance(body, dict):
            with contextlib.suppress(BackendError):
                wire.decode_complete(body)


@given(answers())
@settings(max_examples=50)
async def test_decoding_undoes_encoding(events: list[Event]) -> None:
    async def relayed() -> Any:
        yield await encoded(events, stream_options={"include_usage": True})

    body = await wire.complete(said(events), asked(), "m", "chatcmpl-1", 17)
    streamed = heard([event async for event in each_of(wire.decode(relayed()))])
    whole = heard(wire.decode_complete(orjson.loads(orjson.dumps(body))))
    assert (streamed.text, streamed.reasoning) == (whole.text, whole.reasoning)
    assert streamed.calls == whole.calls
    assert streamed.usage == whole.usage == heard(events).usage
