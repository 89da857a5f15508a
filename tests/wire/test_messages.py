"""Anthropic Messages: requests as chat bodies, answers as streams and documents, failures."""

import contextlib
import json
from typing import Any

import anthropic
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from router.errors import (
    BackendBusy,
    BackendTimeout,
    BackendUnfit,
    Forbidden,
    InvalidRequest,
    NoBackend,
    RouterError,
    TooLarge,
    Unauthorized,
    UnknownModel,
)
from router.events import (
    Event,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from router.request import ChatRequest, checked, has_images, size_tokens
from router.scoring.turns import human_turns
from router.wire import sse
from router.wire.anthropic import messages as wire
from tests.support.clients import (
    anthropic_client,
    joined,
    json_answer,
    recorded,
    recorded_for,
    said,
    sse_answer,
)
from tests.support.published import check_answer, check_event
from tests.support.speech import answers, assert_any_template_takes, heard

PNG = "iVBORw0KGgo="
USAGE = Usage(20, 9, cached_tokens=5, cache_write_tokens=2, reasoning_tokens=4)
ANSWERS: dict[str, list[Event]] = {
    "text": [TextDelta("Hel"), TextDelta('lo "you"\n'), Finish("stop", USAGE)],
    "reasoning": [ReasoningDelta("hm"), ReasoningDelta("."), TextDelta("4"), Finish("stop", USAGE)],
    "calls": [
        TextDelta("I look."),
        ToolCallStart(0, "call_a", "weather"),
        ToolCallDelta(0, '{"city":'),
        ToolCallDelta(0, '"Ulm"}'),
        ToolCallStart(1, "call_b", "time"),
        ToolCallDelta(1, "{}"),
        Finish("tool_calls", USAGE),
    ],
    "interleaved calls": [
        ToolCallStart(0, "call_a", "weather"),
        ToolCallStart(1, "call_b", "time"),
        ToolCallDelta(0, '{"city":'),
        ToolCallDelta(1, "{}"),
        TextDelta("and"),
        ToolCallDelta(0, '"Ulm"}'),
        Finish("tool_calls"),
    ],
    "refusal": [RefusalDelta("I can't "), RefusalDelta("do that."), Finish("content_filter")],
    "cut": [TextDelta("Once upon"), Finish("length")],
    "cut call": [ToolCallStart(0, "c", "f"), ToolCallDelta(0, '{"x'), Finish("length")],
    "nothing": [Finish("stop")],
    "half a character": [TextDelta("\ud83d"), Finish("stop")],
}


def body_of(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "auto", "max_tokens": 100, "messages": [*messages], **fields}


def user(*content: Any) -> dict[str, Any]:
    """A turn of one text, or of blocks."""
    words = content[0] if content and isinstance(content[0], str) else [*content]
    return {"role": "user", "content": words}


def assistant(*content: Any) -> dict[str, Any]:
    return user(*content) | {"role": "assistant"}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def parsed(body: dict[str, Any]) -> ChatRequest:
    return wire.parse(orjson.dumps(body))


def asked(**fields: Any) -> ChatRequest:
    return parsed(body_of(user("Hi"), **fields))


async def encoded(events: list[Event], **fields: Any) -> bytes:
    request = asked(stream=True, **fields)
    return await joined(wire.stream(said(events), request, "m-1", "msg_1", 17))


async def whole(events: list[Event], **fields: Any) -> dict[str, Any]:
    body = await wire.complete(said(events), asked(**fields), "m-1", "msg_1", 17)
    answer: dict[str, Any] = orjson.loads(sse.json_of(body))
    return answer


async def events_of(events: list[Event], **fields: Any) -> list[dict[str, Any]]:
    return [orjson.loads(data) for data in sse.data_of(await encoded(events, **fields))]


TOOL = {"name": "f", "description": "does f", "input_schema": {"type": "object"}}
FUNCTION = {
    "type": "function",
    "function": {"name": "f", "description": "does f", "parameters": {"type": "object"}},
}
WEB_SEARCH = {"type": "web_search_20250305", "name": "web_search"}


# --- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "chat"),
    [
        pytest.param([user("Hi")], [{"role": "user", "content": "Hi"}], id="text"),
        pytest.param(
            [user(text("Hi") | {"cache_control": {"type": "ephemeral"}})],
            [{"role": "user", "content": "Hi"}],
            id="one text block",
        ),
        pytest.param(
            [user(text("a"), text("")), user("b")],
            [{"role": "user", "content": [text("a"), text("b")]}],
            id="users in a row are one turn",
        ),
        pytest.param(
            [
                user(
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                    },
                    {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
                )
            ],
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                    ],
                }
            ],
            id="pictures",
        ),
        pytest.param(
            [
                user(
                    {
                        "type": "document",
                        "title": "a.pdf",
                        "source": {
                            "type": "base64",
                            "media_type": "application/pdf",
                            "data": "JVBE",
                        },
                    },
                    {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
                    {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
                    {
                        "type": "document",
                        "title": "T",
                        "source": {"type": "text", "media_type": "text/plain", "data": "words"},
                    },
                    {"type": "document", "source": {"type": "content", "content": [text("more")]}},
                )
            ],
            [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "file",
                            "file": {
                                "filename": "a.pdf",
                                "file_data": "data:application/pdf;base64,JVBE",
                            },
                        },
                        {"type": "file", "file": {"file_url": "https://x/y.pdf"}},
                        {"type": "file", "file": {"file_id": "file_1"}},
                        text("T\n\nwords"),
                        text("more"),
                    ],
                }
            ],
            id="documents",
        ),
        pytest.param(
            [
                user("Go"),
                assistant(
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "x"},
                    text("I look."),
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": [1]}},
                    {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
                ),
                user(
                    {"type": "tool_result", "tool_use_id": "t1", "content": "one"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "t2",
                        "is_error": True,
                        "content": [
                            text("broke"),
                            {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
                        ],
                    },
                    text("Now?"),
                ),
            ],
            [
                {"role": "user", "content": "Go"},
                {
                    "role": "assistant",
                    "content": "I look.",
                    "tool_calls": [
                        {
                            "id": "t1",
                            "type": "function",
                            "function": {"name": "f", "arguments": '{"x":[1]}'},
                        },
                        {
                            "id": "t2",
                            "type": "function",
                            "function": {"name": "g", "arguments": "{}"},
                        },
                    ],
                },
                {"role": "tool", "tool_call_id": "t1", "content": "one"},
                {"role": "tool", "tool_call_id": "t2", "content": "Error:\nbroke"},
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                        text("Now?"),
                    ],
                },
            ],
            id="tools: thinking dropped, results first, their pictures in the user's turn",
        ),
        pytest.param(
            [
                user("Hi"),
                {"role": "system", "content": "Be brief."},
                assistant("Yes"),
                {"role": "system", "content": [text("Be loud.")]},
            ],
            [
                {
                    "role": "user",
                    "content": [
                        text("Hi"),
                        text("<system-reminder>\nBe brief.\n</system-reminder>"),
                    ],
                },
                {"role": "assistant", "content": "Yes"},
                {
                    "role": "user",
                    "content": "<system-reminder>\nBe loud.\n</system-reminder>",
                },
            ],
            id="instructions in mid-conversation",
        ),
        pytest.param(
            [{"role": "system", "content": "Be brief."}, user("Hi")],
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            id="a system message in front",
        ),
        pytest.param(
            [
                user("Hi"),
                assistant(
                    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                    {
                        "type": "web_search_tool_result",
                        "tool_use_id": "s",
                        "content": [
                            {
                                "type": "web_search_result",
                                "title": "Ulm",
                                "url": "https://ulm.de",
                                "encrypted_content": "zzz",
                            }
                        ],
                    },
                    text("Found."),
                ),
            ],
            [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Ulm\n\nhttps://ulm.de\n\nFound."},
            ],
            id="the result of a server tool",
        ),
    ],
)
def test_messages_become_chat_messages(
    messages: list[dict[str, Any]], chat: list[dict[str, Any]]
) -> None:
    assert parsed(body_of(*messages)).messages == chat


@pytest.mark.parametrize(
    ("fields", "chat"),
    [
        ({"system": "Be brief."}, {}),
        ({"stop_sequences": ["END"]}, {"stop": ["END"]}),
        (
            {"temperature": 0.5, "top_p": 1, "top_k": 3},
            {"temperature": 0.5, "top_p": 1, "top_k": 3},
        ),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"stream": False}, {}),
        ({"metadata": {"user_id": "u1"}}, {"user": "u1"}),
        ({"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}),
        ({"thinking": {"type": "adaptive"}}, {}),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"reasoning_effort": "low"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 8000}}, {"reasoning_effort": "medium"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 31999}}, {"reasoning_effort": "high"}),
        ({"output_config": {"effort": "medium"}}, {"reasoning_effort": "medium"}),
        ({"output_config": {"effort": "max"}}, {"reasoning_effort": "high"}),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {
                        "name": "answer",
                        "schema": {"type": "object"},
                        "strict": True,
                    },
                }
            },
        ),
        ({"tools": [TOOL]}, {"tools": [FUNCTION]}),
        ({"tools": [TOOL | {"type": "custom", "cache_control": {}}]}, {"tools": [FUNCTION]}),
        (
            {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
            {"tools": [FUNCTION], "tool_choice": "auto", "parallel_tool_calls": False},
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "any"}},
            {"tools": [FUNCTION], "tool_choice": "required"},
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}},
            {
                "tools": [FUNCTION],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
            },
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "none"}},
            {"tools": [FUNCTION], "tool_choice": "none"},
        ),
        ({"tools": [], "tool_choice": {"type": "auto"}}, {}),
        ({"cache_control": {"type": "ephemeral"}, "temperature": None}, {}),
    ],
)
def test_fields_become_chat_fields(fields: dict[str, Any], chat: dict[str, Any]) -> None:
    request = asked(**fields)
    body = {k: v for k, v in request.body.items() if k not in ("model", "messages", "max_tokens")}
    assert body == chat
    assert request.dropped == ()


def test_tools_that_only_anthropic_runs_are_left_out_and_named() -> None:
    request = asked(tools=[WEB_SEARCH, TOOL], service_tier="auto", mcp_servers=[])
    assert request.tools == [FUNCTION]
    assert request.dropped == ("service_tier", "mcp_servers", "tools.web_search")


def test_max_tokens_0_limits_every_model_and_reaches_claude_unchanged() -> None:
    request = wire.parse(orjson.dumps(body_of(user("Hi"), max_tokens=0)))
    assert request.max_tokens == 1
    assert request.original is not None
    assert request.original["max_tokens"] == 0


@pytest.mark.parametrize("value", ["a,\tb", "a\u00a0b"])
def test_a_header_that_cannot_be_passed_on_is_named(value: str) -> None:
    with pytest.raises(InvalidRequest, match="anthropic-beta"):
        wire.parse(orjson.dumps(body_of(user("Hi"))), {"anthropic-beta": value})


def test_the_original_and_its_headers_stay_with_the_request() -> None:
    body = body_of(user("Hi"), thinking={"type": "adaptive"}, unknown=[1])
    headers = {"Anthropic-Version": "2026-10-21", "anthropic-beta": "x", "x-api-key": "secret"}
    request = wire.parse(orjson.dumps(body), headers)
    assert request.original == body
    assert request.headers == {"anthropic-version": "2026-10-21", "anthropic-beta": "x"}
    assert request.dialect == "messages"


@pytest.mark.parametrize("name", recorded_for("/v1/messages"))
def test_reads_recorded_requests_of_real_clients(name: str) -> None:
    recording = recorded(name)
    request = wire.parse(orjson.dumps(recording["body"]), recording["headers"])
    assert request.original == recording["body"]
    assert_any_template_takes(request.messages)
    if recording["human"]:
        assert human_turns(request.messages)[-1].text == recording["human"]


def test_understands_claude_code() -> None:
    recording = recorded("claude-code-tool-result")
    request = wire.parse(orjson.dumps(recording["body"]), recording["headers"])
    assert [m["role"] for m in request.messages] == ["system", "user", "assistant", "tool"]
    assert request.messages[0]["content"].startswith("You are a Claude agent")
    assert request.body["reasoning_effort"] == "high"
    assert request.body["stream_options"] == {"include_usage": True}
    assert "Bash" in [tool["function"]["name"] for tool in request.tools]
    assert request.dropped == ("context_management",)
    assert request.headers["anthropic-version"] == "2023-06-01"


def tokens_of(body: dict[str, Any]) -> int:
    return size_tokens(wire.counting_request(body))


def test_counts_the_tokens_of_a_request_of_claude_code() -> None:
    body = recorded("claude-code-count-tokens")["body"]
    assert tokens_of(body) > 0


@pytest.mark.parametrize(
    ("system", "left"),
    [
        ("x-anthropic-billing-header: cc_version=2.1; cch=ab12;\n\nBe brief.", "Be brief."),
        ("Be brief.", "Be brief."),
        (
            [text("x-anthropic-billing-header: cc_version=2.1; cch=ab12;"), text("Be brief.")],
            [text("Be brief.")],
        ),
        (
            [text("x-anthropic-billing-header: cch=1;\nBe brief.") | {"cache_control": {}}],
            [text("Be brief.") | {"cache_control": {}}],
        ),
        ("Say\nx-anthropic-billing-header: a", "Say\nx-anthropic-billing-header: a"),
        ([text("Say x-anthropic-billing-header: a")], [text("Say x-anthropic-billing-header: a")]),
    ],
)
def test_the_billing_line_goes_and_nothing_else(system: Any, left: Any) -> None:
    body = body_of(user("Hi"), system=system)
    assert wire.without_billing_line(body) == {**body, "system": left}
    words = left if isinstance(left, str) else left[0]["text"]
    assert parsed(body).messages[0] == {"role": "system", "content": words}


def test_a_body_without_a_billing_line_is_the_same_body() -> None:
    body = body_of(user("Hi"))
    assert wire.without_billing_line(body) is body


def test_counts_tokens_of_everything_that_is_sent() -> None:
    small = tokens_of({"messages": [user("Hi")]})
    picture = {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}
    assert 1 <= small < 20
    assert tokens_of({"messages": [user("Hi")], "system": "word " * 700}) > small + 700
    assert tokens_of({"messages": [user("Hi")], "tools": [TOOL]}) > small + 10
    assert tokens_of({"messages": [user(text("Hi"), picture)]}) > small + 500
    with pytest.raises(InvalidRequest):
        tokens_of({"messages": "Hi"})


def test_a_picture_in_a_tool_result_makes_it_a_request_with_pictures() -> None:
    picture = {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [picture]}
    request = parsed(body_of(user("Go"), assistant(call), user(result)))
    assert has_images(request)
    assert [turn.text for turn in human_turns(request.messages)] == ["Go"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [user({"type": "text"})]}, "messages[0].content[0].text"),
        ({"messages": [user({"type": "image"})]}, "messages[0].content[0].source"),
        (
            {"messages": [user({"type": "image", "source": {"type": 7}})]},
            "messages[0].content[0].source.type",
        ),
        ({"messages": [user({"type": 7})]}, "messages[0].content[0].type"),
        ({"messages": [user({})]}, "messages[0].content[0].type"),
        ({"messages": [user({"type": "tool_result"})]}, "messages[0].content[0].tool_use_id"),
        (
            {"messages": [assistant({"type": "tool_use", "id": "t", "name": "f", "input": "x"})]},
            "messages[0].content[0].input",
        ),
        ({"model": 7}, "model"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stream": 1}, "stream"),
        ({"system": 7}, "system"),
        ({"system": [{"type": "text"}]}, "system[0].text"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop_sequences": [1]}, "stop_sequences[0]"),
        ({"metadata": []}, "metadata"),
        ({"thinking": "yes"}, "thinking"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"tools": [], "tool_choice": {"type": "any"}}, "tool_choice"),
        (
            {"tools": [TOOL, WEB_SEARCH], "tool_choice": {"type": "tool", "name": "gone"}},
            "tool_choice.name",
        ),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed(body_of(user("Hi")) | fields)
    assert caught.value.param == param
    assert f"`{param}`" in caught.value.message


def test_a_wrong_system_is_told_both_forms_that_it_can_have() -> None:
    with pytest.raises(InvalidRequest, match="`system` must be a string or a list of blocks"):
        parsed(body_of(user("Hi")) | {"system": 5})


def nest(depth: int) -> dict[str, Any]:
    block: dict[str, Any] = text("deep")
    for _ in range(depth):
        block = {"type": "document", "source": {"type": "content", "content": [block]}}
    return block


def test_a_body_that_is_nested_too_deeply_is_refused() -> None:
    raw = orjson.dumps(body_of(user("@"))).replace(b'"@"', b"[%b]" % json.dumps(nest(300)).encode())
    with pytest.raises(InvalidRequest, match="deep"):
        wire.parse(raw)


KEYS = ["text", "content", "source", "data", "media_type", "url", "role", "id", "name", "input"]
MORE_KEYS = ["tool_use_id", "input_schema", "title", "budget_tokens", "format", "schema", "type"]
KINDS = ["text", "image", "tool_use", "tool_result", "document", "thinking", "base64", "user"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3) | st.sampled_from(KINDS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYS, *MORE_KEYS]), inner, max_size=4)
    ),
    max_leaves=15,
)
fuzzed_messages = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system"]),
            "content": st.lists(
                st.fixed_dictionaries(
                    {"type": st.sampled_from(KINDS)},
                    optional={key: json_values for key in KEYS},
                ),
                max_size=3,
            )
            | json_values,
        }
    )
    | json_values,
    max_size=3,
)


@given(
    fuzzed_messages,
    st.dictionaries(
        st.sampled_from(["model", "max_tokens", "system", "stop_sequences", "stream", "thinking"])
        | st.sampled_from(["tools", "tool_choice", "metadata", "output_config", "temperature"]),
        json_values,
        max_size=3,
    ),
)
def test_any_body_is_a_chat_request_or_an_error_that_names_the_field(
    messages: list[Any], fields: dict[str, Any]
) -> None:
    with contextlib.suppress(InvalidRequest):
        request = parsed({"max_tokens": 1, "messages": messages} | fields)
        assert checked(orjson.loads(orjson.dumps(request.body))) == request.body


@given(st.binary(max_size=50))
def test_bytes_that_are_no_request_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        wire.parse(raw)


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("thinking", [None, {"type": "adaptive"}])
@pytest.mark.parametrize("name", ANSWERS)
async def test_every_event_is_valid_by_the_published_schema(name: str, thinking: Any) -> None:
    for event in await events_of(ANSWERS[name], thinking=thinking):
        check_event("messages", event)


@pytest.mark.parametrize("thinking", [None, {"type": "adaptive"}])
@pytest.mark.parametrize("name", ANSWERS)
async def test_every_whole_answer_is_valid_by_the_published_schema(
    name: str, thinking: Any
) -> None:
    answer = await whole(ANSWERS[name], thinking=thinking)
    check_answer("messages", answer)


@pytest.mark.parametrize(
    ("name", "content", "stop_reason"),
    [
        ("text", [("text", 'Hello "you"\n')], "end_turn"),
        ("reasoning", [("thinking", "hm."), ("text", "4")], "end_turn"),
        (
            "calls",
            [("text", "I look."), ("weather", {"city": "Ulm"}), ("time", {})],
            "tool_use",
        ),
        (
            "interleaved calls",
            [("weather", {"city": "Ulm"}), ("time", {}), ("text", "and")],
            "tool_use",
        ),
        ("refusal", [], "refusal"),
        ("cut", [("text", "Once upon")], "max_tokens"),
        ("cut call", [("f", {"_raw": '{"x'})], "max_tokens"),
        ("nothing", [], "end_turn"),
    ],
)
async def test_blocks_come_in_order(
    name: str, content: list[tuple[str, Any]], stop_reason: str
) -> None:
    answer = await whole(ANSWERS[name], thinking={"type": "adaptive"})
    blocks = [
        (block["name"], block["input"])
        if block["type"] == "tool_use"
        else (block["type"], block[block["type"]])
        for block in answer["content"]
    ]
    assert blocks == content
    assert answer["stop_reason"] == stop_reason


async def test_the_stream_is_framed_and_its_blocks_never_overlap() -> None:
    events = await events_of(ANSWERS["interleaved calls"])
    kinds = [event["type"].removeprefix("content_block_") for event in events]
    assert kinds == [
        "message_start",
        *("start", "delta", "delta", "stop"),
        *("start", "delta", "stop"),
        *("start", "delta", "stop"),
        *("message_delta", "message_stop"),
    ]
    assert [e["index"] for e in events if e["type"] == "content_block_start"] == [0, 1, 2]


async def test_text_and_whole_calls_are_not_held_back() -> None:
    async def watched() -> Any:
        for event in ANSWERS["calls"]:
            told.append(event)
            yield [event]

    told: list[Event] = []
    async for chunk in wire.stream(watched(), asked(stream=True), "m", "msg_1", 1):
        if b'"name":"time"' in chunk:
            break
    assert told[-1] == ToolCallStart(1, "call_b", "time")


@pytest.mark.parametrize(
    ("id", "kept"),
    [("toolu_01A09q90qw90lq917835lq9", True), ("call_0", False), ("functions.look:0", False)],
)
async def test_an_id_that_claude_would_refuse_later_is_replaced(id: str, kept: bool) -> None:
    call: list[Event] = [ToolCallStart(0, id, "f"), ToolCallDelta(0, "{}"), Finish("tool_calls")]
    (block,) = (await whole(call))["content"]
    assert block["id"] == (id if kept else "toolu_1_0")


async def test_names_the_events_for_clients_that_go_by_name() -> None:
    data = await encoded(ANSWERS["text"])
    for event in data.strip().split(b"\n\n"):
        name, body = event.split(b"\n")
        assert name == b"event: " + orjson.loads(body.removeprefix(b"data: "))["type"].encode()


async def test_thoughts_are_shown_only_if_they_were_asked_for() -> None:
    for thinking in (None, {"type": "disabled"}, {"type": "adaptive", "display": "omitted"}):
        answer = await whole(ANSWERS["reasoning"], thinking=thinking)
        assert [block["type"] for block in answer["content"]] == ["text"]
        assert b"hm" not in await encoded(ANSWERS["reasoning"], thinking=thinking)


async def test_usage_leaves_out_cached_tokens_and_is_estimated_if_it_is_missing() -> None:
    counted = (await events_of(ANSWERS["text"]))[-2]["usage"]
    assert counted == {
        "input_tokens": 13,
        "cache_creation_input_tokens": 2,
        "cache_read_input_tokens": 5,
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
        "server_tool_use": None,
    }
    first, *_, last, _ = await events_of(ANSWERS["nothing"])
    assert first["message"]["usage"]["input_tokens"] == last["usage"]["input_tokens"] > 0


def content_of(message: anthropic.types.Message) -> tuple[str, str, list[tuple[str, str, Any]]]:
    texts = [block.text for block in message.content if block.type == "text"]
    thoughts = [block.thinking for block in message.content if block.type == "thinking"]
    calls = [(b.id, b.name, b.input) for b in message.content if b.type == "tool_use"]
    return "".join(texts), "".join(thoughts), calls


@given(answers())
async def test_the_anthropic_client_rebuilds_the_answer(events: list[Event]) -> None:
    data = await encoded(events, thinking={"type": "adaptive"})
    for event_data in sse.data_of(data):
        check_event("messages", orjson.loads(event_data))
    client = anthropic_client(sse_answer(data))
    async with client.messages.stream(model="m", max_tokens=9, messages=[]) as stream:
        streamed = await stream.get_final_message()
    body = await whole(events, thinking={"type": "adaptive"})
    check_answer("messages", body)
    client = anthropic_client(json_answer(body))
    answer = await client.messages.create(model="m", max_tokens=9, messages=[])

    expected = heard(events)
    text, thoughts, calls = content_of(streamed)
    assert (text, thoughts) == (expected.text, expected.reasoning)
    assert [call[1] for call in calls] == [call[1] for call in expected.calls]
    assert len({call[0] for call in calls}) == len(calls)
    if expected.reason == "tool_calls":
        assert [call[2] for call in calls] == [json.loads(call[2]) for call in expected.calls]
        dumped = [block.model_dump(exclude={"parsed_output"}) for block in streamed.content]
        assert dumped == [block.model_dump() for block in answer.content]
    assert content_of(answer)[:2] == (text, thoughts)
    assert streamed.stop_reason == answer.stop_reason
    assert streamed.usage.output_tokens == answer.usage.output_tokens
    assert streamed.usage.input_tokens == answer.usage.input_tokens


async def test_the_anthropic_client_runs_a_tool_and_parses_structured_output() -> None:
    class City(BaseModel):
        name: str

    events: list[Event] = [TextDelta('{"name":'), TextDelta('"Ulm"}'), Finish("stop")]
    seen: list[ChatRequest] = []

    def answer(request: Any) -> Any:
        seen.append(wire.parse(request.content, request.headers))
        return json_answer(body)(request)

    body = await whole(events)
    client = anthropic_client(answer)
    parsed = await client.messages.parse(
        model="auto",
        max_tokens=9,
        messages=[{"role": "user", "content": "Which city?"}],
        output_format=City,
    )
    assert parsed.parsed_output == City(name="Ulm")
    assert seen[0].body["response_format"]["json_schema"]["schema"]["required"] == ["name"]
    assert "anthropic-version" in seen[0].headers
    assert "authorization" not in seen[0].headers


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind", "raised"),
    [
        (InvalidRequest("x"), "invalid_request_error", anthropic.BadRequestError),
        (Unauthorized("x"), "authentication_error", anthropic.AuthenticationError),
        (Forbidden("x"), "permission_error", anthropic.PermissionDeniedError),
        (UnknownModel("x"), "not_found_error", anthropic.NotFoundError),
        (TooLarge("x"), "request_too_large", anthropic.APIStatusError),
        (BackendBusy("x", backend="b"), "rate_limit_error", anthropic.RateLimitError),
        (BackendTimeout("x", backend="b"), "timeout_error", anthropic.InternalServerError),
        (NoBackend("x"), "api_error", anthropic.InternalServerError),
        (RouterError("x"), "api_error", anthropic.InternalServerError),
    ],
)
async def test_errors_have_anthropics_shape(
    error: RouterError, kind: str, raised: type[Exception]
) -> None:
    error.request_id = "req_1"
    body = wire.error_body(error)
    assert body == {
        "type": "error",
        "error": {"type": kind, "message": "x"},
        "request_id": "req_1",
    }
    client = anthropic_client(json_answer(body, error.status))
    with pytest.raises(raised):
        await client.messages.create(model="m", max_tokens=9, messages=[])


def test_a_context_that_is_too_long_has_the_message_that_clients_look_for() -> None:
    error = BackendUnfit("9 > 8", backend="local", code="context_length_exceeded")
    assert wire.error_body(error)["error"]["message"] == "prompt is too long: 9 > 8"


async def test_a_failure_in_mid_stream_reaches_the_anthropic_client_as_an_error() -> None:
    begun = (await encoded(ANSWERS["text"])).split(b"event: content_block_stop")[0]
    failed = wire.KEEPALIVE + wire.error_event(NoBackend("LM Studio went away."))
    client = anthropic_client(sse_answer(begun + failed))
    with pytest.raises(anthropic.APIStatusError, match="LM Studio went away"):
        async with client.messages.stream(model="m", max_tokens=9, messages=[]) as stream:
            await stream.get_final_message()
