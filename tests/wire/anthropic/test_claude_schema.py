"""JSON schemas for answers and strict tools, in Claude's subset."""

from typing import Any

import orjson
import pytest

from router.wire.anthropic import claude
from router.wire.anthropic.claude_model import Abilities
from tests.support.claude_words import (
    ALL,
    MODEL,
    encoded,
    json_schema,
    named,
    request,
    system,
    text,
    user,
)

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "age": {"type": ["integer", "null"]},
    },
    "required": ["name", "age", "gone"],
    "additionalProperties": False,
}
STRICT_PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": '{"minLength":1}'},
        "age": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def test_a_json_schema_is_an_output_format() -> None:
    params = encoded(request(response_format=json_schema(PERSON)), abilities=ALL)
    assert params["output_config"] == {"format": {"type": "json_schema", "schema": STRICT_PERSON}}
    assert "system" not in params


def test_a_schemas_description_is_kept() -> None:
    params = encoded(request(response_format=json_schema(PERSON, description="A person.")))
    assert params["output_config"]["format"]["schema"]["description"] == "A person."


FREE_KEYS = {"type": "object", "additionalProperties": {"type": "integer"}}


@pytest.mark.parametrize(
    ("schema", "can"),
    [(FREE_KEYS, ALL), ({"type": "object"}, ALL), ({}, ALL), (PERSON, Abilities(structured=False))],
)
def test_a_schema_that_claude_cannot_enforce_is_put_into_words(schema: Any, can: Abilities) -> None:
    asked = request(system("s"), user("q"), response_format=json_schema(schema))
    params = encoded(asked, abilities=can)
    assert "output_config" not in params
    assert params["system"][0] == text("s")[0]
    assert orjson.dumps(schema).decode() in params["system"][1]["text"]
    assert claude.encode(asked, MODEL, max_tokens=1, abilities=can).dropped == ("response_format",)


@pytest.mark.parametrize("wanted", [{"type": "json_object"}, {"type": "json_schema"}])
def test_a_json_object_is_asked_for_in_an_instruction(wanted: Any) -> None:
    params = encoded(request(response_format=wanted))
    assert "one JSON object and nothing else" in params["system"][0]["text"]


def test_plain_text_is_the_usual_format() -> None:
    assert "system" not in encoded(request(response_format={"type": "text"}))


def strict(parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "x", "strict": True, "parameters": parameters}}


def test_strict_tools() -> None:
    [tool] = encoded(request(tools=[strict(PERSON)]), abilities=ALL)["tools"]
    assert tool == {"name": "x", "strict": True, "input_schema": STRICT_PERSON}


@pytest.mark.parametrize(
    ("parameters", "can"), [(FREE_KEYS, ALL), (PERSON, Abilities(structured=False))]
)
def test_strictness_that_claude_cannot_keep_is_reported_as_left_out(
    parameters: Any, can: Any
) -> None:
    asked = request(tools=[strict(parameters)])
    sent = claude.encode(asked, MODEL, max_tokens=1, abilities=can)
    assert sent.dropped == ("tools.strict",)
    assert sent.params["tools"] == [{"name": "x", "input_schema": {"properties": {}, **parameters}}]


TREE = {
    "type": "object",
    "properties": {"next": {"$ref": "#/$defs/n"}},
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"type": "integer", "minimum": 1}, {"type": "integer", "description": '{"minimum":1}'}),
        (
            {"type": "string", "format": "date", "description": "d"},
            {"type": "string", "format": "date", "description": "d"},
        ),
        (
            {"type": "string", "format": "phone", "description": "d"},
            {"type": "string", "description": 'd\n\n{"format":"phone"}'},
        ),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 3},
            {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "description": '{"maxItems":3}',
            },
        ),
        ({"type": "string", "enum": ["a", None]}, {"enum": ["a", None]}),
        ({"type": ["string", "null"], "enum": ["a", None]}, {"enum": ["a", None]}),
        ({"const": 3}, {"const": 3}),
        (
            {"oneOf": [{"type": "string"}, {"const": 1}]},
            {"anyOf": [{"type": "string"}, {"const": 1}]},
        ),
        ({"$ref": "#/$defs/n", "$defs": {"n": TREE}}, {"$defs": {"n": TREE}, "$ref": "#/$defs/n"}),
        (
            {
                "$schema": "x",
                "type": "object",
                "properties": {"a": {"type": "boolean", "title": "A"}},
            },
            {
                "type": "object",
                "properties": {"a": {"type": "boolean", "title": "A"}},
                "additionalProperties": False,
            },
        ),
    ],
)
def test_schemas_are_kept_as_far_as_the_grammar_goes(schema: Any, wanted: Any) -> None:
    asked = request(response_format=json_schema(schema))
    assert encoded(asked)["output_config"]["format"]["schema"] == wanted


@pytest.mark.parametrize("name", ["anyOf", "oneOf"])
def test_alternatives_at_the_top_of_a_tools_input_become_one_object(name: str) -> None:
    one = {"properties": {"a": {"type": "string"}}, "required": ["id", "a"]}
    other = {"properties": {"b": {"type": "string"}}, "required": ["id", "b"]}
    tool = named("x")
    tool["function"]["parameters"] = {
        "properties": {"id": {"type": "integer"}},
        name: [one, other, "rubbish"],
    }
    [made] = encoded(request(tools=[tool]))["tools"]
    assert made["input_schema"] == {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "id": {"type": "integer"}},
        "required": ["id"],
    }
