"""OpenAI Responses: requests as chat bodies, answers as streams and documents, failures."""

import contextlib
from typing import Any

import openai
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from router.errors import BackendBroken, BackendBusy, BackendUnfit, InvalidRequest, RouterError
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
from router.request import ChatRequest, checked, has_images
from router.scoring.turns import human_turns
from router.wire import sse
from router.wire.responses import responses as wire
from tests.support.clients import (
    joined,
    json_answer,
    openai_client,
    recorded,
    recorded_for,
    said,
    sse_answer,
)
from tests.support.published import check_answer, check_event
from tests.support.speech import answers, assert_any_template_takes, heard
from web.responses_store import ResponsesStore, StoredResponses

USAGE = Usage(20, 9, cached_tokens=5, cache_write_tokens=2, reasoning_tokens=4)
FUNCTION = {
    "type": "function",
    "name": "f",
    "description": "does f",
    "parameters": {"type": "object"},
    "strict": True,
}
CHAT_FUNCTION = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "does f",
        "parameters": {"type": "object"},
        "strict": True,
    },
}
PATCH = {
    "type": "custom",
    "name": "patch",
    "description": "edits files",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: WORD"},
}
AGENTS = {
    "type": "namespace",
    "name": "agents",
    "description": "helpers",
    "tools": [{"type": "function", "name": "close", "strict": False, "parameters": {}}],
}
TOOLS = [FUNCTION, PATCH, AGENTS]
ANSWERS: dict[str, list[Event]] = {
    "text": [TextDelta("Hel"), TextDelta('lo "you"\n'), Finish("stop", USAGE)],
    "reasoning": [ReasoningDelta("hm"), ReasoningDelta("."), TextDelta("4"), Finish("stop", USAGE)],
    "calls": [
        TextDelta("I look."),
        ToolCallStart(0, "call_a", "f"),
        ToolCallStart(1, "call_b", "patch"),
        ToolCallDelta(0, '{"city":'),
        ToolCallDelta(1, '{"input": "*** '),
        ToolCallDelta(0, '"Ulm"}'),
        ToolCallDelta(1, 'Begin"}'),
        ToolCallStart(2, "call_c", "agents__close"),
        ToolCallDelta(2, "{}"),
        Finish("tool_calls", USAGE),
    ],
    "refusal": [RefusalDelta("I can't "), RefusalDelta("do that."), Finish("content_filter")],
    "filtered": [TextDelta("Well"), Finish("content_filter")],
    "cut": [ReasoningDelta("hm"), TextDelta("Once upon"), Finish("length")],
    "nothing": [Finish("stop")],
    "half a character": [TextDelta("\ud83d"), Finish("stop")],
}


def parsed(body: dict[str, Any]) -> ChatRequest:
    return wire.parse(orjson.dumps(body))


def asked(**fields: Any) -> ChatRequest:
    return parsed({"model": "auto", "input": "Hi", **fields})


async def encoded(events: list[Event], **fields: Any) -> bytes:
    request = asked(stream=True, tools=TOOLS, **fields)
    return await joined(wire.stream(said(events), request, "m-1", "resp_1", 17))


async def events_of(events: list[Event], **fields: Any) -> list[dict[str, Any]]:
    return [orjson.loads(data) for data in sse.data_of(await encoded(events, **fields))]


async def whole(events: list[Event], **fields: Any) -> dict[str, Any]:
    request = asked(tools=TOOLS, **fields)
    body = await wire.complete(said(events), request, "m-1", "resp_1", 17)
    answer: dict[str, Any] = orjson.loads(sse.json_of(body))
    return answer


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def call(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


# --- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        pytest.param("Hi", [{"role": "user", "content": "Hi"}], id="a text"),
        pytest.param(
            [{"role": "user", "content": "Hi"}],
            [{"role": "user", "content": "Hi"}],
            id="a message without a type",
        ),
        pytest.param(
            [
                {"role": "system", "content": "Be brief."},
                {"role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
                {"role": "user", "content": "a"},
                {"role": "user", "content": [{"type": "input_text", "text": "b"}]},
                {"role": "developer", "content": "Be loud."},
            ],
            [
                {"role": "system", "content": "Be brief.\n\nBe kind."},
                {
                    "role": "user",
                    "content": [
                        text("a"),
                        text("b"),
                        text("<system-reminder>\nBe loud.\n</system-reminder>"),
                    ],
                },
            ],
            id="one system message in front, one turn after another",
        ),
        pytest.param(
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"},
                        {"type": "input_image", "file_id": "file_1"},
                        {"type": "input_file", "filename": "a.pdf", "file_data": "data:x"},
                        {"type": "input_file", "file_url": "https://x/y.pdf"},
                        {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
                    ],
                }
            ],
            [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image_url",
                            "image_url": {"url": "https://x/y.png", "detail": "low"},
                        },
                        {"type": "file", "file": {"file_id": "file_1"}},
                        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:x"}},
                        {"type": "file", "file": {"file_url": "https://x/y.pdf"}},
                        {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
                    ],
                }
            ],
            id="pictures, files, audio",
        ),
        pytest.param(
            [
                {"role": "user", "content": "Go"},
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
                {
                    "type": "message",
                    "id": "msg_1",
                    "role": "assistant",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
                },
                {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
                {"type": "custom_tool_call", "call_id": "b", "name": "patch", "input": "*** x"},
                {
                    "type": "function_call",
                    "call_id": "c",
                    "namespace": "agents",
                    "name": "close",
                    "arguments": "{}",
                },
                {"role": "user", "content": "Hurry"},
                {
                    "type": "function_call_output",
                    "call_id": "a",
                    "output": [
                        {"type": "input_text", "text": "one"},
                        {"type": "input_image", "image_url": "https://x/y.png"},
                    ],
                },
                {"type": "custom_tool_call_output", "call_id": "b", "output": "two"},
                {"type": "function_call_output", "call_id": "c", "output": "three"},
            ],
            [
                {"role": "user", "content": "Go"},
                {
                    "role": "assistant",
                    "content": "I look.",
                    "tool_calls": [
                        call("a", "f", "{}"),
                        call("b", "patch", '{"input":"*** x"}'),
                        call("c", "agents__close", "{}"),
                    ],
                },
                {"role": "tool", "tool_call_id": "a", "content": "one"},
                {"role": "tool", "tool_call_id": "b", "content": "two"},
                {"role": "tool", "tool_call_id": "c", "content": "three"},
                {
                    "role": "user",
                    "content": [
                        text("Hurry"),
                        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                    ],
                },
            ],
            id="calls of one step are one turn, their results follow at once",
        ),
        pytest.param(
            [
                {
                    "type": "local_shell_call",
                    "id": "ls_1",
                    "call_id": "a",
                    "action": {"type": "exec", "command": ["ls"]},
                    "status": "completed",
                },
                {"type": "local_shell_call_output", "call_id": "a", "output": {"stdout": "x"}},
                {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            ],
            [
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [
                        call("a", "local_shell", '{"action":{"command":["ls"],"type":"exec"}}')
                    ],
                },
                {"role": "tool", "tool_call_id": "a", "content": '{"stdout":"x"}'},
            ],
            id="calls of other kinds of tools",
        ),
        pytest.param(
            [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}],
            [{"role": "assistant", "content": "No."}],
            id="a refusal",
        ),
    ],
)
def test_items_become_chat_messages(given: Any, messages: list[dict[str, Any]]) -> None:
    assert parsed({"input": given}).messages == messages


@pytest.mark.parametrize(
    ("fields", "chat"),
    [
        ({"max_output_tokens": 50}, {"max_completion_tokens": 50}),
        ({"temperature": 0.5, "top_p": 1}, {"temperature": 0.5, "top_p": 1}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"user": "u1", "metadata": {"a": "b"}, "store": False}, {"user": "u1"}),
        ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"verbosity": "low"}),
        (
            {"text": {"format": {"type": "json_object"}}},
            {"response_format": {"type": "json_object"}},
        ),
        (
            {
                "text": {
                    "format": {
                        "type": "json_schema",
                        "name": "n",
                        "schema": {"type": "object"},
                        "strict": True,
                    }
                }
            },
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
                }
            },
        ),
        ({"tools": [FUNCTION]}, {"tools": [CHAT_FUNCTION]}),
        (
            {"tools": [FUNCTION], "tool_choice": "auto"},
            {"tools": [CHAT_FUNCTION], "tool_choice": "auto"},
        ),
        (
            {"tools": [FUNCTION], "tool_choice": "required", "parallel_tool_calls": False},
            {
                "tools": [CHAT_FUNCTION],
                "tool_choice": "required",
                "parallel_tool_calls": False,
            },
        ),
        (
            {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "f"}},
            {
                "tools": [CHAT_FUNCTION],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
            },
        ),
        (
            {
                "tools": [AGENTS, FUNCTION],
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "required",
                    "tools": [{"type": "function", "name": "f"}],
                },
            },
            {"tools": [CHAT_FUNCTION], "tool_choice": "required"},
        ),
        ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": False}, {}),
        ({"truncation": "disabled", "background": False, "top_logprobs": 0}, {}),
    ],
)
def test_fields_become_chat_fields(fields: dict[str, Any], chat: dict[str, Any]) -> None:
    request = asked(**fields)
    assert {k: v for k, v in request.body.items() if k not in ("model", "messages")} == chat
    assert request.dropped == ()


def test_a_custom_tool_becomes_a_function_of_one_text() -> None:
    (tool,) = asked(tools=[PATCH], tool_choice={"type": "custom", "name": "patch"}).tools
    assert tool["function"]["name"] == "patch"
    assert tool["function"]["description"] == (
        "edits files\n\nThe input must follow this lark grammar:\nstart: WORD"
    )
    assert tool["function"]["parameters"]["required"] == ["input"]


def test_tools_can_be_added_by_an_item() -> None:
    added = {"type": "additional_tools", "role": "developer", "tools": [PATCH, AGENTS]}
    request = parsed({"input": [added, {"role": "user", "content": "Hi"}], "tools": [FUNCTION]})
    names = [tool["function"]["name"] for tool in request.tools]
    assert names == ["f", "patch", "agents__close"]
    assert [m["role"] for m in request.messages] == ["user"]


def test_tools_that_only_openai_runs_are_left_out_and_reported() -> None:
    request = asked(
        tools=[{"type": "web_search", "external_web_access": True}, FUNCTION, {"type": "mcp"}],
        truncation="auto",
        top_logprobs=3,
        service_tier="flex",
    )
    assert request.tools == [CHAT_FUNCTION]
    assert request.dropped == ("truncation", "top_logprobs", "tools.web_search", "tools.mcp")


@pytest.mark.parametrize("name", recorded_for("/v1/responses"))
def test_reads_recorded_requests_of_real_clients(name: str) -> None:
    recording = recorded(name)
    request = parsed(recording["body"])
    assert request.original == recording["body"]
    assert_any_template_takes(request.messages)
    if recording["human"]:
        assert human_turns(request.messages)[-1].text == recording["human"]


def test_understands_codex() -> None:
    request = parsed(recorded("codex-namespace-call")["body"])
    assert [m["role"] for m in request.messages] == ["system", "user", "assistant", "tool"]
    (made,) = request.messages[2]["tool_calls"]
    assert made["function"]["name"] == "multi_agent_v1__spawn_agent"
    names = [tool["function"]["name"] for tool in request.tools]
    assert {"exec_command", "multi_agent_v1__close_agent"} <= {*names}
    assert request.dropped == ("tools.web_search",)
    newest = parsed(recorded("codex-added-tools")["body"])
    names = [tool["function"]["name"] for tool in newest.tools]
    assert names == ["functions__exec", "functions__wait", "clock__sleep"]


def test_a_picture_in_a_tool_output_makes_it_a_request_with_pictures() -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
    request = parsed(
        {
            "input": [
                {"role": "user", "content": "Look"},
                {"type": "function_call", "call_id": "a", "name": "view", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "a", "output": [picture]},
            ]
        }
    )
    assert has_images(request)
    assert [turn.text for turn in human_turns(request.messages)] == ["Look"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": ["Hi"]}, "input[0]"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": 7}]}, "input[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": 7}]}]}, "input[0].content[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "input[0].content[0].text",
        ),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].arguments"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"model": 7}, "model"),
        ({"instructions": ["x"]}, "instructions"),
        ({"max_output_tokens": "many"}, "max_output_tokens"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"stream": "yes"}, "stream"),
        ({"store": "yes"}, "store"),
        ({"reasoning": "high"}, "reasoning"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{}]}]}, "tools[0].tools[0].type"),
        (
            {
                "input": [
                    {"role": "user", "content": "x"},
                    {"type": "additional_tools", "tools": {}},
                ]
            },
            "input[1].tools",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "g"}}, "tool_choice.name"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"previous_response_id": "resp_gone"}, "previous_response_id"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed({"model": "auto", "input": "Hi"} | fields)
    assert caught.value.param == param
    assert f"`{param}`" in caught.value.message


def test_a_body_that_is_nested_too_deeply_is_refused() -> None:
    deep = b'{"a":' * 500 + b"1" + b"}" * 500
    item = b'{"type":"x_call","call_id":"a","action":%b}' % deep
    with pytest.raises(InvalidRequest, match="deep"):
        wire.parse(b'{"input":[%b]}' % item)


KEYS = ["content", "text", "call_id", "name", "arguments", "input", "output", "image_url", "id"]
MORE_KEYS = ["type", "role", "namespace", "parameters", "format", "schema", "effort", "tools"]
KINDS = ["message", "function_call", "function_call_output", "custom_tool_call", "reasoning"]
MORE_KINDS = ["input_text", "input_image", "function", "custom", "namespace", "x_call", "user"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([*KINDS, *MORE_KINDS]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYS, *MORE_KEYS]), inner, max_size=4)
    ),
    max_leaves=15,
)
fuzzed_items = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(KINDS)},
        optional={key: json_values | st.text(max_size=3) for key in [*KEYS, "role", "namespace"]},
    )
    | json_values,
    max_size=3,
)


@given(
    fuzzed_items,
    st.dictionaries(
        st.sampled_from(["model", "instructions", "tools", "tool_choice", "text", "reasoning"])
        | st.sampled_from(["stream", "max_output_tokens", "metadata", "previous_response_id"]),
        json_values,
        max_size=3,
    ),
)
def test_any_body_is_a_chat_request_or_an_error_that_names_the_field(
    items: list[Any], fields: dict[str, Any]
) -> None:
    with contextlib.suppress(InvalidRequest):
        request = parsed({"input": items} | fields)
        assert checked(orjson.loads(orjson.dumps(request.body))) == request.body


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ANSWERS)
async def test_every_event_is_valid_by_the_published_schema(name: str) -> None:
    for event in await events_of(ANSWERS[name]):
        check_event("responses", event)


@pytest.mark.parametrize("name", ANSWERS)
async def test_every_whole_answer_is_valid_by_the_published_schema(name: str) -> None:
    check_answer("responses", await whole(ANSWERS[name]))


TEXT = ["output_item.added", "content_part.added", "output_text.delta", "output_text.delta"]
TEXT_DONE = ["output_text.done", "content_part.done", "output_item.done"]


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("text", [*TEXT, *TEXT_DONE, "completed"]),
        (
            "reasoning",
            [
                "output_item.added",
                "reasoning_summary_part.added",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.done",
                "reasoning_summary_part.done",
                "output_item.done",
                *TEXT[:3],
                *TEXT_DONE,
                "completed",
            ],
        ),
        (
            "calls",
            [
                *TEXT[:3],
                *TEXT_DONE,
                "output_item.added",
                "function_call_arguments.delta",
                "function_call_arguments.delta",
                "function_call_arguments.done",
                "output_item.done",
                "output_item.added",
                "custom_tool_call_input.delta",
                "custom_tool_call_input.done",
                "output_item.done",
                "output_item.added",
                "function_call_arguments.delta",
                "function_call_arguments.done",
                "output_item.done",
                "completed",
            ],
        ),
        (
            "refusal",
            [
                *("output_item.added", "content_part.added", "refusal.delta", "refusal.delta"),
                *("refusal.done", "content_part.done", "output_item.done", "completed"),
            ],
        ),
        ("filtered", [*TEXT[:3], *TEXT_DONE, "incomplete"]),
        ("nothing", ["completed"]),
    ],
)
async def test_the_events_come_in_order_with_their_numbers(name: str, sequence: list[str]) -> None:
    events = await events_of(ANSWERS[name])
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds == ["created", "in_progress", *sequence]
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    assert b"[DONE]" not in await encoded(ANSWERS[name])


@pytest.mark.parametrize("name", ANSWERS)
async def test_the_last_event_holds_the_whole_answer(name: str) -> None:
    assert (await events_of(ANSWERS[name]))[-1]["response"] == await whole(ANSWERS[name])


async def test_calls_are_named_as_the_caller_named_its_tools() -> None:
    output = (await whole(ANSWERS["calls"]))["output"]
    assert output[1:] == [
        {
            "id": "fc_1_1",
            "type": "function_call",
            "status": "completed",
            "call_id": "call_a",
            "name": "f",
            "arguments": '{"city":"Ulm"}',
        },
        {
            "id": "ctc_1_2",
            "type": "custom_tool_call",
            "call_id": "call_b",
            "name": "patch",
            "input": "*** Begin",
        },
        {
            "id": "fc_1_3",
            "type": "function_call",
            "status": "completed",
            "call_id": "call_c",
            "namespace": "agents",
            "name": "close",
            "arguments": "{}",
        },
    ]


@pytest.mark.parametrize(
    ("name", "status", "details", "items"),
    [
        ("text", "completed", None, ["completed"]),
        ("refusal", "completed", None, ["completed"]),
        ("filtered", "incomplete", {"reason": "content_filter"}, ["incomplete"]),
        ("cut", "incomplete", {"reason": "max_output_tokens"}, ["incomplete"]),
    ],
)
async def test_says_how_it_ended(name: str, status: str, details: Any, items: list[str]) -> None:
    answer = await whole(ANSWERS[name])
    assert (answer["status"], answer["incomplete_details"]) == (status, details)
    assert [item["status"] for item in answer["output"] if "status" in item] == items


async def test_repeats_the_request_and_counts_tokens() -> None:
    fields = {
        "instructions": "Be brief.",
        "metadata": {"a": "b"},
        "max_output_tokens": 50,
        "temperature": 0.5,
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_object"}},
        "parallel_tool_calls": False,
        "prompt_cache_key": "k",
    }
    answer = await whole(ANSWERS["text"], **fields)
    told = {**fields, "reasoning": {"effort": "low", "summary": None}}
    assert {key: answer[key] for key in fields} == told
    assert answer["tools"] == TOOLS
    assert answer["tool_choice"] == "auto"
    assert (answer["id"], answer["model"], answer["created_at"]) == ("resp_1", "m-1", 17)
    assert answer["usage"] == {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 29,
    }
    assert "usage" not in await whole(ANSWERS["nothing"])


def bare(value: Any) -> Any:
    """An output item without what the client's `stream` helper adds to it."""
    if isinstance(value, BaseModel):
        return bare(value.model_dump(exclude_unset=True))
    if isinstance(value, list):
        return [bare(item) for item in value]
    if isinstance(value, dict):
        return {k: bare(v) for k, v in value.items() if k not in ("parsed", "parsed_arguments")}
    return value


@given(answers())
async def test_the_openai_client_rebuilds_the_answer(events: list[Event]) -> None:
    data = await encoded(events)
    for event_data in sse.data_of(data):
        check_event("responses", orjson.loads(event_data))
    streamed_text, streamed_calls, last = "", {}, None
    async with openai_client(sse_answer(data)).responses.stream(model="m", input="x") as stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                streamed_text += event.delta
            elif event.type == "response.function_call_arguments.done":
                streamed_calls[event.output_index] = event.arguments
            elif event.type in ("response.completed", "response.incomplete"):
                last = event.response

    body = await whole(events)
    check_answer("responses", body)
    client = openai_client(json_answer(body))
    answer = await client.responses.create(model="m", input="x")
    assert last is not None
    expected = heard(events)
    assert streamed_text == answer.output_text == expected.text
    calls = [item for item in answer.output if item.type == "function_call"]
    assert [(c.call_id, c.name, c.arguments) for c in calls] == expected.calls
    assert list(streamed_calls.values()) == [arguments for _, _, arguments in expected.calls]
    thoughts = [item.summary[0].text for item in answer.output if item.type == "reasoning"]
    assert "".join(thoughts) == expected.reasoning
    assert last.status == answer.status
    assert [bare(item) for item in last.output] == [bare(item) for item in answer.output]


async def test_the_openai_client_parses_structured_output() -> None:
    class City(BaseModel):
        name: str

    seen: list[ChatRequest] = []

    def answer(request: Any) -> Any:
        seen.append(wire.parse(request.content))
        return json_answer(body)(request)

    body = await whole([TextDelta('{"name":"Ulm"}'), Finish("stop")])
    parsed = await openai_client(answer).responses.parse(model="m", input="x", text_format=City)
    assert parsed.output_parsed == City(name="Ulm")
    schema = seen[0].body["response_format"]["json_schema"]
    assert (schema["name"], schema["schema"]["required"]) == ("City", ["name"])


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BackendBroken("It broke.", backend="local"), "server_error"),
        (BackendBusy("It broke.", backend="claude"), "rate_limit_exceeded"),
        (
            BackendUnfit("It broke.", backend="local", code="context_length_exceeded"),
            "context_length_exceeded",
        ),
    ],
)
async def test_a_failure_in_mid_stream_reaches_codex_and_the_openai_client(
    error: RouterError, code: str
) -> None:
    async def breaking() -> Any:
        yield [TextDelta("Once")]
        raise error

    stream = wire.stream(breaking(), asked(stream=True), "m", "resp_1", 17)
    begun: list[bytes] = []

    async def relay() -> None:
        async for chunk in stream:
            begun.append(chunk)

    with pytest.raises(RouterError) as caught:
        await relay()
    assert stream.fail is not None
    data = b"".join(begun) + stream.fail(caught.value)
    events = [orjson.loads(one) for one in sse.data_of(data)]
    assert [event["sequence_number"] for event in events] == [*range(7)]
    failed, last = events[-2:]
    assert failed["type"] == "response.failed"
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": code, "message": "It broke."}
    assert last["type"] == "error"
    received = await openai_client(sse_answer(data)).responses.create(
        model="m", input="x", stream=True
    )
    with pytest.raises(openai.APIError, match="It broke"):
        async for _ in received:
            pass


async def test_a_stream_that_fails_at_once_has_its_first_events() -> None:
    async def breaking() -> Any:
        raise BackendBroken("It broke.", backend="local")
        yield

    stream = wire.stream(breaking(), asked(stream=True), "m", "resp_1", 17)
    with pytest.raises(BackendBroken) as caught:
        await joined(stream)
    assert stream.fail is not None
    events = [orjson.loads(one) for one in sse.data_of(stream.fail(caught.value))]
    begun = ["response.created", "response.in_progress"]
    assert [event["type"] for event in events] == [*begun, "response.failed", "error"]
    assert [event["sequence_number"] for event in events] == [*range(4)]


async def test_an_error_is_read_by_the_openai_client() -> None:
    body = wire.error_body(InvalidRequest("`input` is wrong.", param="input"))
    client = openai_client(json_answer(body, 400))
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(model="m", input="x")
    assert caught.value.param == "input"


# --- previous_response_id -------------------------------------------------------------------------


async def answered(dialect: StoredResponses, id: str, text: str, **body: Any) -> ChatRequest:
    """Send one turn through the route; return the parsed request."""
    request = dialect.parse(orjson.dumps(body))
    events: list[Event] = [TextDelta(text), Finish("stop")]
    if body.get("stream"):
        await joined(dialect.stream(said(events), request, "m", id, 17))
    else:
        await dialect.complete(said(events), request, "m", id, 17)
    return request


async def test_a_conversation_continues_after_a_stored_response() -> None:
    dialect = StoredResponses()
    await answered(dialect, "resp_a", "Ulm.", input="Which city?", instructions="Be brief.")
    await answered(
        dialect, "resp_b", "122,636", input="How big?", previous_response_id="resp_a", stream=True
    )
    request = await answered(dialect, "resp_c", "x", input="Sure?", previous_response_id="resp_b")
    assert request.messages == [
        {"role": "user", "content": "Which city?"},
        {"role": "assistant", "content": "Ulm."},
        {"role": "user", "content": "How big?"},
        {"role": "assistant", "content": "122,636"},
        {"role": "user", "content": "Sure?"},
    ]
    branched = await answered(dialect, "resp_d", "x", input="Why?", previous_response_id="resp_a")
    assert [m["content"] for m in branched.messages] == ["Which city?", "Ulm.", "Why?"]


async def test_a_call_can_be_answered_by_its_output_alone() -> None:
    dialect = StoredResponses()
    request = dialect.parse(orjson.dumps({"input": "Go", "tools": TOOLS}))
    await dialect.complete(said(ANSWERS["calls"]), request, "m", "resp_a", 17)
    output = {"type": "function_call_output", "call_id": "call_a", "output": "sunny"}
    request = await answered(dialect, "resp_b", "x", input=[output], previous_response_id="resp_a")
    assert [m["role"] for m in request.messages] == ["user", "assistant", "tool"]
    assert [c["id"] for c in request.messages[1]["tool_calls"]] == ["call_a", "call_b", "call_c"]


async def test_is_kept_before_the_caller_can_know_that_it_is_complete() -> None:
    dialect = StoredResponses()
    request = dialect.parse(b'{"input":"Hi","stream":true}')
    events: list[Event] = [TextDelta("Yo"), Finish("stop")]
    stream = dialect.stream(said(events), request, "m", "resp_a", 17)
    async for chunk in stream:
        if b"response.completed" in chunk:
            await stream.aclose()
    assert (await answered(dialect, "b", "x", input="?", previous_response_id="resp_a")).messages


async def test_a_response_with_store_false_is_not_stored() -> None:
    dialect = StoredResponses()
    await answered(dialect, "resp_a", "Ulm.", input="Which city?", store=False)
    with pytest.raises(InvalidRequest, match="whole conversation") as caught:
        await answered(dialect, "resp_b", "x", input="?", previous_response_id="resp_a")
    assert caught.value.code == "previous_response_not_found"


def test_the_store_forgets_the_response_that_was_unused_for_longest() -> None:
    store = ResponsesStore(most=2)
    store.keep("a", [{"n": 1}], None)
    store.keep("b", [{"n": 2}], None)
    assert store.recall("a") == [{"n": 1}]
    store.keep("c", [{"n": 3}], "a")
    assert store.recall("b") is None
    assert store.recall("c") == [{"n": 1}, {"n": 3}]
    store.keep("d", [{"n": 4}], "b")
    assert store.recall("d") is None


def test_a_long_conversation_does_not_push_out_others() -> None:
    store = ResponsesStore(most_bytes=1000)
    store.keep("other", ["x" * 50], None)
    previous = None
    for n in range(12):
        store.keep(str(n), ["x" * 50], previous)
        previous = str(n)
    assert store.recall("other") is not None
    assert len(store.recall("11") or []) == 12
    for n in range(12, 40):
        store.keep(str(n), ["x" * 50], None)
    assert store.recall("11") is None
    kept = [n for n in range(12, 40) if store.recall(str(n)) is not None]
    assert len(kept) == 1000 // len(b'["%b"]' % (b"x" * 50))


def test_the_store_holds_no_more_bytes_than_it_may() -> None:
    store = ResponsesStore(most_bytes=1000)
    store.keep("big", ["x" * 2000], None)
    assert store.recall("big") is None
    previous = None
    for n in range(50):
        store.keep(str(n), ["x" * 50], previous)
        previous = str(n) if n % 5 else None
    kept = [n for n in range(50) if store.recall(str(n)) is not None]
    assert kept
    assert kept[-1] == 49
    assert len(kept) < 20
