"""Any chat body is encoded for Gemini, or refused with the part that is wrong."""

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from router.errors import BackendUnfit, InvalidRequest
from router.request import ChatRequest, checked
from router.wire.gemini.generate_content import encode
from tests.support.gemini_rules import assert_wellformed
from tests.support.gemini_words import (
    NEW,
    PDF,
    PNG,
    assistant,
    function,
    json_values,
    result,
    schemas,
    user,
)

words = st.text(max_size=5)
parts = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, words),
    st.just({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}),
    st.just({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}}),
    st.just({"type": "input_audio", "input_audio": {"data": PNG, "format": "mp3"}}),
)
contents = st.none() | words | st.lists(parts, max_size=3)
texts = st.none() | words | st.lists(parts.filter(lambda part: "text" in part), max_size=2)
arguments = st.sampled_from(["", "{}", '{"a":[null,1.5,"\\u2028"]}', "[1]", "{broken"])


@st.composite
def steps(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Tool calls and some of their results, in any order."""
    ids = draw(st.lists(st.sampled_from("abcd"), min_size=1, unique=True))
    calls = [(id, draw(st.sampled_from(["f", "g", "1x", "ü"])), draw(arguments)) for id in ids]
    answered = draw(st.permutations(ids))[: draw(st.integers(0, len(ids)))]
    return [assistant(draw(texts), *calls), *(result(id, draw(contents)) for id in answered)]


turns = st.one_of(
    st.builds(lambda content: [user(content)], contents),
    st.builds(lambda content: [assistant(content)], texts),
    st.builds(
        lambda r, c: [{"role": r, "content": c}], st.sampled_from(["system", "developer"]), texts
    ),
    steps(),
)
conversations = st.lists(turns, min_size=1, max_size=5).map(
    lambda each: list(itertools.chain(*each))
)
tools = st.lists(
    st.builds(
        lambda name, schema, strict: function(name, parameters=schema, strict=strict),
        st.sampled_from(["f", "g", "1x"]),
        schemas,
        st.booleans(),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda tool: tool["function"]["name"],
)
formats = st.sampled_from([{"type": "text"}, {"type": "json_object"}]) | st.builds(
    lambda schema: {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}, schemas
)
good_bodies = st.fixed_dictionaries(
    {"messages": conversations},
    optional={
        "tools": tools,
        "tool_choice": st.sampled_from(["auto", "none"]),
        "response_format": formats,
        "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "max"]),
        "max_tokens": st.integers(1, 9),
        "stop": words | st.lists(words, max_size=4),
        "seed": st.integers(),
        "temperature": st.floats(0, 2),
        "top_k": st.integers(1, 40),
        "presence_penalty": st.floats(-2, 2),
        "logit_bias": json_values,
        "whatever": json_values,
    },
)
odd_fields = st.sampled_from(
    [
        *("tools", "tool_choice", "response_format", "reasoning_effort", "stop", "seed", "n"),
        *("temperature", "top_k", "modalities", "functions", "audio", "parallel_tool_calls"),
    ]
)
odd_parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "input_audio", "file", "refusal", "hologram"])},
    optional=dict.fromkeys(["text", "image_url", "input_audio", "file", "refusal"], json_values),
)
odd_messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "function"])},
    optional={
        "content": st.lists(odd_parts, max_size=2),
        "tool_calls": st.lists(
            st.fixed_dictionaries({}, optional={"id": json_values, "function": json_values}),
            max_size=2,
        ),
        "tool_call_id": json_values,
        "refusal": json_values,
        "audio": json_values,
        "name": json_values,
    },
)
models = st.sampled_from([NEW, "gemini-3-pro-preview", "gemini-2.5-pro", "gemini-2.0-flash"])


@given(good_bodies, models, st.booleans())
def test_good_bodies_are_encoded(body: Any, model: str, strict: bool) -> None:
    try:
        encoded = encode(ChatRequest(checked(body)), model, strict=strict)
    except BackendUnfit as error:
        said_something = error.param != "messages"
    else:
        said_something = True
        assert_wellformed(encoded.body)
    # Only a conversation without a word in it cannot be put to Gemini.
    assert said_something or not any(
        message.get("tool_calls") or any(_words(message)) for message in body["messages"]
    )


@given(good_bodies, odd_fields, json_values, models)
def test_a_field_of_any_kind_is_encoded_or_named(
    body: Any, field: str, value: Any, model: str
) -> None:
    encoded_or_named(body | {field: value}, model)


@given(good_bodies, odd_messages, st.integers(0, 9), models)
def test_a_message_of_any_kind_is_encoded_or_named(
    body: Any, message: Any, place: int, model: str
) -> None:
    messages = list(body["messages"])
    messages.insert(place, message)
    encoded_or_named(body | {"messages": messages}, model)


def encoded_or_named(body: Any, model: str) -> None:
    try:
        encoded = encode(ChatRequest(checked(body)), model)
    except (InvalidRequest, BackendUnfit) as error:
        named = error.param
    else:
        assert_wellformed(encoded.body)
        named = "nothing"
    assert named


def _words(message: dict[str, Any]) -> list[Any]:
    content = message["content"]
    return [content] if isinstance(content, str) else [p.get("text", p) for p in content or ()]
