"""Settings of Gemini's answers: sampling, thinking, output formats, tools and their choice."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import BackendUnfit, InvalidRequest
from router.wire.gemini.generate_content import encode
from tests.support.gemini_words import (
    NEW,
    WEATHER,
    assert_valid,
    body_of,
    function,
    request_of,
    user,
)

WRONG: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": "hot"},
    "top_k": {"top_k": 1.5},
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
    "top_logprobs": {"logprobs": True, "top_logprobs": 21},
}


@pytest.mark.parametrize("param", WRONG)
def test_a_field_that_is_wrong_everywhere_is_an_invalid_request(param: str) -> None:
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
    "a negative seed beyond 32 bits": ({"seed": -(2**40) - 5}, {"seed": 2**31 - 5}),
    "penalties": (
        {"presence_penalty": 0.5, "frequency_penalty": -1},
        {"presencePenalty": 0.5, "frequencyPenalty": -1},
    ),
    "log probabilities": ({"logprobs": True}, {"responseLogprobs": True}),
    "log probabilities of other tokens": (
        {"logprobs": True, "top_logprobs": 5},
        {"responseLogprobs": True, "logprobs": 5},
    ),
    "log probabilities of no other tokens": (
        {"logprobs": True, "top_logprobs": 0},
        {"responseLogprobs": True},
    ),
    "no log probabilities": ({"logprobs": False, "top_logprobs": 0}, {}),
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
def test_parameters_become_generation_config(name: str) -> None:
    fields, expected = KNOBS[name]
    body = body_of(model="gemini-2.0-flash", **fields)
    assert body.get("generationConfig", {}) == expected
    assert_valid(body)


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
    ("gemini-3-flash-preview", "xhigh", {"thinkingLevel": "HIGH", "includeThoughts": True}),
    ("gemini-3.8-flash", "xhigh", {"thinkingLevel": "XHIGH", "includeThoughts": True}),
    ("gemini-3.8-flash", "max", {"thinkingLevel": "XHIGH", "includeThoughts": True}),
    ("models/gemini-3-pro", "medium", {"thinkingLevel": "HIGH", "includeThoughts": True}),
    ("gemini-3.1-pro-preview", "medium", {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
    ("gemini-3.1-pro-preview", "minimal", {"thinkingLevel": "LOW", "includeThoughts": True}),
    ("gemini-3.8-flash", "none", {"thinkingLevel": "LOW", "includeThoughts": True}),
    ("gemini-flash-latest", "low", {"thinkingLevel": "LOW", "includeThoughts": True}),
]


@pytest.mark.parametrize(("model", "effort", "expected"), THINKING)
def test_effort_becomes_the_setting_of_the_models_generation(
    model: str, effort: str | None, expected: dict[str, Any] | None
) -> None:
    encoded = encode(request_of(reasoning_effort=effort), model)
    assert encoded.body.get("generationConfig", {}).get("thinkingConfig") == expected
    lost = expected is None and effort is not None
    assert encoded.dropped == (("reasoning_effort",) if lost else ())
    assert_valid(encoded.body)


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        ("flex", "flex"),
        ("priority", "priority"),
        ("fast", "priority"),
        ("auto", None),
        ("default", None),
        ("scale", None),
    ],
)
def test_tiers_that_gemini_has_are_asked_for(wanted: str, sent: str | None) -> None:
    encoded = encode(request_of(service_tier=wanted), NEW)
    assert encoded.body.get("serviceTier") == sent
    assert encoded.dropped == (("service_tier",) if wanted == "scale" else ())
    assert_valid(encoded.body)


def test_an_answer_is_never_longer_than_the_model_can_give() -> None:
    asked = request_of(max_tokens=100_000)
    for most, sent in ((None, 100_000), (65_536, 65_536), (200_000, 100_000)):
        body = encode(asked, NEW, most_tokens=most).body
        assert body["generationConfig"]["maxOutputTokens"] == sent
    assert (
        "maxOutputTokens" not in encode(request_of(), NEW, most_tokens=9).body["generationConfig"]
    )


def test_names_that_look_alike_once_changed_stay_different() -> None:
    names = ["files/read", "files read", "files_read", "1", "-1", "x" * 200, "x" * 201, "ü"]
    encoded = encode(request_of(tools=[function(name) for name in names]), NEW)
    sent = [each["name"] for each in encoded.body["tools"][0]["functionDeclarations"]]
    assert len(set(sent)) == len(names)
    assert [(encoded.names or {}).get(name, name) for name in sent] == names
    assert_valid(encoded.body)


def test_fields_that_gemini_does_not_support_are_reported() -> None:
    fields = {
        "logit_bias": {"1": 2},
        "user": "u",
        "parallel_tool_calls": False,
        "verbosity": "low",
        "prediction": {"type": "content", "content": "x"},
        "web_search_options": {},
    }
    named = {"role": "user", "content": "Hi", "name": "Ada"}
    assert encode(request_of(named, **fields), NEW).dropped == (*fields, "messages.name")


def test_fields_with_their_default_value_are_not_reported() -> None:
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
    assert_valid(body)


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
    (
        named("g", mode="auto"),
        {"mode": "VALIDATED", "allowedFunctionNames": ["g"]},
        ["f", "g", "_1"],
    ),
]


@pytest.mark.parametrize(("choice", "calling", "declared"), CHOICES)
def test_the_choice_of_tools(choice: Any, calling: dict[str, Any], declared: list[str]) -> None:
    encoded = encode(
        request_of(tools=[function("f"), function("g"), function("1")], tool_choice=choice), NEW
    )
    assert encoded.body["toolConfig"] == {"functionCallingConfig": calling}
    assert [each["name"] for each in encoded.body["tools"][0]["functionDeclarations"]] == declared
    assert encoded.names == {"_1": "1"}
    assert_valid(encoded.body)


def test_in_the_strict_form_only_the_tools_that_may_be_called_are_declared() -> None:
    request = request_of(tools=[function("f"), function("g")], tool_choice=named("g", mode="auto"))
    body = encode(request, NEW, strict=True).body
    assert body["tools"] == [{"functionDeclarations": [{"name": "g"}]}]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "AUTO"}}


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


def test_the_strict_form_has_only_fields_that_every_model_accepts() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": WEATHER}}
    request = request_of(
        tools=[function("f", parameters=WEATHER, strict=True), function("g", parameters={})],
        response_format=form,
        reasoning_effort="xhigh",
        presence_penalty=1,
        temperature=0.5,
        logprobs=True,
        service_tier="flex",
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
    assert strict.dropped == (*("tools.strict", "presence_penalty", "logprobs", "service_tier"),)
    assert_valid(strict.body)


@given(st.recursive(st.just({"type": "string"}), lambda s: st.builds(lambda a: {"items": a}, s)))
def test_deep_schemas_are_accepted(schema: Any) -> None:
    body_of(tools=[function("f", parameters={"properties": {"a": schema}})])


def test_a_schema_that_is_nested_too_deeply_is_named() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(900):
        schema = {"type": "array", "items": schema}
    with pytest.raises(BackendUnfit) as caught:
        body_of(tools=[function("f", parameters={"properties": {"a": schema}})])
    assert caught.value.param == "tools[0].function.parameters"


def test_lost_keywords_of_schemas_are_reported_with_their_field() -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}
    form = {"type": "json_schema", "json_schema": {"schema": {"type": "string", "minLength": 1}}}
    tools = [function("f", parameters=parameters), function("g", parameters=parameters)]
    sent = encode(request_of(tools=tools, response_format=form), NEW)
    assert sent.dropped == ("tools.pattern", "response_format.minLength")
