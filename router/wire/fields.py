"""Readers of JSON fields: of a request, where a wrong one raises InvalidRequest with its name; and
of an answer, where a wrong one is ignored."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import orjson

from router.errors import InvalidRequest
from router.request import parse_json
from router.wire import half_characters

T = TypeVar("T")
_SURE_DEPTH: Final = 200
"""Levels that are always readable and writable; orjson reads more levels than it writes."""
_KINDS: Final = {
    str: "a string",
    dict: "an object",
    list: "a list",
    bool: "true or false",
    int: "a whole number",
}


def parse_body(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a request's body. Raises InvalidRequest.

    Half characters in escapes, as an earlier answer may have left them in the history, are
    replaced: the conversation would fail on every turn otherwise.
    """
    try:
        return parse_json(raw)
    except InvalidRequest:
        if not half_characters.has_lone_escape(raw):
            raise
    return parse_json(half_characters.replaced(raw))


def invalid(where: str, rule: str) -> InvalidRequest:
    """Return the error for a field: its name and the rule that it breaks."""
    return InvalidRequest(f"`{where}` {rule}.", param=where)


def need(value: Any, kind: type[T], where: str) -> T:
    """Return the value if it is of this kind; else raise InvalidRequest."""
    if type(value) is not kind:
        rule = "is required and must be" if value is None else "must be"
        raise invalid(where, f"{rule} {_KINDS[kind]}")
    return value


def have(value: Any, kind: type[T], where: str) -> T | None:
    """Return the value if it is of this kind, missing or null; else raise InvalidRequest."""
    return None if value is None else need(value, kind, where)


def objects(value: Any, where: str) -> list[dict[str, Any]]:
    """Return a list of objects; an empty one if the field is missing."""
    items: list[Any] = have(value, list, where) or []
    return [need(item, dict, f"{where}[{i}]") for i, item in enumerate(items)]


def arguments(value: Any) -> dict[str, Any]:
    """Return the arguments of a tool call as an object.

    Blank text and `null` mean no arguments. A value that is no object, or is nested too deeply
    for a request, is kept as text under `_raw`.
    """
    if isinstance(value, dict):
        return value
    if not isinstance(value, str) or value.strip() in ("", "null"):
        return {}
    try:
        parsed = orjson.loads(_without_halves(value))
        if value.count("{") + value.count("[") > _SURE_DEPTH:
            orjson.dumps([[[[[[[[parsed]]]]]]]])  # nested as deep as in a request
    except (orjson.JSONDecodeError, TypeError):
        parsed = None
    return parsed if isinstance(parsed, dict) else {"_raw": value}


def _without_halves(text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    return half_characters.replaced(raw) if half_characters.has_lone_escape(raw) else raw


def count(holder: Any, name: str) -> int:
    """Return a token count that a backend reports; 0 for a value that is no count."""
    value = holder.get(name) if isinstance(holder, Mapping) else None
    return max(value, 0) if type(value) is int else 0


def text(holder: Mapping[str, Any], name: str) -> str:
    """Return a text that a backend reports; "" for a value that is no text."""
    value = holder.get(name)
    return value if isinstance(value, str) else ""
