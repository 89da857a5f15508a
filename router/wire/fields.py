"""Reading fields of JSON: a request's, or an InvalidRequest that names the one that is wrong; the
counts of an answer, which nobody is blamed for."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import orjson

from router.errors import InvalidRequest

T = TypeVar("T")
_SURE_DEPTH: Final = 200
"""Levels that can be read and written for sure; orjson reads more than it writes."""
_KINDS: Final = {
    str: "a string",
    dict: "an object",
    list: "a list",
    bool: "true or false",
    int: "a whole number",
}


def invalid(where: str, rule: str) -> InvalidRequest:
    return InvalidRequest(f"`{where}` {rule}.", param=where)


def need(value: Any, kind: type[T], where: str) -> T:
    """The value, if it is of this kind."""
    if type(value) is not kind:
        raise invalid(where, f"must be {_KINDS[kind]}")
    return value


def have(value: Any, kind: type[T], where: str) -> T | None:
    """The value, if it is of this kind or not there (missing or null)."""
    return None if value is None else need(value, kind, where)


def objects(value: Any, where: str) -> list[dict[str, Any]]:
    """A list of objects; an empty one where there is none."""
    items: list[Any] = have(value, list, where) or []
    return [need(item, dict, f"{where}[{i}]") for i, item in enumerate(items)]


def arguments(value: Any) -> dict[str, Any]:
    """The arguments of a tool call as an object; what is none, or too deep, is kept as it is."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, str) or not value.strip():
        return {}
    try:
        parsed = orjson.loads(value)
        if value.count("{") + value.count("[") > _SURE_DEPTH:
            orjson.dumps([[[[[[[[parsed]]]]]]]])  # as deep as it will be in a request
    except (orjson.JSONDecodeError, TypeError):
        parsed = None
    return parsed if isinstance(parsed, dict) else {"_raw": value}


def count(holder: Any, name: str) -> int:
    """A number of tokens that a backend reports; 0 for what is none."""
    value = holder.get(name) if isinstance(holder, Mapping) else None
    return max(value, 0) if type(value) is int else 0
