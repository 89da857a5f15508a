"""Any chat body is sent in a form that Claude accepts, or refused with the part that is wrong."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from router.errors import BackendUnfit, InvalidRequest
from router.wire.anthropic import claude
from router.wire.anthropic.claude_model import Abilities
from router.wire.chat import completions
from tests.support.claude_rules import assert_acceptable
from tests.support.claude_words import (
    ALL,
    ALWAYS_THINKING,
    MODEL,
    PDF,
    PICTURE,
    THOUGHT,
    json_schema,
    text,
)

words = st.sampled_from(["", " ", "a", "b.c", "🙂", '{"a":1}', "<system>"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=6,
)
ids = st.sampled_from(["a", "b", "call:1", ""]) | st.none() | st.integers(0, 1)
schemas = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "string", "array", ["string", "null"], 7]),
            "enum": st.lists(words, max_size=2),
            "description": words,
            "required": st.lists(words, max_size=2) | st.none(),
            "additionalProperties": st.booleans(),
            "minLength": st.integers(0, 2),
            "format": words,
        },
    ),
    lambda inner: (
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(words, inner, max_size=2)}
        )
        | st.fixed_dictionaries({"anyOf": st.lists(inner, max_size=2)})
        | st.fixed_dictionaries({"type": st.just("array"), "items": inner})
    ),
    max_leaves=5,
)
parts = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": words}),
    st.fixed_dictionaries({"type": st.just("refusal"), "refusal": words}),
    st.just(PICTURE),
    st.just({"type": "file", "file": {"file_data": PDF}}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "image_url", "file", "input_audio"])},
        optional={"text": json_values, "image_url": json_values, "file": json_values},
    ),
)
plain_parts = st.lists(parts, max_size=2)
contents = st.none() | words | plain_parts
functions = st.fixed_dictionaries(
    {}, optional={"name": words | st.integers(0, 9), "arguments": json_values}
)
calls = st.fixed_dictionaries(
    {}, optional={"id": ids, "function": functions | json_values, "custom": json_values}
)
messages = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer", "user"]), "content": contents},
        optional={"name": words},
    ),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": contents},
        optional={
            "tool_calls": st.none() | st.lists(calls, max_size=3),
            "refusal": json_values,
            "function_call": json_values,
            "audio": json_values,
        },
    ),
    st.fixed_dictionaries(
        {"role": st.sampled_from(["tool", "function"]), "content": contents},
        optional={"tool_call_id": ids, "name": words},
    ),
)
tools = st.builds(
    lambda name, schema, strict: {
        "type": "function",
        "function": {"name": name or "x", "parameters": schema, "strict": strict},
    },
    words,
    schemas | json_values,
    st.booleans(),
)
bodies = st.fixed_dictionaries(
    {"messages": st.lists(messages, min_size=1, max_size=7)},
    optional={
        "tools": st.none() | st.lists(tools, max_size=2),
        "tool_choice": st.sampled_from(["auto", "none", "required"]) | json_values,
        "parallel_tool_calls": json_values,
        "response_format": st.builds(json_schema, schemas) | json_values,
        "stop": json_values,
        "reasoning_effort": st.sampled_from(["none", "low", "xhigh"]) | json_values,
        "user": json_values,
        "n": st.just(1) | json_values,
        "modalities": json_values,
        "temperature": json_values,
    },
)


@given(bodies, st.sampled_from([Abilities(), ALL, ALWAYS_THINKING]), st.booleans())
def test_any_body_is_sent_in_a_form_that_claude_takes_or_is_unfit(
    body: dict[str, Any], can: Abilities, remembers: bool
) -> None:
    asked = completions.parse(orjson.dumps(body))
    kept = {"a": {"before": [THOUGHT, *text("a")]}} if remembers else {}
    try:
        sent = claude.encode(asked, MODEL, max_tokens=99, abilities=can, recall=kept.get)
    except (BackendUnfit, InvalidRequest):
        return
    assert_acceptable(sent.params)
    assert orjson.loads(orjson.dumps(sent.params)) == sent.params
    assert all(name.isascii() for name in sent.dropped)
