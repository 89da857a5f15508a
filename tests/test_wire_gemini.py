"""What is said to Gemini; the types of its own SDK, which forbid unknown fields, are the judge."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from router.errors import (
    BackendBroken,
    BackendUnfit,
    InvalidRequest,
    RouterError,
)
from router.request import ChatRequest, checked
from router.wire import gemini
from router.wire.gemini import NO_SIGNATURE, SIGNATURE, encode, picture_urls
from tests.gemini_words import (
    NEW,
    PDF,
    PNG,
    answer,
    assert_sdk_would_send,
    assistant,
    body_of,
    call,
    function,
    json_values,
    request_of,
    result,
    text,
    turn,
    user,
)

TURNS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "user and assistant": (
        [user("Hi"), assistant("Hello"), user("Bye")],
        [turn("user", text("Hi")), turn("model", text("Hello")), turn("user", text("Bye"))],
    ),
    "consecutive turns of one role are one": (
        [user("a"), user("b"), assistant("c"), assistant("d"), user("e")],
        [
            turn("user", text("a"), text("b")),
            turn("model", text("c"), text("d")),
            turn("user", text("e")),
        ],
    ),
    "text parts": (
        [user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])],
        [turn("user", text("a"), text("b"))],
    ),
    "empty and null content says nothing": (
        [user("a"), assistant(None), user(""), user([]), user([{"type": "text", "text": ""}])],
        [turn("user", text("a"))],
    ),
    "a refusal is what was said": (
        [
            user("a"),
            {"role": "assistant", "content": None, "refusal": "No."},
            assistant([{"type": "refusal", "refusal": "Never."}]),
            user("b"),
        ],
        [
            turn("user", text("a")),
            turn("model", text("No."), text("Never.")),
            turn("user", text("b")),
        ],
    ),
    "a picture as data": (
        [user([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}])],
        [turn("user", {"inlineData": {"mimeType": "image/png", "data": PNG}})],
    ),
    "a picture of the type that is not quite one": (
        [user([{"type": "image_url", "image_url": f"data:image/JPG;base64,{PNG}"}])],
        [turn("user", {"inlineData": {"mimeType": "image/jpeg", "data": PNG}})],
    ),
    "a PDF": (
        [
            user(
                [
                    {
                        "type": "file",
                        "file": {
                            "filename": "a.pdf",
                            "file_data": f"data:application/pdf;base64,{PDF}",
                        },
                    },
                    {"type": "file", "file": {"file_data": PDF}},
                ]
            )
        ],
        [
            turn(
                "user",
                {"inlineData": {"mimeType": "application/pdf", "data": PDF}},
                {"inlineData": {"mimeType": "application/pdf", "data": PDF}},
            )
        ],
    ),
    "audio": (
        [user([{"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}}])],
        [turn("user", {"inlineData": {"mimeType": "audio/wav", "data": PNG}})],
    ),
    "text next to a tool call, and its answer": (
        [user("a"), assistant("I look.", ("c1", "f", '{"x": 1}')), result("c1", "42")],
        [
            turn("user", text("a")),
            turn("model", text("I look."), call("c1", "f", {"x": 1}, NO_SIGNATURE)),
            turn("user", answer("c1", "f", output="42")),
        ],
    ),
    "parallel calls: one signature; answers in one turn, in the order of the calls": (
        [
            user("a"),
            assistant(None, ("c1", "f", "{}"), ("c2", "g", "")),
            result("c2", "two"),
            result("c1", [{"type": "text", "text": "one"}, {"type": "text", "text": "more"}]),
            user("go on"),
        ],
        [
            turn("user", text("a")),
            turn("model", call("c1", "f", {}, NO_SIGNATURE), call("c2", "g", {})),
            turn(
                "user",
                answer("c1", "f", output="one\nmore"),
                answer("c2", "g", output="two"),
                text("go on"),
            ),
        ],
    ),
    "steps one after the other: each has its signature": (
        [
            user("a"),
            assistant(None, ("c1", "f", "{}")),
            result("c1", "1"),
            assistant(None, ("c1", "g", "{}")),
            result("c1", "2"),
        ],
        [
            turn("user", text("a")),
            turn("model", call("c1", "f", {}, NO_SIGNATURE)),
            turn("user", answer("c1", "f", output="1")),
            turn("model", call("c1", "g", {}, NO_SIGNATURE)),
            turn("user", answer("c1", "g", output="2")),
        ],
    ),
    "a call that nobody answered": (
        [user("a"), assistant(None, ("c1", "f", "{}")), user("never mind")],
        [
            turn("user", text("a")),
            turn("model", call("c1", "f", {}, NO_SIGNATURE)),
            turn(
                "user",
                answer("c1", "f", error="The tool was not run, or its result is lost."),
                text("never mind"),
            ),
        ],
    ),
    "an empty tool result is an answer": (
        [user("a"), assistant(None, ("c1", "f", "{}")), result("c1", "")],
        [
            turn("user", text("a")),
            turn("model", call("c1", "f", {}, NO_SIGNATURE)),
            turn("user", answer("c1", "f", output="")),
        ],
    ),
    "a picture that a tool returned": (
        [
            user("a"),
            assistant(None, ("c1", "f", "{}")),
            result(
                "c1", [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]
            ),
        ],
        [
            turn("user", text("a")),
            turn("model", call("c1", "f", {}, NO_SIGNATURE)),
            turn(
                "user",
                answer("c1", "f", output=""),
                {"inlineData": {"mimeType": "image/png", "data": PNG}},
            ),
        ],
    ),
    "arguments that are no JSON object": (
        [user("a"), assistant(None, ("c1", "f", '{"x":'), ("c2", "f", "[1]")), result("c1", "1")],
        [
            turn("user", text("a")),
            turn(
                "model",
                call("c1", "f", {"_raw": '{"x":'}, NO_SIGNATURE),
                call("c2", "f", {"_raw": "[1]"}),
            ),
            turn(
                "user",
                answer("c1", "f", output="1"),
                answer("c2", "f", error="The tool was not run, or its result is lost."),
            ),
        ],
    ),
    "a tool whose name Gemini would refuse": (
        [user("a"), assistant(None, ("c1", "7zip/x", "{}")), result("c1", "1")],
        [
            turn("user", text("a")),
            turn("model", call("c1", "_7zip_x", {}, NO_SIGNATURE)),
            turn("user", answer("c1", "_7zip_x", output="1")),
        ],
    ),
    "a trailing assistant turn is asked to go on": (
        [user("Count."), assistant("1, 2,")],
        [
            turn("user", text("Count.")),
            turn("model", text("1, 2,")),
            turn("user", text("Continue your last message exactly where it ends.")),
        ],
    ),
    "a conversation that begins with the assistant": (
        [assistant("Hello"), user("Hi")],
        [
            turn("user", text("(Earlier turns omitted.)")),
            turn("model", text("Hello")),
            turn("user", text("Hi")),
        ],
    ),
}


@pytest.mark.parametrize("name", TURNS)
def test_turns_become_contents(name: str) -> None:
    messages, contents = TURNS[name]
    body = body_of(*messages)
    assert body["contents"] == contents
    assert_sdk_would_send(body)


def test_instructions_anywhere_are_joined_in_order() -> None:
    body = body_of(
        {"role": "system", "content": "One."},
        user("a"),
        {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
    )
    assert body["systemInstruction"] == {"parts": [text("One.\n\nTwo.")]}
    assert body["contents"] == [turn("user", text("a"))]
    assert_sdk_would_send(body)


def test_an_instruction_alone_is_the_prompt() -> None:
    body = body_of({"role": "system", "content": "Say hi."})
    assert body == {
        "contents": [turn("user", text("Say hi."))],
        "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
    }


def test_fetched_pictures_go_inside() -> None:
    url = "https://example.com/cat.png"
    request = request_of(
        user([{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "?"}])
    )
    assert picture_urls(request) == {url: "messages[0].content[0]"}
    body = encode(request, NEW, pictures={url: (b"\x89PNG\r\n\x1a\n", "image/png")}).body
    assert body["contents"] == [
        turn("user", {"inlineData": {"mimeType": "image/png", "data": PNG}}, text("?"))
    ]
    assert_sdk_would_send(body)


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "a picture on the web that nobody fetched": (
        {"messages": [user([{"type": "image_url", "image_url": {"url": "https://x/y.png"}}])]},
        "messages[0].content[0]",
    ),
    "a GIF": (
        {
            "messages": [
                user([{"type": "image_url", "image_url": {"url": f"data:image/gif;base64,{PNG}"}}])
            ]
        },
        "messages[0].content[0]",
    ),
    "a picture that is not base64": (
        {
            "messages": [
                user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}])
            ]
        },
        "messages[0].content[0]",
    ),
    "a file kept elsewhere": (
        {"messages": [user([{"type": "file", "file": {"file_id": "file-1"}}])]},
        "messages[0].content[0]",
    ),
    "a spreadsheet": (
        {
            "messages": [
                user(
                    [
                        {
                            "type": "file",
                            "file": {"file_data": f"data:application/vnd.ms-excel;base64,{PDF}"},
                        }
                    ]
                )
            ]
        },
        "messages[0].content[0]",
    ),
    "an audio format": (
        {
            "messages": [
                user([{"type": "input_audio", "input_audio": {"data": PNG, "format": "amr"}}])
            ]
        },
        "messages[0].content[0]",
    ),
    "a part nobody knows": (
        {"messages": [user("a"), user([{"type": "hologram"}])]},
        "messages[1].content[0]",
    ),
    "an earlier spoken answer": (
        {"messages": [user("a"), {"role": "assistant", "audio": {"id": "audio_1"}}, user("b")]},
        "messages[1].audio",
    ),
    "a picture among the instructions": (
        {
            "messages": [
                {
                    "role": "system",
                    "content": [
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
                    ],
                }
            ]
        },
        "messages[0]",
    ),
    "a tool result without its call": (
        {"messages": [user("a"), result("c1", "1")]},
        "messages[1].tool_call_id",
    ),
    "a tool result given twice": (
        {
            "messages": [
                user("a"),
                assistant(None, ("c1", "f", "{}")),
                result("c1", "1"),
                result("c1", "2"),
            ]
        },
        "messages[3].tool_call_id",
    ),
    "two calls with one id": (
        {"messages": [user("a"), assistant(None, ("c1", "f", "{}"), ("c1", "g", "{}"))]},
        "messages[1].tool_calls[1].id",
    ),
    "a custom tool call": (
        {
            "messages": [
                user("a"),
                {"role": "assistant", "tool_calls": [{"id": "c1", "type": "custom", "custom": {}}]},
            ]
        },
        "messages[1].tool_calls[0]",
    ),
    "a custom tool": (
        {"messages": [user("a")], "tools": [{"type": "custom", "custom": {"name": "f"}}]},
        "tools[0]",
    ),
    "old-style functions": ({"messages": [user("a")], "functions": [{"name": "f"}]}, "functions"),
    "several answers": ({"messages": [user("a")], "n": 2}, "n"),
    "a spoken answer": ({"messages": [user("a")], "modalities": ["text", "audio"]}, "modalities"),
    "nothing at all": ({"messages": [user("")]}, "messages"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_gemini_cannot_express_is_named(name: str) -> None:
    body, param = UNFIT[name]
    with pytest.raises(BackendUnfit) as caught:
        encode(ChatRequest(checked(body)), NEW)
    assert (caught.value.param, caught.value.status) == (param, 400)


WRONG: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": "hot"},
    "seed": {"seed": 1.5},
    "stop": {"stop": [1]},
    "reasoning_effort": {"reasoning_effort": "heroic"},
    "response_format": {"response_format": {"type": "xml"}},
    "response_format.json_schema": {"response_format": {"type": "json_schema"}},
    "tool_choice": {
        "tools": [function()],
        "tool_choice": {"type": "function", "function": {"name": "g"}},
    },
    "tools[0].function.name": {"tools": [function("")]},
}


@pytest.mark.parametrize("param", WRONG)
def test_what_nobody_could_do_is_the_callers_mistake(param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body_of(**WRONG[param])
    assert caught.value.param == param


def test_a_choice_of_tools_needs_tools() -> None:
    with pytest.raises(InvalidRequest):
        body_of(tool_choice="required")


KNOBS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "max_tokens": ({"max_tokens": 7}, {"maxOutputTokens": 7}),
    "max_completion_tokens wins": (
        {"max_tokens": 7, "max_completion_tokens": 9},
        {"maxOutputTokens": 9},
    ),
    "stop as text": ({"stop": "END"}, {"stopSequences": ["END"]}),
    "stop as list": ({"stop": ["a", "", "b"]}, {"stopSequences": ["a", "b"]}),
    "temperature": ({"temperature": 0}, {"temperature": 0}),
    "top_p": ({"top_p": 0.9}, {"topP": 0.9}),
    "top_k": ({"top_k": 40}, {"topK": 40}),
    "seed": ({"seed": 42}, {"seed": 42}),
    "a seed beyond 32 bits": ({"seed": 2**40 + 5}, {"seed": 5}),
    "penalties": (
        {"presence_penalty": 0.5, "frequency_penalty": -1},
        {"presencePenalty": 0.5, "frequencyPenalty": -1},
    ),
    "penalties of zero are none": ({"presence_penalty": 0, "frequency_penalty": 0.0}, {}),
    "text is no format": ({"response_format": {"type": "text"}}, {}),
    "json_object": (
        {"response_format": {"type": "json_object"}},
        {"responseMimeType": "application/json"},
    ),
    "json_schema": (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {
                    "name": "n",
                    "strict": True,
                    "schema": {
                        "$schema": "https://json-schema.org/draft/2020-12/schema",
                        "type": "object",
                        "properties": {"a": {"type": "string"}},
                        "required": ["a", "b"],
                        "additionalProperties": False,
                    },
                },
            }
        },
        {
            "responseMimeType": "application/json",
            "responseJsonSchema": {
                "type": "object",
                "properties": {"a": {"type": "string"}},
                "required": ["a"],
                "additionalProperties": False,
            },
        },
    ),
}


@pytest.mark.parametrize("name", KNOBS)
def test_knobs_become_generation_config(name: str) -> None:
    fields, expected = KNOBS[name]
    body = body_of(model="gemini-2.0-flash", **fields)
    assert body.get("generationConfig", {}) == expected
    assert_sdk_would_send(body)


THINKING: list[tuple[str, str | None, dict[str, Any] | None]] = [
    ("gemini-2.0-flash", "high", None),
    ("gemma-3-27b-it", "high", None),
    ("gemini-2.5-flash-image", "low", None),
    ("gemini-2.5-flash", None, {"includeThoughts": True}),
    ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
    ("gemini-2.5-flash", "minimal", {"thinkingBudget": 512, "includeThoughts": True}),
    ("gemini-2.5-flash", "low", {"thinkingBudget": 1024, "includeThoughts": True}),
    ("gemini-2.5-flash", "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
    ("gemini-2.5-flash", "high", {"thinkingBudget": 24576, "includeThoughts": True}),
    ("gemini-2.5-flash", "max", {"thinkingBudget": 24576, "includeThoughts": True}),
    ("gemini-2.5-pro", "none", {"thinkingBudget": 128, "includeThoughts": True}),
    ("gemini-2.5-flash-lite", None, None),
    ("gemini-2.5-flash-lite", "low", {"thinkingBudget": 1024, "includeThoughts": True}),
    ("gemini-3-flash-preview", None, {"includeThoughts": True}),
    ("gemini-3-flash-preview", "none", {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
    ("gemini-3-flash-preview", "minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
    ("gemini-3-flash-preview", "low", {"thinkingLevel": "LOW", "includeThoughts": True}),
    ("gemini-3-flash-preview", "medium", {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
    ("gemini-3-flash-preview", "high", {"thinkingLevel": "HIGH", "includeThoughts": True}),
    ("gemini-3-flash-preview", "xhigh", {"thinkingLevel": "XHIGH", "includeThoughts": True}),
    ("models/gemini-3-pro", "medium", {"thinkingLevel": "HIGH", "includeThoughts": True}),
    ("gemini-3.1-pro-preview", "medium", {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
    ("gemini-3.1-pro-preview", "minimal", {"thinkingLevel": "LOW", "includeThoughts": True}),
    ("gemini-3.8-flash", "none", {"thinkingLevel": "LOW", "includeThoughts": True}),
    ("gemini-flash-latest", "low", {"thinkingLevel": "LOW", "includeThoughts": True}),
]


@pytest.mark.parametrize(("model", "effort", "expected"), THINKING)
def test_effort_becomes_what_the_generation_knows(
    model: str, effort: str | None, expected: dict[str, Any] | None
) -> None:
    encoded = encode(request_of(reasoning_effort=effort), model)
    assert encoded.body.get("generationConfig", {}).get("thinkingConfig") == expected
    lost = expected is None and effort is not None
    assert encoded.dropped == (("reasoning_effort",) if lost else ())
    assert_sdk_would_send(encoded.body)


def test_what_gemini_has_nothing_for_is_named() -> None:
    fields = {
        "logprobs": True,
        "top_logprobs": 3,
        "logit_bias": {"1": 2},
        "user": "u",
        "parallel_tool_calls": False,
        "verbosity": "low",
        "prediction": {"type": "content", "content": "x"},
    }
    named = {"role": "user", "content": "Hi", "name": "Ada"}
    assert encode(request_of(named, **fields), NEW).dropped == (*fields, "messages.name")


def test_what_asks_for_nothing_is_not_named() -> None:
    neutral = {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "n": 1,
        "logprobs": False,
        "top_logprobs": None,
        "logit_bias": {},
        "parallel_tool_calls": True,
        "modalities": ["text"],
        "store": False,
        "tools": [],
        "tool_choice": "auto",
    }
    assert encode(request_of(**neutral), NEW).dropped == ()


WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def test_tools_are_declared_with_json_schema() -> None:
    body = body_of(
        tools=[
            function("get_weather", description="Looks.", parameters=WEATHER),
            function("now", parameters={"type": "object", "properties": {}}),
            function("then"),
        ]
    )
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "get_weather",
                    "description": "Looks.",
                    "parametersJsonSchema": WEATHER,
                },
                {"name": "now"},
                {"name": "then"},
            ]
        }
    ]
    assert_sdk_would_send(body)


def named(*names: str, mode: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


CHOICES: list[tuple[Any, dict[str, Any], list[str]]] = [
    (None, {"mode": "AUTO"}, ["f", "g", "_1"]),
    ("auto", {"mode": "AUTO"}, ["f", "g", "_1"]),
    ("none", {"mode": "NONE"}, ["f", "g", "_1"]),
    ("required", {"mode": "ANY"}, ["f", "g", "_1"]),
    (
        {"type": "function", "function": {"name": "1"}},
        {"mode": "ANY", "allowedFunctionNames": ["_1"]},
        ["f", "g", "_1"],
    ),
    (
        named("g", "1", mode="required"),
        {"mode": "ANY", "allowedFunctionNames": ["g", "_1"]},
        ["f", "g", "_1"],
    ),
    (named("g", mode="auto"), {"mode": "AUTO"}, ["g"]),
]


@pytest.mark.parametrize(("choice", "calling", "declared"), CHOICES)
def test_the_choice_of_tools(choice: Any, calling: dict[str, Any], declared: list[str]) -> None:
    encoded = encode(
        request_of(tools=[function("f"), function("g"), function("1")], tool_choice=choice), NEW
    )
    assert encoded.body["toolConfig"] == {"functionCallingConfig": calling}
    assert [each["name"] for each in encoded.body["tools"][0]["functionDeclarations"]] == declared
    assert encoded.names == {"_1": "1"}
    assert_sdk_would_send(encoded.body)


def test_strict_tools_are_validated() -> None:
    tools = [function("f", parameters=WEATHER, strict=True)]
    config = body_of(tools=tools)["toolConfig"]["functionCallingConfig"]
    assert config == {"mode": "VALIDATED"}


def test_a_format_next_to_tools_is_put_into_words_before_gemini_3() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    request = request_of(user("Hi"), tools=[function()], response_format=form)
    old, new = encode(request, "gemini-2.5-flash"), encode(request, NEW)
    assert orjson.dumps(schema).decode() in old.body["systemInstruction"]["parts"][0]["text"]
    assert "responseMimeType" not in old.body["generationConfig"]
    assert old.dropped == ("response_format",)
    assert "systemInstruction" not in new.body
    assert new.body["generationConfig"]["responseJsonSchema"] == schema
    assert new.dropped == ()


def test_the_strict_form_has_only_what_every_model_takes() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": WEATHER}}
    request = request_of(
        tools=[function("f", parameters=WEATHER, strict=True), function("g", parameters={})],
        response_format=form,
        reasoning_effort="xhigh",
        presence_penalty=1,
        temperature=0.5,
    )
    strict = encode(request, NEW, strict=True)
    simple = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}
    assert strict.body["tools"] == [
        {"functionDeclarations": [{"name": "f", "parameters": simple}, {"name": "g"}]}
    ]
    assert strict.body["toolConfig"] == {"functionCallingConfig": {"mode": "AUTO"}}
    assert strict.body["generationConfig"] == {
        "temperature": 0.5,
        "thinkingConfig": {"thinkingLevel": "HIGH"},
        "responseMimeType": "application/json",
        "responseSchema": simple,
    }
    assert strict.dropped == ("presence_penalty",)
    assert_sdk_would_send(strict.body)


def test_a_signature_goes_back_with_its_call_and_no_placeholder_beside_it() -> None:
    vault = {"c1": {SIGNATURE: "QUJD"}}
    messages = [user("a"), assistant(None, ("c1", "f", "{}"), ("c2", "f", "{}")), result("c1", "1")]
    body = encode(request_of(*messages), NEW, recall=vault.get).body
    assert body["contents"][1] == turn("model", call("c1", "f", {}, "QUJD"), call("c2", "f", {}))
    assert_sdk_would_send(body)


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-2.0-flash", "gemma-3-27b-it"])
def test_models_that_need_no_signature_get_no_placeholder(model: str) -> None:
    body = body_of(user("a"), assistant(None, ("c1", "f", "{}")), result("c1", "1"), model=model)
    assert body["contents"][1] == turn("model", call("c1", "f", {}))


def test_the_placeholder_is_the_documented_one() -> None:
    documented = types.Part(text="x", thought_signature=b"skip_thought_signature_validator")
    assert documented.model_dump(mode="json")["thought_signature"] == NO_SIGNATURE


def test_the_callers_request_is_left_as_it_was() -> None:
    request = request_of(
        user("a"),
        assistant("b", ("c1", "f", "{}")),
        result("c1", "1"),
        user("c"),
        tools=[function("f", parameters=WEATHER)],
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": WEATHER}},
    )
    before = orjson.dumps(request.body)
    encode(request, NEW)
    encode(request, NEW, strict=True)
    assert orjson.dumps(request.body) == before


def test_importing_the_format_does_not_import_the_sdk() -> None:
    code = "import sys, router.wire.gemini; sys.exit('google.genai' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


ids = st.sampled_from(["c1", "c2", "c3"])
part_types = st.sampled_from(["text", "image_url", "input_audio", "file", "refusal", "hologram"])
parts = st.one_of(
    st.builds(lambda t: {"type": "text", "text": t}, st.text(max_size=5)),
    st.just({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}),
    st.just({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}}),
    st.builds(
        lambda kind, more: more | {"type": kind},
        part_types,
        st.dictionaries(
            st.sampled_from(["text", "image_url", "input_audio", "file"]), json_values, max_size=2
        ),
    ),
)
contents = st.none() | st.text(max_size=8) | st.lists(parts, max_size=3)
tool_calls = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "id": ids | json_values,
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {"name": st.sampled_from(["f", "1x"])},
                optional={"arguments": st.just('{"a":1}') | json_values},
            )
            | json_values,
        },
    ),
    max_size=3,
)
messages = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "developer"]), "content": contents}
    ),
    st.fixed_dictionaries(
        {"role": st.just("assistant")},
        optional={
            "content": contents,
            "tool_calls": tool_calls,
            "refusal": json_values,
            "audio": json_values,
        },
    ),
    st.fixed_dictionaries(
        {"role": st.sampled_from(["tool", "function"]), "content": contents},
        optional={"tool_call_id": ids | json_values, "name": st.just("f")},
    ),
    st.builds(lambda id: assistant("x", (id, "f", "{}")), ids),
    st.builds(lambda id, content: result(id, content), ids, contents),
)
schemas = st.recursive(
    json_values,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(
                ["object", "string", "array", ["string", "null"], ["string", "integer"]]
            ),
            "properties": st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
            "required": st.just(["a", "zzz"]) | json_values,
            "items": inner,
            "anyOf": st.lists(inner, max_size=2),
            "oneOf": st.lists(inner, max_size=2),
            "allOf": st.lists(inner, max_size=2),
            "$ref": st.sampled_from(["#/$defs/d", "#/definitions/d", "#/nowhere"]),
            "$defs": st.dictionaries(st.just("d"), inner, max_size=1),
            "definitions": st.dictionaries(st.just("d"), inner, max_size=1),
            "const": json_values,
            "enum": json_values,
            "additionalProperties": inner,
            "$schema": st.just("x"),
            "not": inner,
        },
    ),
    max_leaves=6,
)
tools = st.lists(
    st.builds(
        lambda name, schema: function(name, parameters=schema, description="d"),
        st.sampled_from(["f", "g", "1x"]),
        schemas,
    )
    | st.just({"type": "custom", "custom": {"name": "c"}}),
    max_size=2,
)
chat_bodies = st.fixed_dictionaries(
    {"messages": st.lists(messages, min_size=1, max_size=5)},
    optional={
        "tools": st.none() | tools,
        "tool_choice": st.sampled_from(["auto", "none", "required"]) | json_values,
        "response_format": json_values
        | st.builds(lambda s: {"type": "json_schema", "json_schema": {"schema": s}}, schemas),
        "reasoning_effort": st.sampled_from(["none", "high"]) | json_values,
        "max_tokens": st.integers(1, 9),
        "stop": json_values,
        "seed": st.integers() | json_values,
        "temperature": st.floats(0, 2) | json_values,
        "n": json_values,
        "modalities": json_values,
        "logit_bias": json_values,
        "whatever": json_values,
    },
)


@given(chat_bodies, st.sampled_from([NEW, "gemini-2.5-pro", "gemini-2.0-flash"]), st.booleans())
def test_any_chat_body_is_encoded_or_refused_by_name(body: Any, model: str, strict: bool) -> None:
    try:
        encoded = encode(ChatRequest(checked(body)), model, strict=strict)
    except (InvalidRequest, BackendUnfit) as error:
        named = error.param
    else:
        assert_wellformed(encoded.body)
        named = "nothing"
    assert named


def assert_wellformed(body: dict[str, Any]) -> None:
    said = body["contents"]
    assert [each["role"] for each in said] == [("user", "model")[i % 2] for i in range(len(said))]
    assert said[-1]["role"] == "user"
    for before, after in itertools.pairwise(said):
        called = [part["functionCall"]["id"] for part in before["parts"] if "functionCall" in part]
        answered = [p["functionResponse"]["id"] for p in after["parts"] if "functionResponse" in p]
        assert called == answered
    assert all(content["parts"] and {} not in content["parts"] for content in said)
    assert_sdk_would_send(body)


@given(st.recursive(st.just({"type": "string"}), lambda s: st.builds(lambda a: {"items": a}, s)))
def test_deep_things_are_fine(schema: Any) -> None:
    body_of(tools=[function("f", parameters={"properties": {"a": schema}})])


def test_what_is_nested_too_deep_is_named() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(900):
        schema = {"type": "array", "items": schema}
    with pytest.raises(BackendUnfit) as caught:
        body_of(tools=[function("f", parameters={"properties": {"a": schema}})])
    assert caught.value.param == "tools[0].function.parameters"


def test_every_failure_is_one_of_ours() -> None:
    assert issubclass(gemini.Malformed, BackendBroken)
    assert issubclass(gemini.UnknownGeminiModel, RouterError)
