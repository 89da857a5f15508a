"""Converter of JSON Schemas to Gemini's subset: one unknown keyword would be a 400.

`cleaned` keeps all that `parametersJsonSchema` and `responseJsonSchema` support. `strictest` is the
small OpenAPI subset that every model accepts, for a second attempt: less exact, never refused.
Source: the google-genai SDK, `GenerateContentConfig.response_json_schema` and `types.Schema`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

MAX_DEPTH: Final = 64
MAX_NODES: Final = 20_000
"""References are inlined, and each may hold two more: their number can double per line."""

_KEPT: Final = frozenset(
    {
        *("$id", "$anchor", "format", "title", "description", "minItems", "maxItems"),
        *("minimum", "maximum", "required", "propertyOrdering"),
    }
)
_ANNOTATIONS: Final = frozenset(
    {"title", "description", "default", "examples", "allOf", "$defs", "definitions"}
)
_HANDLED: Final = (
    _KEPT
    | _ANNOTATIONS - {"default", "examples"}
    | frozenset(
        {
            *("type", "enum", "const", "anyOf", "oneOf", "properties", "items", "prefixItems"),
            *("additionalProperties", "$ref", "$schema", "$comment"),
        }
    )
)
"""Keywords that `cleaned` keeps or converts, or that have no meaning."""
_HANDLED_STRICTLY: Final = _HANDLED - {
    *("format", "minItems", "maxItems", "minimum", "maximum", "prefixItems"),
}
_KEYWORD: Final = re.compile(r"[\w$-]{1,40}", re.ASCII)
"""Keywords that can stand in a response header."""
_TYPES: Final = {
    "string": "STRING",
    "number": "NUMBER",
    "integer": "INTEGER",
    "boolean": "BOOLEAN",
    "array": "ARRAY",
    "object": "OBJECT",
}


class TooDeep(ValueError):
    """The schema is nested too deeply, or too large once its references are inlined."""


def cleaned(
    schema: Any, *, ordered: bool = False, lost: dict[str, None] | None = None
) -> dict[str, Any]:
    """Return the schema with only the keywords that Gemini's JSON Schema fields support.

    `ordered`: the model writes properties in the order of the schema, not of the alphabet.
    Keywords that are left out are added to `lost`. Raises TooDeep.
    """
    source = _Schema(schema, ordered, {} if lost is None else lost)
    root = source.cleaned(schema)
    if definitions := source.definitions:
        root["$defs"] = {
            reference.rpartition("/")[2]: source.cleaned(value, 1)
            for reference, value in definitions.items()
        }
    return root


def strictest(
    schema: Any, *, ordered: bool = False, lost: dict[str, None] | None = None
) -> dict[str, Any]:
    """Return the schema in an OpenAPI subset: references inlined, only the first alternative.

    A reference into itself becomes an object of any shape. `ordered`, `lost` and errors are those
    of `cleaned`.
    """
    return _Schema(schema, ordered, {} if lost is None else lost).strictest(schema)


class _Schema:
    """One schema document: the targets of its references, and the number of schemas made."""

    def __init__(self, document: Any, ordered: bool, lost: dict[str, None]) -> None:
        self._ordered = ordered
        self._lost = lost
        self.definitions: dict[str, Any] = {
            f"#/{place}/{name}": value
            for place in ("definitions", "$defs")
            for name, value in _mapping(_mapping(document).get(place)).items()
        }
        self._nodes = 0

    def cleaned(self, schema: Any, depth: int = 0) -> dict[str, Any]:
        """Return one schema of the document; see the function `cleaned`."""
        self._count(depth)
        if not isinstance(schema, Mapping):  # true and false are schemas too
            return {}
        schema = self._merged(schema, depth)
        self._lose(schema.keys() - _HANDLED)
        if isinstance(reference := schema.get("$ref"), str):
            return {"$ref": reference.replace("#/definitions/", "#/$defs/")}
        out = {key: value for key, value in schema.items() if key in _KEPT}
        if alternatives := _alternatives(schema):
            out["anyOf"] = [self.cleaned(each, depth + 1) for each in alternatives]
        kinds = _kinds(schema)
        real = [kind for kind in kinds if kind != "null"]
        if len(real) > 1:
            out.setdefault("anyOf", [{"type": kind} for kind in kinds])
        elif kinds:
            out["type"] = kinds if len(kinds) > 1 else kinds[0]
        if values := _values(schema):
            out["enum"] = values
        self._lose(_lost_values(schema))
        if isinstance(properties := schema.get("properties"), Mapping):
            out["properties"] = {
                name: self.cleaned(value, depth + 1) for name, value in properties.items()
            }
            if self._ordered and len(properties) > 1:
                out.setdefault("propertyOrdering", list(properties))
        items = schema.get("items")
        prefix = items if isinstance(items, list) else _list(schema.get("prefixItems"))
        if prefix:
            out["prefixItems"] = [self.cleaned(each, depth + 1) for each in prefix]
        if isinstance(items, Mapping):
            out["items"] = self.cleaned(items, depth + 1)
        match schema.get("additionalProperties"):
            case bool(allowed):
                out["additionalProperties"] = allowed
            case Mapping() as each:
                out["additionalProperties"] = self.cleaned(each, depth + 1)
        _drop_dangling(out)
        return out

    def strictest(
        self, schema: Any, inside: frozenset[str] = frozenset(), depth: int = 0
    ) -> dict[str, Any]:
        """Return one schema of the document; see the function `strictest`."""
        self._count(depth)
        if not isinstance(schema, Mapping):
            return {"type": "STRING"}
        schema = self._merged(schema, depth)
        self._lose(schema.keys() - _HANDLED_STRICTLY)
        self._lose(_lost_values(schema))
        kinds = _kinds(schema)
        alternatives = _alternatives(schema)
        real = [each for each in alternatives if _kinds(_mapping(each)) != ["null"]]
        self._lose(["anyOf"] if len(real) > 1 else [])
        kind = next((kind for kind in kinds if kind != "null"), None)
        if isinstance(reference := schema.get("$ref"), str):
            out: dict[str, Any] = {"type": "OBJECT"}
            if reference in self.definitions and reference not in inside:
                target = self.definitions[reference]
                out = self.strictest(target, inside | {reference}, depth + 1)
        elif real and kind is None:
            out = self.strictest(real[0], inside, depth + 1)
        else:
            out = self._typed(schema, _TYPES.get(kind or _guess(schema), "STRING"), inside, depth)
        if isinstance(description := schema.get("description"), str):
            out["description"] = description
        if "null" in kinds or len(real) < len(alternatives):
            out["nullable"] = True
        return out

    def _typed(
        self, schema: Mapping[str, Any], kind: str, inside: frozenset[str], depth: int
    ) -> dict[str, Any]:
        out: dict[str, Any] = {"type": kind}
        match kind:
            case "STRING":
                if values := [value for value in _values(schema) if isinstance(value, str)]:
                    out["enum"] = values
            case "ARRAY":
                out["items"] = self.strictest(schema.get("items"), inside, depth + 1)
            case "OBJECT" if properties := _mapping(schema.get("properties")):
                out["properties"] = {
                    name: self.strictest(value, inside, depth + 1)
                    for name, value in properties.items()
                }
                out["required"] = schema.get("required")
                if self._ordered and len(properties) > 1:
                    out["propertyOrdering"] = schema.get("propertyOrdering") or list(properties)
                _drop_dangling(out)
        return out

    def _merged(self, schema: Mapping[str, Any], depth: int) -> Mapping[str, Any]:
        """Return the schema with its `allOf` merged; a lone reference in it stays a reference."""
        self._count(depth)
        if not (parts := _list(schema.get("allOf"))):
            return schema
        alone = len(parts) == 1 and schema.keys() <= _ANNOTATIONS
        out = {key: value for key, value in schema.items() if key != "allOf"}
        properties = dict(_mapping(out.get("properties")))
        required = list(_list(out.get("required")))
        for part in parts:
            reference = _mapping(part).get("$ref")
            if isinstance(reference, str) and not alone:
                part = self.definitions.get(reference)
            for key, value in self._merged(_mapping(part), depth + 1).items():
                if key == "properties":
                    properties.update(_mapping(value))
                    out[key] = properties
                elif key == "required":
                    required += _list(value)
                    out[key] = required
                else:
                    out.setdefault(key, value)
        return out

    def _lose(self, keywords: Iterable[str]) -> None:
        self._lost.update(dict.fromkeys(sorted(filter(_KEYWORD.fullmatch, keywords))))

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise TooDeep


def _values(schema: Mapping[str, Any]) -> list[Any]:
    """Return the allowed texts and numbers; Gemini has no enum of booleans and nulls."""
    return [value for value in _all_values(schema) if type(value) in (str, int, float)]


def _all_values(schema: Mapping[str, Any]) -> list[Any]:
    return [schema["const"]] if "const" in schema else _list(schema.get("enum"))


def _lost_values(schema: Mapping[str, Any]) -> list[str]:
    """Return the keyword whose values are left out, except null where the type allows it."""
    values, nullable = _all_values(schema), "null" in _kinds(schema)
    kept = len(_values(schema)) + nullable * values.count(None)
    return [] if kept == len(values) else ["const" if "const" in schema else "enum"]


def _drop_dangling(schema: dict[str, Any]) -> None:
    """Remove names from `required` and `propertyOrdering` that are not properties."""
    properties = schema.get("properties", {})
    for key in ("required", "propertyOrdering"):
        listed = _list(schema.pop(key, None))
        if names := [name for name in listed if isinstance(name, str) and name in properties]:
            schema[key] = list(dict.fromkeys(names))


def _alternatives(schema: Mapping[str, Any]) -> list[Any]:
    return _list(schema.get("anyOf")) or _list(schema.get("oneOf"))


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    return [kind for kind in kinds if isinstance(kind, str)]


def _guess(schema: Mapping[str, Any]) -> str:
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    return "array" if "items" in schema else "string"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
