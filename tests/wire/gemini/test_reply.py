"""Gemini's answers as events and errors; the SDK reads the same recordings."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from router.errors import (
    BackendBroken,
    BackendBusy,
    BackendError,
    BackendMisconfigured,
    BackendRejected,
    BackendTimeout,
    NoUsableAnswer,
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
from router.wire import sse
from router.wire.gemini import generate_content
from router.wire.gemini.generate_content import SIGNATURE, failure
from router.wire.gemini.reply import FINISHES
from tests.support.gemini_words import NEW, RECORDINGS, json_values, sdk, text
from tests.support.google_published import validator

ANSWERS: dict[str, list[Event]] = {
    "text": [
        TextDelta("Grüße, "),
        TextDelta("\u2028Welt 🌍"),
        Finish("stop", Usage(12, 7, cached_tokens=8)),
    ],
    "thoughts": [
        ReasoningDelta("**Weighing**\n\nLet me see."),
        TextDelta("42"),
        TextDelta("."),
        Finish("stop", Usage(25, 43, reasoning_tokens=41)),
    ],
    "tool_calls": [
        TextDelta("I look."),
        ToolCallStart(0, "fc_1", "get_weather", {SIGNATURE: "QUJD+/8="}),
        ToolCallDelta(0, '{"city":"Köln","days":2}'),
        ToolCallStart(1, "minted", "get_weather"),
        ToolCallDelta(1, '{"city":"Bonn","days":null}'),
        ToolCallStart(2, "minted", "now"),
        ToolCallDelta(2, "{}"),
        Finish("tool_calls", Usage(50, 49, reasoning_tokens=9)),
    ],
    "max_tokens": [TextDelta("Once upon"), Finish("length", Usage(5, 2))],
    "safety": [
        TextDelta("First "),
        RefusalDelta("Content was filtered."),
        Finish("content_filter", Usage(5, 1)),
    ],
    "blocked_prompt": [
        RefusalDelta("Gemini blocked the prompt: PROHIBITED_CONTENT."),
        Finish("content_filter", Usage(9, 0)),
    ],
    "image": [
        TextDelta("Here: "),
        TextDelta("![image](data:image/png;base64,aVZCT1I=)"),
        Finish("stop", Usage(4, 1290)),
    ],
    "lf_and_comments": [TextDelta("a"), Finish("stop", Usage(1, 1))],
    "logprobs": [
        TextDelta("Yes"),
        Logprobs(
            (TokenLogprob("Yes", -0.25, (TokenLogprob("Yes", -0.25), TokenLogprob("No", -1.75))),)
        ),
        TextDelta(" 🌍."),
        Logprobs(
            (TokenLogprob(" 🌍", -0.5, (TokenLogprob(" 🌍", -0.5),)), TokenLogprob(".", 0.0)),
        ),
        Finish("stop", Usage(5, 3)),
    ],
}
FAILURES: dict[str, tuple[list[Event], type[BackendError], str]] = {
    "malformed_call": (
        [],
        generate_content.Malformed,
        "MALFORMED_FUNCTION_CALL: Malformed function call",
    ),
    "error_event": ([TextDelta("Half an ")], BackendBusy, "The model is overloaded."),
    "error_bare": ([TextDelta("Half an ")], BackendError, "An internal error has occurred."),
    "cut_off": ([TextDelta("Half an "), TextDelta("answer")], BackendBroken, "before the end"),
}
SPLITS = [1, 2, 3, 7, 64, 10**9]


def decode(
    chunks: AsyncIterator[bytes], names: Mapping[str, str] | None = None
) -> AsyncGenerator[Event, None]:
    """The events of a stream, one by one."""
    return each_of(generate_content.decode(chunks, names))


@pytest.mark.parametrize("size", SPLITS)
@pytest.mark.parametrize("name", ANSWERS)
async def test_recorded_answers_become_events_however_they_are_cut(name: str, size: int) -> None:
    events = [event async for event in decode(recorded(name, size))]
    assert [_without_minted_id(event) for event in events] == ANSWERS[name]


@pytest.mark.parametrize("size", SPLITS)
@pytest.mark.parametrize("name", FAILURES)
async def test_recorded_failures_are_raised_at_their_place(name: str, size: int) -> None:
    before, kind, message = FAILURES[name]
    answer = decode(recorded(name, size))
    assert [await anext(answer) for _ in before] == before
    with pytest.raises(kind, match=message) as caught:
        await anext(answer)
    assert caught.value.retryable


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.sse")), ids=lambda path: path.stem)
def test_recordings_are_as_google_published_it(path: Path) -> None:
    for data in sse.data_of(path.read_bytes()):
        payload = orjson.loads(data)
        if "error" not in payload:
            validator("GenerateContentResponse").validate(payload)


def test_every_recording_is_tested() -> None:
    assert {path.stem for path in RECORDINGS.glob("*.sse")} == ANSWERS.keys() | FAILURES.keys()


async def test_ids_are_minted_once_for_each_call() -> None:
    starts = [
        event
        async for event in decode(recorded("tool_calls", 64))
        if isinstance(event, ToolCallStart)
    ]
    assert len({start.id for start in starts}) == 3
    assert all(start.id.startswith("call_") for start in starts[1:])


async def test_ids_that_other_backends_would_refuse_or_that_come_twice_are_replaced() -> None:
    ids = ["a", "a", "no spaces", "x" * 65, None, "b"]
    calls = [{"functionCall": {"id": id, "name": "f"}} for id in ids]
    events = [event async for event in decode(stream_of(candidate(calls, "STOP")))]
    starts = [event.id for event in events if isinstance(event, ToolCallStart)]
    assert starts[0] == "a"
    assert starts[-1] == "b"
    assert len(set(starts)) == 6
    assert all(id.startswith("call_") for id in starts[1:-1])


async def test_tools_get_the_callers_names_back() -> None:
    said = stream_of(candidate([{"functionCall": {"name": "_7zip"}}], "STOP"))
    events = [event async for event in decode(said, {"_7zip": "7zip"})]
    assert isinstance(events[0], ToolCallStart)
    assert events[0].name == "7zip"


FAILED = {
    "FINISH_REASON_UNSPECIFIED",
    "LANGUAGE",
    "OTHER",
    "MALFORMED_FUNCTION_CALL",
    "NO_IMAGE",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
}


def test_every_finish_reason_of_the_sdk_has_a_meaning() -> None:
    known = {each.value for each in types.FinishReason}
    assert known == FINISHES.keys() | FAILED | {"PUP_LIMITED_DISABLED"}


@pytest.mark.parametrize("reason", FINISHES)
async def test_finish_reasons(reason: str) -> None:
    said = stream_of(candidate([text("a")], reason, finishMessage="Because."))
    refused = FINISHES[reason] == "content_filter"
    assert [event async for event in decode(said)] == [
        TextDelta("a"),
        *([RefusalDelta("Because.")] if refused else []),
        Finish(FINISHES[reason]),
    ]


@pytest.mark.parametrize("reason", [*sorted(FAILED), "BRAND_NEW"])
async def test_a_model_that_failed_is_no_answer(reason: str) -> None:
    answer = decode(stream_of(candidate([], reason, finishMessage="Because.")))
    with pytest.raises(
        generate_content.Malformed, match=f"^Gemini stopped with {reason}: Because.$"
    ):
        await anext(answer)


async def test_a_limited_account_is_a_wrong_setting() -> None:
    with pytest.raises(BackendMisconfigured, match="GEMINI_API_KEY"):
        await anext(decode(stream_of(candidate([], "PUP_LIMITED_DISABLED"))))


@pytest.mark.parametrize("reason", [each.value for each in types.BlockedReason])
async def test_every_blocked_prompt_is_a_refusal(reason: str) -> None:
    feedback = {"blockReason": reason, "blockReasonMessage": "Not this."}
    events = [event async for event in decode(stream_of({"promptFeedback": feedback}))]
    assert events == [RefusalDelta("Not this."), Finish("content_filter")]


async def test_a_call_cut_short_is_not_called_complete() -> None:
    said = stream_of(candidate([{"functionCall": {"name": "f"}}], "MAX_TOKENS"))
    assert [event async for event in decode(said)][-1] == Finish("length")


async def test_only_the_first_candidate_is_heard() -> None:
    payload = candidate([text("one")], "STOP")
    payload["candidates"].append({"index": 1, "content": {"parts": [text("two")]}})
    events = [event async for event in decode(stream_of(payload))]
    assert events == [TextDelta("one"), Finish("stop")]


ODD_EVENTS: list[bytes] = [
    b"data: {\r\n\r\n",
    b"data: 5\r\n\r\n",
    b'data: "error"\r\n\r\n',
    b"data: []\r\n\r\n",
    b'data: {"candidates": 5}\r\n\r\n',
    b'data: {"candidates": [{"content": {"parts": [{"functionCall": {}}]}}]}\r\n\r\n',
    b'data: {"usageMetadata": {"promptTokenCount": "many"}}\r\n\r\n',
    b'data: {"candidates": [{"content": "x", "finishReason": "STOP"}]}\r\n\r\n',
    b"<html>Bad gateway</html>",
    b"",
]


@pytest.mark.parametrize("data", ODD_EVENTS)
async def test_a_body_that_is_not_an_answer_is_a_broken_backend(data: bytes) -> None:
    with pytest.raises(BackendError):
        async for _ in decode(cut(data, 5)):
            pass


@pytest.mark.parametrize("name", sorted(ANSWERS.keys() - {"blocked_prompt", "lf_and_comments"}))
async def test_the_sdk_reads_the_same_from_a_recording(name: str) -> None:
    ours = [event async for event in decode(recorded(name, 64))]
    data = (RECORDINGS / f"{name}.sse").read_bytes()
    headers = {"content-type": "text/event-stream"}
    with sdk(lambda request: httpx2.Response(200, headers=headers, content=data)) as client:
        theirs = list(client.models.generate_content_stream(model=NEW, contents="-"))
    parts = [
        part
        for each in theirs
        for candidate in each.candidates or []
        if candidate.content
        for part in candidate.content.parts or []
    ]
    said = "".join(part.text or "" for part in parts if not part.thought)
    assert said == "".join(e.text for e in ours if isinstance(e, TextDelta) and "![" not in e.text)
    thought = "".join(part.text or "" for part in parts if part.thought)
    assert thought == "".join(e.text for e in ours if isinstance(e, ReasoningDelta))
    calls = [part.function_call for part in parts if part.function_call]
    assert [call.name for call in calls] == [e.name for e in ours if isinstance(e, ToolCallStart)]
    assert [call.args or {} for call in calls] == [
        orjson.loads(e.arguments) for e in ours if isinstance(e, ToolCallDelta)
    ]
    usage, finish = theirs[-1].usage_metadata, ours[-1]
    assert usage is not None
    assert isinstance(finish, Finish)
    assert finish.usage is not None
    spare = usage.tool_use_prompt_token_count or 0
    assert finish.usage.total_tokens == (usage.total_token_count or 0) + spare


def candidate(parts: Iterable[Mapping[str, Any]], reason: str, **fields: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": list(parts)}
    return {"candidates": [{"content": content, "finishReason": reason, **fields}]}


def stream_of(*payloads: Mapping[str, Any]) -> AsyncIterator[bytes]:
    return cut(b"".join(b"data: " + orjson.dumps(each) + b"\r\n\r\n" for each in payloads), 64)


def recorded(name: str, size: int) -> AsyncIterator[bytes]:
    return cut((RECORDINGS / f"{name}.sse").read_bytes(), size)


async def cut(data: bytes, size: int) -> AsyncIterator[bytes]:
    for i in range(0, len(data), size):
        yield data[i : i + size]


def _without_minted_id(event: Event) -> Event:
    if isinstance(event, ToolCallStart) and event.id.startswith("call_"):
        return ToolCallStart(event.index, "minted", event.name, event.extra)
    return event


KEY_INVALID = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
}
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
TOO_LONG = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."

ERRORS: list[tuple[int, str, str, list[Any], type[BackendError], int, str | None, float | None]] = [
    (400, "INVALID_ARGUMENT", "Unknown name.", [], BackendRejected, 400, None, None),
    (400, "INVALID_ARGUMENT", TOO_LONG, [], BackendRejected, 400, "context_length_exceeded", None),
    (
        400,
        "INVALID_ARGUMENT",
        "API key not valid.",
        [KEY_INVALID],
        BackendMisconfigured,
        502,
        "upstream_auth",
        None,
    ),
    (
        400,
        "INVALID_ARGUMENT",
        "API key expired.",
        [],
        BackendMisconfigured,
        502,
        "upstream_auth",
        None,
    ),
    (
        400,
        "FAILED_PRECONDITION",
        "User location is not supported.",
        [],
        BackendMisconfigured,
        502,
        "upstream_auth",
        None,
    ),
    (401, "UNAUTHENTICATED", "No.", [], BackendMisconfigured, 502, "upstream_auth", None),
    (403, "PERMISSION_DENIED", "No.", [], BackendMisconfigured, 502, "upstream_auth", None),
    (
        404,
        "NOT_FOUND",
        "No model.",
        [],
        generate_content.UnknownGeminiModel,
        502,
        "upstream_model",
        None,
    ),
    (413, "", "Too large.", [], BackendRejected, 413, "request_too_large", None),
    (429, "RESOURCE_EXHAUSTED", "Quota.", [RETRY], BackendBusy, 429, "upstream_busy", 34.5),
    (429, "RESOURCE_EXHAUSTED", "Quota.", [], BackendBusy, 429, "upstream_busy", None),
    (499, "CANCELLED", "Cancelled.", [], BackendError, 502, "upstream_error", None),
    (500, "INTERNAL", "Oops.", [], BackendError, 502, "upstream_error", None),
    (501, "UNIMPLEMENTED", "Not yet.", [], BackendError, 502, "upstream_error", None),
    (503, "UNAVAILABLE", "Overloaded.", [], BackendBusy, 503, "upstream_busy", None),
    (504, "DEADLINE_EXCEEDED", "Too slow.", [], BackendTimeout, 504, "upstream_timeout", None),
]


@pytest.mark.parametrize("row", ERRORS)
@pytest.mark.parametrize("in_stream", [False, True])
def test_errors_keep_their_class(row: Any, in_stream: bool) -> None:
    http_status, name, message, details, kind, status, code, wait_s = row
    payload = {
        "error": {"code": http_status, "message": message, "status": name, "details": details}
    }
    error = failure([payload] if in_stream else payload, None if in_stream else http_status)
    assert type(error) is kind
    assert (error.status, error.code, error.retry_after_s) == (status, code, wait_s)
    assert message in error.message
    assert error.backend == "gemini"


def test_a_bad_key_is_named_and_a_missing_model_too() -> None:
    assert "GEMINI_API_KEY" in failure({"error": {"details": [KEY_INVALID]}}, 400).message
    assert "GEMINI_MODEL" in failure({"error": {}}, 404).message


def test_a_stream_error_without_a_number_goes_by_its_name() -> None:
    assert isinstance(failure({"error": {"status": "RESOURCE_EXHAUSTED"}}), BackendBusy)
    assert failure({"error": {"status": "BRAND_NEW"}}).retryable


def test_the_wait_is_read_from_the_header_too() -> None:
    assert failure({"error": {}}, 429, {"retry-after": "12"}).retry_after_s == 12


def test_no_key_is_repeated() -> None:
    key = "AIza" + "Sy0123456789abcdefghijklmnopqrstuvw"
    said = f"Bad request to /v1/models?key=topsecret123&x=1 with {key}."
    message = failure({"error": {"message": said}}, 400).message
    assert key not in message
    assert "topsecret123" not in message


@given(json_values, st.sampled_from([None, 400, 403, 404, 429, 500, 503, 302]))
def test_any_error_body_becomes_a_backend_error(payload: Any, status: int | None) -> None:
    assert isinstance(failure(payload, status), BackendError)
    assert isinstance(failure({"error": payload}, status), BackendError)


@given(json_values)
async def test_any_event_is_read_or_refused(payload: Any) -> None:
    for said in (
        payload,
        {"candidates": [payload]},
        {"candidates": [{"content": {"parts": [payload]}}]},
    ):
        try:
            async for _ in decode(cut(b"data: " + orjson.dumps(said) + b"\n\n", 50)):
                pass
        except BackendError:
            pass


STOP: dict[str, Any] = {"finishReason": "STOP"}


def stopping(*parts: dict[str, Any]) -> bytes:
    """An answer of these parts that ends with STOP, as one event."""
    candidate = {"content": {"role": "model", "parts": [*parts]}, **STOP}
    return b"data: " + orjson.dumps({"candidates": [candidate]}) + b"\n\n"


@pytest.mark.parametrize(
    "parts", [[], [{"text": ""}], [{"text": " \n"}], [{"text": "hm", "thought": True}]]
)
async def test_a_stop_without_content_is_no_answer(parts: list[dict[str, Any]]) -> None:
    with pytest.raises(NoUsableAnswer) as raised:
        [event async for event in decode(sse.once(stopping(*parts)))]
    assert raised.value.retryable


@pytest.mark.parametrize(
    "part",
    [
        {"text": "x"},
        {"functionCall": {"name": "f"}},
        {"inlineData": {"mimeType": "image/png", "data": "AA"}},
    ],
)
async def test_a_stop_after_content_is_one(part: dict[str, Any]) -> None:
    events = [event async for event in decode(sse.once(stopping(part)))]
    assert isinstance(events[-1], Finish)


async def test_after_the_finish_reason_a_broken_connection_costs_nothing() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield stopping({"text": "x"})
        raise ConnectionResetError

    events = [event async for event in decode(broken())]
    assert [type(event) for event in events] == [TextDelta, Finish]
