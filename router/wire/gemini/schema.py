"""JSON Schema to what Gemini takes of it: one unknown keyword is a 400 for the whole request.

`cleaned` keeps all that `parametersJsonSchema` and `responseJsonSchema` honour. `strictest` is the
small OpenAPI subset that every model takes, for a second attempt: less exact, never refused.
Source: the google-genai SDK, `GenerateContentConfig.response_json_schema` and `types.Schema`.
"""

from collections.abc import Mapping
from typing import Any, Final

MAX_DEPTH: Final = 64
MAX_NODES: Final = 20_000
"""References are inlined, and each may hold two more: without a limit that doubles per line."""

_KEPT: Final = frozenset(
    {
        *("$id", "$anchor", "format", "title", "description", "minItems", "maxItems"),
        *("minimum", "maximum", "required", "propertyOrdering"),
    }
)
_ANNOTATIONS: Final = frozenset(
    {"title", "description", "default", "examples", "allOf", "$defs", "definitions"}
)
_TYPES: Final = {
    "string": "STRING",
    "number": "NUMBER",
    "integer": "INTEGER",
    "boolean": "BOOLEAN",
    "array": "ARRAY",
    "object": "OBJECT",
}


class TooDeep(ValueError):
    """The schema is nested deeper, or unfolds to more, than any model would follow."""


def cleaned(schema: Any, *, ordered: bool = False) -> dict[str, Any]:
    """The schema with only what Gemini's JSON Schema fields honour. Raises TooDeep.

    `ordered`: the model writes properties in the order of the schema, not of the alphabet.
    """
    source = _Schema(schema, ordered)
    root = source.cleaned(schema)
    if definitions := source.definitions:
        root["$defs"] = {
            reference.rpartition("/")[2]: source.cleaned(value, 1)
            for reference, value in definitions.items()
        }
    return root


def strictest(schema: Any, *, ordered: bool = False) -> dict[str, Any]:
    """The schema as an OpenAPI subset: references inlined, alternatives narrowed to the first.

    A reference into itself becomes an object of any shape. Raises TooDeep.
    """
    return _Schema(schema, ordered).strictest(schema)


class _Schema:
    """One schema document: what its references point at, and how much was made of it so far."""

    def __init__(self, document: Any, ordered: bool) -> None:
        self._ordered = ordered
        self.definitions: dict[str, Any] = {
            f"#/{place}/{name}": value
            for place in ("definitions", "$defs")
            for name, value in _mapping(_mapping(document).get(place)).items()
        }
        self._nodes = 0

    def cleaned(self, schema: Any, depth: int = 0) -> dict[str, Any]:
        self._count(depth)
        if not isinstance(schema, Mapping):  # true and false are schemas too
            return {}
        schema = self._merged(schema, depth)
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
        self._count(depth)
        if not isinstance(schema, Mapping):
            return {"type": "STRING"}
        schema = self._merged(schema, depth)
        kinds = _kinds(schema)
        alternatives = _alternatives(schema)
        real = [each for each in alternatives if _kinds(_mapping(each)) != ["null"]]
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
        """The schema with its `allOf` folded in; a lone reference in it stays a reference."""
        self._count(depth)
        if not (parts := _list(schema.get("allOf"))):
            return schema
        alone = len(parts) == 1 and schema.keys() <= _ANNOTATIONS
        out = {key: value for key, value in schema.items() if key != "allOf"}
        for part in parts:
            reference = _mapping(part).get("$ref")
            if isinstance(reference, str) and not alone:
                part = self.definitions.get(reference)
            for key, value in self._merged(_mapping(part), depth + 1).items():
                if key == "properties":
                    out[key] = {**_mapping(out.get(key)), **_mapping(value)}
                elif key == "required":
                    out[key] = [*_list(out.get(key)), *_list(value)]
                else:
                    out.setdefault(key, value)
        return out

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise TooDeep


def _values(schema: Mapping[str, Any]) -> list[Any]:
    """The texts and numbers a value may be; there is no enum of booleans and nulls."""
    values = [schema["const"]] if "const" in schema else _list(schema.get("enum"))
    return [value for value in values if type(value) in (str, int, float)]


def _drop_dangling(schema: dict[str, Any]) -> None:
    """Drop from `required` and `propertyOrdering` what is no property."""
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
