"""Converter of JSON Schemas to the subset that Claude accepts.

Source: Anthropic API reference, "Structured outputs" and "Tool use"; the anthropic SDK's own
`transform_schema` follows the same rules for schemas made by pydantic.
"""

from collections.abc import Mapping
from math import inf
from typing import Any, Final, TypeGuard

import orjson

Schema = dict[str, Any]

_FORMATS: Final = frozenset(
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"]
)
_KINDS: Final = ("object", "array", "string", "integer", "number", "boolean")
_MAX_DEPTH: Final = 100
_MAX_NODES: Final = 20_000
"""Schemas in a strict schema; a list of types repeats what is below it for each type."""


def input_schema(parameters: Any) -> Schema:
    """Return the schema of a tool's input: an object at the top, without alternatives there.

    Properties that all alternatives require stay required; the others become optional.
    """
    if not isinstance(parameters, Mapping):
        return {"type": "object", "properties": {}}
    schema = dict(parameters)
    for name in ("allOf", "anyOf", "oneOf"):
        branches = schema.pop(name, None)
        if isinstance(branches, list):
            _merge(schema, [b for b in branches if isinstance(b, Mapping)], every=name == "allOf")
    schema["type"] = "object"
    schema.setdefault("properties", {})
    return schema


def _merge(schema: Schema, branches: list[Mapping[str, Any]], *, every: bool) -> None:
    properties: Schema = {}
    demanded: list[set[str]] = []
    for branch in branches:
        known = branch.get("properties")
        properties |= known if isinstance(known, Mapping) else {}
        required = branch.get("required")
        demanded.append(
            {n for n in required if isinstance(n, str)} if _is_list(required) else set()
        )
    own = schema.get("properties")
    schema["properties"] = properties | (dict(own) if isinstance(own, Mapping) else {})
    if demanded:
        common = set.union(*demanded) if every else set.intersection(*demanded)
        required = schema.get("required")
        have = [n for n in required if isinstance(n, str)] if _is_list(required) else []
        if names := have + sorted(common - set(have)):
            schema["required"] = names


def expressible(schema: Any) -> bool:
    """Return whether structured outputs can keep the meaning of the schema.

    They cannot express maps with free keys or schemas that allow anything: every object is
    closed. A schema that would become too large is not expressible either.
    """
    return _nodes(schema, 0) <= _MAX_NODES


def _nodes(schema: Any, depth: int) -> float:
    """Return the number of schemas in the strict schema; infinity if it is not expressible."""
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return inf
    if "$ref" in schema:
        return 1 if isinstance(schema["$ref"], str) and schema["$ref"].startswith("#") else inf
    if schema.get("additionalProperties", False) is not False or "patternProperties" in schema:
        return inf
    if schema.get("type") == "object" and not {"properties", "additionalProperties"} & set(schema):
        return inf
    if not any(k in schema for k in ("type", "anyOf", "oneOf", "allOf", "enum", "const")):
        return inf
    kinds = schema.get("type")
    copies = max(1, len(kinds)) if _is_list(kinds) else 1
    return 1 + copies * sum(_nodes(sub, depth + 1) for sub in _subschemas(schema))


def _subschemas(schema: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    for name in ("$defs", "definitions", "properties"):
        if isinstance(group := schema.get(name), Mapping):
            found.extend(group.values())
    for name in ("anyOf", "oneOf", "allOf"):
        if _is_list(group := schema.get(name)):
            found.extend(group)
    if "items" in schema:
        found.append(schema["items"])
    return found


def strict_schema(schema: Mapping[str, Any]) -> Schema:
    """Return the schema in the subset of structured outputs.

    Objects are closed. Keywords that the subset lacks move into the description, where the model
    can read them. Expects an `expressible` schema.
    """
    rest = dict(schema)
    out: Schema = {}
    for name in ("$defs", "definitions"):
        if isinstance(group := rest.pop(name, None), Mapping):
            out[name] = {key: strict_schema(sub) for key, sub in group.items()}
    if (ref := rest.pop("$ref", None)) is not None:
        out["$ref"] = ref
        return out
    for name in ("$schema", "$id", "$comment", "additionalProperties"):
        rest.pop(name, None)
    kinds = rest.pop("type", None)
    if _is_list(kinds):
        return out | _alternatives(kinds, rest)
    for name, ours in (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf")):
        if _is_list(group := rest.pop(name, None)) and ours not in out:
            out[ours] = [strict_schema(sub) for sub in group]
    literal = "enum" in rest or "const" in rest
    out |= {name: rest.pop(name) for name in ("enum", "const") if name in rest}
    if kinds is not None and not literal and "anyOf" not in out and "allOf" not in out:
        out["type"] = kinds
    out |= {name: rest.pop(name) for name in ("description", "title") if name in rest}
    if kinds == "object":
        known = rest.pop("properties", None)
        known = known if isinstance(known, Mapping) else {}
        out["properties"] = {key: strict_schema(sub) for key, sub in known.items()}
        out["additionalProperties"] = False
        if _is_list(required := rest.pop("required", None)):
            out["required"] = [name for name in required if isinstance(name, str) and name in known]
    elif kinds == "array":
        if "items" in rest:
            out["items"] = strict_schema(rest.pop("items"))
        if rest.get("minItems") in (0, 1):
            out["minItems"] = rest.pop("minItems")
    elif kinds == "string" and rest.get("format") in _FORMATS:
        out["format"] = rest.pop("format")
    if rest:
        limits = orjson.dumps(rest).decode()
        text = out.get("description")
        out["description"] = f"{text}\n\n{limits}" if isinstance(text, str) and text else limits
    return out


def plain_schema(schema: Any, depth: int = 0) -> Schema:
    """Return a simple form of the schema: only keywords that every validator accepts."""
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return {}
    out: Schema = {}
    kinds = schema.get("type")
    for kind in kinds if _is_list(kinds) else [kinds]:
        if kind in _KINDS:
            out.setdefault("type", kind)
    if isinstance(description := schema.get("description"), str):
        out["description"] = description
    if _is_list(values := schema.get("enum")) and values:
        out["enum"] = values
    if isinstance(known := schema.get("properties"), Mapping):
        out["properties"] = {name: plain_schema(sub, depth + 1) for name, sub in known.items()}
        if _is_list(required := schema.get("required")):
            names = {name for name in required if isinstance(name, str)}
            out["required"] = [name for name in known if name in names]
    if isinstance(schema.get("items"), Mapping):
        out["items"] = plain_schema(schema["items"], depth + 1)
    for name in ("anyOf", "oneOf"):
        if _is_list(branches := schema.get(name)) and branches:
            out["anyOf"] = [plain_schema(branch, depth + 1) for branch in branches]
    return out


def _alternatives(kinds: list[Any], rest: Schema) -> Schema:
    """Return a list of types, as in `"type": ["string", "null"]`, as alternatives."""
    about = {name: rest.pop(name) for name in ("description", "title") if name in rest}
    if "enum" in rest or "const" in rest:
        return about | strict_schema(rest)
    return about | {
        "anyOf": [
            {"type": "null"} if kind == "null" else strict_schema({"type": kind, **rest})
            for kind in kinds
        ]
    }


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
