"""Claude's stream to events, from recordings of every kind of event."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from anthropic.types import RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from router.errors import (
    BackendBroken,
    BackendBusy,
    BackendError,
    BackendMisconfigured,
    BackendRejected,
    BackendTimeout,
)
from router.events import (
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallStart,
    Usage,
    each_of,
)
from router.request import ChatRequest
from router.wire import sse
from router.wire.anthropic import claude
from router.wire.failures import CONTEXT_LENGTH
from tests.support.claude_recordings import FAILING, RECORDINGS, SAID, recorded
from tests.support.claude_rules import assert_acceptable
from tests.support.published import validator
from tests.support.speech import heard


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for i in range(0, len(data), size):
        yield data[i : i + size]


async def decoded(data: bytes, size: int = 1 << 20, **names: str) -> list[Event]:
    return [event async for event in each_of(claude.decode(sse.blocks(pieces(data, size)), names))]


async def decode_into(heard_before: list[Event], data: bytes) -> None:
    async for event in each_of(claude.decode(sse.blocks(pieces(data, 64)))):
        heard_before.append(event)


def sse_of(*events: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)


def test_every_recording_has_its_row() -> None:
    assert {path.stem for path in RECORDINGS.glob("*.sse")} == SAID.keys() | FAILING.keys()


@pytest.mark.parametrize("name", sorted(SAID.keys() - {"unknown", "llama_cpp_tool_call"}))
def test_recordings_are_in_the_published_shape(name: str) -> None:
    events = [orjson.loads(data) for data in sse.data_of(recorded(name))]
    by_sdk: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    by_document = validator("anthropic", "MessageStreamEvent")
    for event in events:
        if event["type"] != "ping":
            by_sdk.validate_python(event)
            if name != "context_window":  # whose stop reason is younger than the document
                by_document.validate(event)


@pytest.mark.parametrize("name", SAID)
async def test_each_recording_decodes_to_its_events(name: str) -> None:
    assert await decoded(recorded(name)) == SAID[name]


@pytest.mark.parametrize("name", ["text", "tool_calls", "thinking"])
async def test_it_says_the_same_however_the_bytes_arrive(name: str) -> None:
    data = recorded(name)
    for size in (1, 2, 3, 5, 7, 11, 101, 1009):
        assert await decoded(data, size) == SAID[name]
    if name == "text":
        for cut in range(1, len(data)):

            async def halves(cut: int = cut) -> AsyncIterator[bytes]:
                yield data[:cut]
                yield data[cut:]

            blocks = sse.blocks(halves())
            assert [event async for event in each_of(claude.decode(blocks))] == SAID[name]


@pytest.mark.parametrize("name", SAID)
async def test_a_stream_that_is_cut_off_is_never_an_answer(name: str) -> None:
    data = recorded(name)
    ends = [i for i in range(1, len(data)) if data[:i].endswith((b"\n\n", b"\r\n\r\n"))]
    for end in [*ends[:-1], ends[-1] - 20, len(data) // 2]:
        heard_before: list[Event] = []
        with pytest.raises(BackendBroken):
            await decode_into(heard_before, data[:end])
        assert not any(isinstance(event, Finish) for event in heard_before)


@pytest.mark.parametrize("name", FAILING)
async def test_an_overload_inside_the_stream_is_one(name: str) -> None:
    heard_before: list[Event] = []
    with pytest.raises(BackendBusy, match="Overloaded") as raised:
        await decode_into(heard_before, recorded(name))
    assert heard_before == FAILING[name]
    assert raised.value.status == 503
    assert raised.value.retryable


async def test_a_renamed_tool_gets_its_name_back() -> None:
    events = await decoded(recorded("tool_calls"), now="clock.now")
    assert [event.name for event in events if isinstance(event, ToolCallStart)] == [
        "get_weather",
        "clock.now",
        "whole",
    ]


async def test_arguments_join_to_valid_json() -> None:
    for name in ("tool_calls", "thinking"):
        calls = heard(await decoded(recorded(name))).calls
        assert all(isinstance(orjson.loads(arguments), dict) for _, _, arguments in calls)


def message(*events: Any, usage: Any = None, reason: Any = "end_turn") -> bytes:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}}
    end = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}
    return sse_of(start, *events, end, {"type": "message_stop"})


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({"output_tokens": 9}, Usage(5, 9)),
        ({"output_tokens": 9, "input_tokens": None}, Usage(5, 9)),
        ({"output_tokens": 9, "input_tokens": 6}, Usage(6, 9)),
        ({"output_tokens": 9, "cache_read_input_tokens": 3}, Usage(8, 9, 3)),
        ({"output_tokens": 9, "cache_creation_input_tokens": 2}, Usage(7, 9, 0, 2)),
        (
            {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}},
            Usage(5, 9, 0, 0, 4),
        ),
        ({"output_tokens": 9, "output_tokens_details": None}, Usage(5, 9)),
        (None, Usage(5, 1)),
        ({}, Usage(5, 1)),
    ],
)
async def test_usage_is_the_last_count_and_never_a_sum(told: Any, wanted: Usage) -> None:
    assert await decoded(message(usage=told)) == [Finish("stop", wanted)]


async def test_no_usage_is_none() -> None:
    data = sse_of(
        {"type": "message_start", "message": {}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    )
    assert await decoded(data) == [Finish("stop", None)]


@pytest.mark.parametrize(
    ("reason", "wanted"), [("tool_use", "tool_calls"), (None, "tool_calls"), ("end_turn", "stop")]
)
async def test_the_finish_reason_is_claudes_own_if_it_gives_one(reason: Any, wanted: str) -> None:
    call = {"type": "tool_use", "id": "t", "name": "x", "input": {}}
    start = {"type": "content_block_start", "index": 0, "content_block": call}
    *_, finish = await decoded(message(start, {"type": "content_block_stop"}, reason=reason))
    assert isinstance(finish, Finish)
    assert finish.reason == wanted


async def test_text_that_stands_in_the_start_event_is_not_lost() -> None:
    def block(i: int, **block: Any) -> list[Any]:
        start = {"type": "content_block_start", "index": i, "content_block": block}
        return [start, {"type": "content_block_stop", "index": i}]

    events = block(0, type="thinking", thinking="Hm.", signature="s") + block(
        1, type="text", text="Hello."
    )
    assert await decoded(message(*events)) == [
        ReasoningDelta("Hm."),
        TextDelta("Hello."),
        Finish("stop", Usage(5, 1)),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"data: <html>\n\n",
        b"data: [1]\n\n",
        b"data: null\n\n",
        b'data: {"kind": "message_start"}\n\n',
        b'data: {"type": "message_start"}\n\n',
        b'data: {"type": "content_block_delta", "delta": {"type": "text_delta"}}\n\n',
        b'data: {"type": "error", "error": "no"}\n\n',
        b"data: \xff\xfe\n\n",
        b"<html>Bad Gateway</html>",
        b"",
    ],
)
async def test_rubbish_is_a_broken_backend(data: bytes) -> None:
    with pytest.raises(BackendBroken):
        await decoded(data)


FAILURES: list[tuple[int | None, dict[str, Any], type[BackendError], int, str | None]] = [
    (400, {"type": "invalid_request_error", "message": "no"}, BackendRejected, 400, None),
    (
        400,
        {
            "type": "invalid_request_error",
            "message": "prompt is too long: 213462 tokens > 200000 maximum",
        },
        BackendRejected,
        400,
        CONTEXT_LENGTH,
    ),
    (
        400,
        {
            "type": "invalid_request_error",
            "message": "input length and `max_tokens` exceed context limit: 190000 + 20000",
        },
        BackendRejected,
        400,
        CONTEXT_LENGTH,
    ),
    (
        400,
        {"type": "invalid_request_error", "message": "Your credit balance is too low"},
        BackendMisconfigured,
        502,
        "upstream_billing",
    ),
    (401, {"type": "authentication_error"}, BackendMisconfigured, 502, "upstream_auth"),
    (402, {"type": "billing_error"}, BackendMisconfigured, 502, "upstream_billing"),
    (
        429,
        {
            "type": "rate_limit_error",
            "message": "x",
            "details": {"error_code": "enforced_spend_limit_reached"},
        },
        BackendMisconfigured,
        502,
        "upstream_billing",
    ),
    *(
        (
            400,
            {"type": "invalid_request_error", "details": {"error_code": code}},
            BackendMisconfigured,
            502,
            "upstream_auth",
        )
        for code in ("organization_on_hold", "workspace_human_review_disabled")
    ),
    (403, {"type": "permission_error"}, BackendMisconfigured, 502, "upstream_auth"),
    (404, {"type": "not_found_error"}, BackendMisconfigured, 502, "upstream_model"),
    (408, {"type": "timeout_error"}, BackendTimeout, 504, "upstream_timeout"),
    (409, {"type": "conflict_error"}, BackendError, 502, "upstream_error"),
    (413, {"type": "request_too_large"}, BackendRejected, 413, "request_too_large"),
    (422, {"type": "invalid_request_error"}, BackendRejected, 400, None),
    (429, {"type": "rate_limit_error"}, BackendBusy, 429, "upstream_busy"),
    (500, {"type": "api_error"}, BackendError, 502, "upstream_error"),
    (503, {"type": "api_error"}, BackendBusy, 503, "upstream_busy"),
    (504, {"type": "timeout_error"}, BackendTimeout, 504, "upstream_timeout"),
    (529, {"type": "overloaded_error"}, BackendBusy, 503, "upstream_busy"),
    (None, {"type": "overloaded_error"}, BackendBusy, 503, "upstream_busy"),
    (200, {"type": "rate_limit_error"}, BackendBusy, 429, "upstream_busy"),
    (None, {"type": "api_error"}, BackendError, 502, "upstream_error"),
    (None, {"type": "invalid_request_error"}, BackendRejected, 400, None),
    (None, {"type": "authentication_error"}, BackendMisconfigured, 502, "upstream_auth"),
    (None, {"type": "timeout_error"}, BackendTimeout, 504, "upstream_timeout"),
    (None, {"type": "brand_new_error"}, BackendError, 502, "upstream_error"),
    (
        400,
        {
            "type": "invalid_request_error",
            "details": {"error_code": "image_dimensions_too_large"},
        },
        BackendRejected,
        400,
        "image_dimensions_too_large",
    ),
]


@pytest.mark.parametrize(("status", "error", "wanted", "ours", "code"), FAILURES)
def test_an_error_keeps_its_class(
    status: int | None,
    error: dict[str, Any],
    wanted: type[BackendError],
    ours: int,
    code: str | None,
) -> None:
    failure = claude.failure({"message": "What Claude said."} | error, status, retry_after_s=7)
    assert type(failure) is wanted
    assert (failure.status, failure.code, failure.backend) == (ours, code, "claude")
    assert error.get("message", "What Claude said.") in failure.message
    if wanted is BackendMisconfigured:
        assert "ANTHROPIC_" in failure.message
    if wanted is BackendBusy:
        assert failure.retry_after_s == 7


# Any answer

pieces_of_text = st.lists(st.text(max_size=6) | st.sampled_from(["\n\n", " ", "data:"]), max_size=3)
inputs = st.dictionaries(
    st.text("ab", max_size=2), st.text(max_size=4) | st.integers(0, 9), max_size=2
)
tool_uses = st.builds(
    lambda name, given: {"type": "tool_use", "id": "", "name": name, "input": given},
    st.sampled_from(["add", "look_up"]),
    inputs,
)
written = st.one_of(
    st.builds(lambda pieces: {"type": "text", "text": pieces}, pieces_of_text),
    st.builds(
        lambda pieces, name: {"type": "thinking", "thinking": pieces, "signature": name},
        pieces_of_text,
        st.text("xyz", min_size=1, max_size=4),
    ),
    st.builds(lambda data: {"type": "redacted_thinking", "data": data}, st.text("xyz", min_size=1)),
    tool_uses,
)


def streamed(blocks: list[dict[str, Any]], reason: str, width: int) -> bytes:
    """Return Claude's stream of these blocks; `width`: characters of arguments in each piece."""
    events: list[dict[str, Any]] = []
    for i, block in enumerate(blocks):
        deltas: list[dict[str, Any]] = []
        match block:
            case {"type": "text", "text": texts}:
                start = {"type": "text", "text": ""}
                deltas = [{"type": "text_delta", "text": text} for text in texts]
            case {"type": "thinking", "thinking": texts, "signature": signature}:
                start = {"type": "thinking", "thinking": "", "signature": ""}
                deltas = [{"type": "thinking_delta", "thinking": text} for text in texts]
                deltas += [{"type": "signature_delta", "signature": piece} for piece in signature]
            case {"type": "tool_use", "input": given}:
                start = block | {"input": {}}
                arguments = orjson.dumps(given).decode() if given else ""
                for at in range(0, len(arguments), width):
                    fragment = arguments[at : at + width]
                    deltas.append({"type": "input_json_delta", "partial_json": fragment})
            case _:
                start = block
        events.append({"type": "content_block_start", "index": i, "content_block": start})
        events += [{"type": "content_block_delta", "index": i, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": i})
    return message(*events, reason=reason)


@given(st.lists(written, max_size=6), st.lists(tool_uses, max_size=2), st.integers(1, 9), st.data())
async def test_an_answer_of_claude_is_decoded_and_goes_back_unchanged(
    said: list[dict[str, Any]], last: list[dict[str, Any]], width: int, data: st.DataObject
) -> None:
    blocks = [
        block | ({"id": f"toolu_{i}"} if "id" in block else {})
        for i, block in enumerate(said + last)
    ]
    calls = [block for block in blocks if block["type"] == "tool_use"]
    stream = streamed(blocks, "tool_use" if calls else "end_turn", width)
    events = await decoded(stream, size=data.draw(st.integers(1, len(stream))))

    answer = heard(events)
    whole = [
        block | {k: "".join(block[k]) for k in ("text", "thinking") if k in block}
        for block in blocks
    ]
    texts = [block["text"] for block in whole if block["type"] == "text"]
    assert answer.text.replace("\n\n", "") == "".join(texts).replace("\n\n", "")
    assert answer.reasoning == "".join(b["thinking"] for b in whole if b["type"] == "thinking")
    assert [(id, name, orjson.loads(arguments)) for id, name, arguments in answer.calls] == [
        (call["id"], call["name"], call["input"]) for call in calls
    ]
    assert answer.reason == ("tool_calls" if calls else "stop")

    # The next turn, in the caller's words and with what the vault has kept.
    kept = {event.id: event.extra for event in events if isinstance(event, ToolCallStart)}
    after_calls = whole[::-1].index(calls[-1]) if calls else 0
    if not calls or any(block["type"] == "text" for block in whole[len(whole) - after_calls :]):
        return  # nothing to answer, or words after the last call, which keep no place of their own
    body = {
        "messages": [
            {"role": "user", "content": "q"},
            {
                "role": "assistant",
                "content": answer.text or None,
                "tool_calls": [
                    {
                        "id": id,
                        "type": "function",
                        "function": {"name": name, "arguments": arguments},
                    }
                    for id, name, arguments in answer.calls
                ],
            },
            *({"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in calls),
        ]
    }
    params = claude.encode(ChatRequest(body), "m", max_tokens=9, recall=kept.get).params
    assert_acceptable(params)
    assert params["messages"][1]["content"] == [
        block
        for block in whole[: len(whole) - after_calls]
        if block["type"] != "text" or block["text"].strip()
    ]


STOPPED = recorded("text").partition(b"event: message_stop")[0]


async def breaking(data: bytes) -> AsyncIterator[bytes]:
    yield data
    raise ConnectionResetError


@pytest.mark.parametrize("how", ["ends", "breaks", "is cut"])
async def test_after_the_stop_reason_the_rest_of_the_stream_may_be_missing(how: str) -> None:
    chunks = {
        "ends": pieces(STOPPED, 64),
        "breaks": breaking(STOPPED),
        "is cut": pieces(STOPPED + b"event: mess", 64),
    }[how]
    assert [event async for event in each_of(claude.decode(sse.blocks(chunks)))] == SAID["text"]


async def test_before_the_stop_reason_a_stream_that_ends_is_broken() -> None:
    begun = STOPPED.partition(b"event: message_delta")[0]
    with pytest.raises(BackendBroken):
        await decoded(begun)


def test_a_relayed_stream_without_message_stop_gets_one() -> None:
    tally = claude.ClaudeTally()
    tally.passed(STOPPED)
    assert tally.ending is not None
    assert [*sse.data_of(tally.ending)] == [b'{"type":"message_stop"}']
    assert tally.usage == Usage(25, 15)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_what_was_said_before_an_error_goes_on(newline: bytes) -> None:
    said = STOPPED.partition(b"event: content_block_stop")[0]
    error = b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"x"}}\n\n'
    tally = claude.ClaudeTally()
    assert tally.passed((said + error).replace(b"\n", newline)) == said
    assert tally.failure is not None


def iteration(kind: str, input: int, output: int, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "input_tokens": input, "output_tokens": output, **fields}


COMPACTION = iteration("compaction", 900, 100)
DECLINED = iteration("message", 50, 1)
FALLBACK = iteration("fallback_message", 60, 9, model="claude-opus-4-8")


@pytest.mark.parametrize(
    ("iterations", "usage"),
    [
        (None, Usage(10, 5)),
        ([], Usage(10, 5)),
        ("odd", Usage(10, 5)),
        ([iteration("message", 10, 5)], Usage(10, 5)),
        ([COMPACTION, iteration("message", 10, 5)], Usage(910, 105)),
        ([COMPACTION, 7, None], Usage(900, 100)),
        (
            [DECLINED, FALLBACK],
            Usage(110, 10, by_model=(("claude-opus-4-8", Usage(60, 9)),)),
        ),
    ],
)
def test_everything_that_is_billed_is_counted(iterations: Any, usage: Usage) -> None:
    counts = {"input_tokens": 10, "output_tokens": 5, "iterations": iterations}
    assert claude.usage_of(counts) == usage
