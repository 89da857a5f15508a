"""Checks that a value has one of the SDK's parameter types, in all of its fields.

pydantic lets unknown keys of a TypedDict pass; here they are misfits, as they are to the API.
"""

import collections.abc
import types
import typing
from typing import Annotated, Any, Literal, NotRequired, Required, Union

from typing_extensions import get_type_hints, is_typeddict


def misfit(value: Any, wanted: Any, where: str = "$") -> str | None:
    """The first place where `value` is not a `wanted`, or None."""
    origin: Any = typing.get_origin(wanted)
    args = typing.get_args(wanted)
    if origin in (Annotated, Required, NotRequired):
        return misfit(value, args[0], where)
    if origin in (Union, types.UnionType):
        misfits = [misfit(value, arg, where) for arg in args]
        # The one that got furthest is the one that was meant.
        return None if None in misfits else max((m for m in misfits if m), key=len)
    if is_typeddict(wanted):
        return _misfit_in_dict(value, wanted, where)
    if origin is Literal:
        return None if value in args else f"{where}: {value!r} is none of {args}"
    if wanted in (Any, object):
        return None
    if wanted in (None, type(None)):
        return None if value is None else f"{where}: {value!r} is not None"
    if origin in (dict, collections.abc.Mapping):
        if not isinstance(value, dict):
            return f"{where}: {value!r} is not a dict"
        items = ((k, misfit(v, args[1], f"{where}.{k}")) for k, v in value.items())
        return next((m for _, m in items if m), None)
    if origin is not None:  # list, Iterable, the SDK's SequenceNotStr
        if not isinstance(value, list):
            return f"{where}: {value!r} is not a list"
        found = (misfit(v, args[0], f"{where}[{i}]") for i, v in enumerate(value))
        return next((m for m in found if m), None)
    if not isinstance(wanted, type):
        return f"{where}: no rule for {wanted}"
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        return f"{where}: {value!r} is not {wanted.__name__}"
    return None


def _misfit_in_dict(value: Any, wanted: Any, where: str) -> str | None:
    if not isinstance(value, dict):
        return f"{where}: {value!r} is not {wanted.__name__}"
    hints = get_type_hints(wanted, include_extras=True)
    for name, hint in hints.items():
        origin: Any = typing.get_origin(hint)
        if origin is Required and name not in value:
            return f"{where}: {name} is missing"
    open_ended = getattr(wanted, "__pydantic_config__", {}).get("extra") == "allow"
    for name, item in value.items():
        if name not in hints:
            if open_ended:
                continue
            return f"{where}.{name}: {wanted.__name__} has no such field"
        if found := misfit(item, hints[name], f"{where}.{name}"):
            return found
    return None
