"""JSON Schema in Gemini's subset: all supported keywords, and no others."""

from typing import Any

import pytest
from hypothesis import given

from router.wire.gemini.schema import MAX_NODES, TooDeep, cleaned, strictest
from tests.support.gemini_words import schemas
from tests.support.google_published import validator

HONOURED = {
    *("$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum"),
    *("items", "prefixItems", "minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf"),
    *("properties", "additionalProperties", "required", "propertyOrdering"),
}
"""As the SDK documents `response_json_schema`."""

STRING, INTEGER = {"type": "string"}, {"type": "integer"}
ROWS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "a plain one": (
        {"type": "object", "properties": {"a": {"type": "string", "description": "A."}}},
        {"type": "object", "properties": {"a": {"type": "string", "description": "A."}}},
        {"type": "OBJECT", "properties": {"a": {"type": "STRING", "description": "A."}}},
    ),
    "keywords it does not know": (
        {
            "$schema": "x",
            "$comment": "x",
            "type": "integer",
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 9,
            "multipleOf": 2,
            "default": 1,
            "examples": [1],
            "not": {"type": "null"},
            "if": {},
            "then": {},
            "else": {},
            "deprecated": True,
            "enumDescriptions": [],
        },
        {"type": "integer"},
        {"type": "INTEGER"},
    ),
    "keywords of arrays and objects that it does not know": (
        {
            "type": "object",
            "patternProperties": {"x": {}},
            "propertyNames": {},
            "properties": {"a": {"type": "array", "items": STRING, "uniqueItems": True}},
        },
        {"type": "object", "properties": {"a": {"type": "array", "items": STRING}}},
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "ARRAY", "items": {"type": "STRING"}}},
        },
    ),
    "properties named like keywords": (
        {"type": "object", "properties": {"const": STRING, "$schema": STRING, "not": STRING}},
        {"type": "object", "properties": {"const": STRING, "$schema": STRING, "not": STRING}},
        {
            "type": "OBJECT",
            "properties": {name: {"type": "STRING"} for name in ("const", "$schema", "not")},
        },
    ),
    "ranges": (
        {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}, "minItems": 1},
        {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}, "minItems": 1},
        {"type": "ARRAY", "items": {"type": "NUMBER"}},
    ),
    "additionalProperties": (
        {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}},
        {"type": "object", "additionalProperties": STRING},
        {"type": "OBJECT"},
    ),
    "a const": ({"const": "a"}, {"enum": ["a"]}, {"type": "STRING", "enum": ["a"]}),
    "numbers to choose from": (
        {"type": "integer", "enum": [1, 2]},
        {"type": "integer", "enum": [1, 2]},
        {"type": "INTEGER"},
    ),
    "a null among the values": (
        {"type": ["string", "null"], "enum": ["a", None]},
        {"type": ["string", "null"], "enum": ["a"]},
        {"type": "STRING", "enum": ["a"], "nullable": True},
    ),
    "booleans to choose from": (
        {"type": "boolean", "enum": [True]},
        {"type": "boolean"},
        {"type": "BOOLEAN"},
    ),
    "several types": (
        {"type": ["string", "integer", "null"]},
        {"anyOf": [STRING, INTEGER, {"type": "null"}]},
        {"type": "STRING", "nullable": True},
    ),
    "oneOf": (
        {"oneOf": [INTEGER, STRING]},
        {"anyOf": [INTEGER, STRING]},
        {"type": "INTEGER"},
    ),
    "anyOf with null": (
        {"anyOf": [{"type": "null"}, STRING], "description": "D."},
        {"anyOf": [{"type": "null"}, STRING], "description": "D."},
        {"type": "STRING", "description": "D.", "nullable": True},
    ),
    "required that is no property": (
        {"type": "object", "properties": {"a": STRING}, "required": ["b", "a", "a", 1]},
        {"type": "object", "properties": {"a": STRING}, "required": ["a"]},
        {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["a"]},
    ),
    "allOf": (
        {
            "allOf": [
                {"type": "object", "properties": {"a": STRING}, "required": ["a"]},
                {"properties": {"b": INTEGER}, "required": ["b"]},
            ]
        },
        {"type": "object", "properties": {"a": STRING, "b": INTEGER}, "required": ["a", "b"]},
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "STRING"}, "b": {"type": "INTEGER"}},
            "required": ["a", "b"],
        },
    ),
    "a reference": (
        {"$ref": "#/definitions/d", "description": "D.", "definitions": {"d": STRING}},
        {"$ref": "#/$defs/d", "$defs": {"d": STRING}},
        {"type": "STRING", "description": "D."},
    ),
    "a reference wrapped to be described": (
        {"allOf": [{"$ref": "#/$defs/d"}], "description": "D.", "$defs": {"d": STRING}},
        {"$ref": "#/$defs/d", "$defs": {"d": STRING}},
        {"type": "STRING", "description": "D."},
    ),
    "a reference and more": (
        {
            "allOf": [{"$ref": "#/$defs/d"}, {"properties": {"b": INTEGER}}],
            "$defs": {"d": {"type": "object", "properties": {"a": STRING}}},
        },
        {
            "type": "object",
            "properties": {"a": STRING, "b": INTEGER},
            "$defs": {"d": {"type": "object", "properties": {"a": STRING}}},
        },
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "STRING"}, "b": {"type": "INTEGER"}},
        },
    ),
    "a reference to itself": (
        {
            "$ref": "#/$defs/node",
            "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
        },
        {
            "$ref": "#/$defs/node",
            "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
        },
        {"type": "OBJECT", "properties": {"next": {"type": "OBJECT"}}},
    ),
    "a reference to nothing": (
        {"$ref": "#/nowhere"},
        {"$ref": "#/nowhere"},
        {"type": "OBJECT"},
    ),
    "tuples": (
        {"type": "array", "items": [STRING, INTEGER]},
        {"type": "array", "prefixItems": [STRING, INTEGER]},
        {"type": "ARRAY", "items": {"type": "STRING"}},
    ),
    "true": (True, {}, {"type": "STRING"}),
    "anything": ({}, {}, {"type": "STRING"}),
    "no type": (
        {"properties": {"a": {"items": STRING}}},
        {"properties": {"a": {"items": STRING}}},
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "ARRAY", "items": {"type": "STRING"}}},
        },
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_cleaned(name: str) -> None:
    schema, wanted, _ = ROWS[name]
    assert cleaned(schema) == wanted


@pytest.mark.parametrize("name", ROWS)
def test_strictest(name: str) -> None:
    schema, _, wanted = ROWS[name]
    assert strictest(schema) == wanted


def test_properties_are_written_in_the_order_of_the_schema() -> None:
    schema = {"type": "object", "properties": {"z": STRING, "a": STRING}}
    assert cleaned(schema, ordered=True)["propertyOrdering"] == ["z", "a"]
    assert strictest(schema, ordered=True)["propertyOrdering"] == ["z", "a"]


def test_an_order_that_was_given_is_kept() -> None:
    schema = {
        "type": "object",
        "properties": {"z": STRING, "a": STRING},
        "propertyOrdering": ["a", "z"],
    }
    assert cleaned(schema, ordered=True)["propertyOrdering"] == ["a", "z"]
    assert strictest(schema, ordered=True)["propertyOrdering"] == ["a", "z"]


def test_references_that_double_are_not_unfolded_forever() -> None:
    definitions: dict[str, Any] = {"d0": STRING}
    for i in range(1, 60):
        twice = {"$ref": f"#/$defs/d{i - 1}"}
        definitions[f"d{i}"] = {"type": "object", "properties": {"a": twice, "b": twice}}
    with pytest.raises(TooDeep):
        strictest({"$ref": "#/$defs/d59", "$defs": definitions})


def test_a_schema_with_too_many_parts_is_refused() -> None:
    schema = {"type": "object", "properties": {f"p{n}": STRING for n in range(MAX_NODES)}}
    for make in (cleaned, strictest):
        with pytest.raises(TooDeep):
            make(schema)


def test_an_allof_that_holds_itself_is_not_unfolded_forever() -> None:
    loop = {"allOf": [{"$ref": "#/$defs/d"}, {"properties": {"a": STRING}}]}
    for make in (cleaned, strictest):
        with pytest.raises(TooDeep):
            make({**loop, "$defs": {"d": loop}})


@given(schemas)
def test_nothing_unknown_is_left(schema: Any) -> None:
    try:
        assert_honoured(cleaned(schema))
        validator("Schema").validate(strictest(schema))
    except TooDeep:
        pass


def assert_honoured(schema: dict[str, Any]) -> None:
    assert schema.keys() <= HONOURED
    if "$ref" in schema:
        assert schema.keys() <= {"$ref", "$defs"}
    assert set(schema.get("required", ())) <= schema.get("properties", {}).keys()
    for name in ("properties", "$defs"):
        for each in schema.get(name, {}).values():
            assert_honoured(each)
    for name in ("anyOf", "prefixItems"):
        for each in schema.get(name, ()):
            assert_honoured(each)
    for name in ("items", "additionalProperties"):
        if isinstance(each := schema.get(name), dict):
            assert_honoured(each)


@pytest.mark.parametrize(
    ("schema", "kept", "strictly"),
    [
        ({"type": "string", "pattern": "a+", "maxLength": 9}, ["maxLength", "pattern"], []),
        ({"type": "string", "format": "date"}, [], ["format"]),
        ({"type": "integer", "minimum": 1, "multipleOf": 2}, ["multipleOf"], ["minimum"]),
        ({"type": "array", "items": {"type": "string", "pattern": "a"}}, ["pattern"], []),
        ({"anyOf": [STRING, INTEGER]}, [], ["anyOf"]),
        ({"anyOf": [STRING, {"type": "null"}]}, [], []),
        ({"enum": ["a", True]}, ["enum"], []),
        ({"type": ["string", "null"], "enum": ["a", None]}, [], []),
        ({"const": False}, ["const"], []),
        ({"$schema": "x", "$comment": "y", "title": "T", "type": "string"}, [], []),
        ({"type": "object", "properties": {"pattern": STRING}}, [], []),
        ({"type": "string", "x\r\ny": 1, "x" * 99: 1}, [], []),
    ],
)
def test_keywords_that_are_lost_are_named(
    schema: Any, kept: list[str], strictly: list[str]
) -> None:
    lost: dict[str, None] = {}
    cleaned(schema, lost=lost)
    assert [*lost] == kept
    lost.clear()
    strictest(schema, lost=lost)
    assert {*lost} == {*kept, *strictly}
