"""Arguments and the schema they should fit."""

from typing import Any

import pytest

from router.answers.tool_schema import allows, undeclared

PATH = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}


def doubling(lines: int) -> dict[str, Any]:
    """A schema that unfolds to two to the power of its lines."""
    both = {n: {"anyOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(lines)}
    defs = {str(n): schema for n, schema in both.items()} | {str(lines): {"type": "string"}}
    return {"$defs": defs, "$ref": "#/$defs/0"}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"properties": {"path": {}}}
    for _ in range(depth):
        schema = {"allOf": [schema], "unevaluatedProperties": False}
    return schema


@pytest.mark.parametrize(
    ("value", "allowed"),
    [({"path": "a"}, True), ({"path": 1}, False), ({}, False), (["path"], False)],
)
def test_arguments_are_held_against_their_schema(value: Any, allowed: bool) -> None:
    assert allows(PATH, value) is allowed


def test_a_schema_without_an_end_allows_everything() -> None:
    assert allows(doubling(100), {"path": 1})
    assert allows(nested(100), {"path": 1})
    assert not allows(PATH, {"path": 1})


def test_a_thousand_different_objects_are_not_compared_with_each_other() -> None:
    unique = {"type": "object", "properties": {"rows": {"uniqueItems": True}}}
    assert allows(unique, {"rows": [{"row": 1}] * 100_000})


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        (PATH, ["depth"]),
        (PATH | {"additionalProperties": True}, []),
        (PATH | {"anyOf": [{"properties": {"depth": {}}}]}, []),
        ({"type": "object", "properties": {}}, []),
        ({"type": "object"}, []),
        ({"properties": "none"}, []),
        (None, []),
    ],
)
def test_an_undeclared_argument_is_found_if_all_are_declared(schema: Any, names: list[str]) -> None:
    assert undeclared(schema, {"path": "a", "depth": 2}) == names
    assert undeclared(schema, {"path": "a"}) == []
    assert undeclared(schema, ["path"]) == []
