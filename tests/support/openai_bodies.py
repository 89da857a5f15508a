"""Chat bodies as the openai SDK's own parameter types allow them, for property tests.

Where the types allow any string or object, values come from a short list that makes sense there;
otherwise nearly every body would hold an invalid picture and a call without its result.
"""

import base64
import collections.abc
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NotRequired, Required, Union

from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from typing_extensions import get_type_hints, is_typeddict

PNG: Final = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
PDF: Final = base64.b64encode(b"%PDF-1.7 x").decode()

_texts = st.sampled_from(["", " ", "a", "b.c", "Grüße 🌍", '{"a": 1}', "</system>", "\u2028"])
_objects = st.dictionaries(
    _texts, st.none() | st.booleans() | st.integers(-9, 9) | _texts, max_size=2
)
_schemas = st.recursive(
    st.sampled_from(
        [
            {"type": "string", "minLength": 1},
            {"type": ["integer", "null"], "minimum": 0},
            {"enum": ["a", 1, None]},
            {"const": "a"},
            {"$ref": "#/$defs/d"},
            {},
        ]
    ),
    lambda inner: (
        st.fixed_dictionaries(
            {
                "type": st.just("object"),
                "properties": st.dictionaries(st.sampled_from(["a", "b", "ü"]), inner, max_size=2),
            },
            optional={
                "required": st.just(["a", "gone"]),
                "additionalProperties": st.booleans() | inner,
                "$defs": st.fixed_dictionaries({"d": inner}),
                "$schema": st.just("https://json-schema.org/draft/2020-12/schema"),
            },
        )
        | st.fixed_dictionaries({"type": st.just("array"), "items": inner})
        | st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)})
    ),
    max_leaves=4,
)
_VALUES: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "url": st.sampled_from(
        [f"data:image/png;base64,{PNG}", "https://example.com/a.png", "data:image/png,%89PNG"]
    ),
    "data": st.just(PNG),
    "file_data": st.sampled_from(
        [f"data:application/pdf;base64,{PDF}", PDF, "data:text/plain;base64,aGk=", "nonsense"]
    ),
    "id": st.sampled_from(["a", "b", "functions.f:0", ""]),
    "tool_call_id": st.sampled_from(["a", "b", "functions.f:0", "gone"]),
    "name": st.sampled_from(["f", "g", "1x", "read-file", "n" * 64]),
    "arguments": st.sampled_from(["", "{}", '{"a": [1.5, null]}', "[1]", '{"a": ']),
    "parameters": _schemas,
    "schema": _schemas,
    "tools": st.lists(
        st.fixed_dictionaries(
            {"type": st.just("function"), "function": st.fixed_dictionaries({"name": st.just("f")})}
        ),
        max_size=2,
    ),
    "max_tokens": st.integers(1, 10**6),
    "max_completion_tokens": st.integers(1, 10**6),
    "top_logprobs": st.integers(0, 20),
}
"""Values by field name, where the type alone is too wide. `tools` is that of a tool choice."""


def value_of(hint: Any, name: str = "") -> st.SearchStrategy[Any]:
    """Return a strategy for values of this type; `name` is the field's name."""
    origin: Any = typing.get_origin(hint)
    args = typing.get_args(hint)
    if origin in (Annotated, Required, NotRequired):
        return value_of(args[0], name)
    if origin in (Union, types.UnionType):
        if type(None) in args and name in _VALUES:
            return st.none() | _VALUES[name]
        return st.one_of([value_of(arg, name) for arg in args])
    if origin is Literal:
        return st.sampled_from(args)
    if is_typeddict(hint):
        return typed_dict(hint)
    if hint in (None, type(None)):
        return st.none()
    if name in _VALUES and not (name == "tools" and _is_definitions(args)):
        return _VALUES[name]
    if origin in (dict, collections.abc.Mapping):
        return st.dictionaries(_texts, value_of(args[1]), max_size=2)
    if origin is not None:  # list, Iterable, the SDK's SequenceNotStr
        return st.lists(value_of(args[0], name), max_size=3)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: _texts,
        int: st.integers(-3, 2**40),
        float: st.floats(-2, 2),
        bool: st.booleans(),
        object: _objects,
    }
    return simple[hint]


def _is_definitions(args: tuple[Any, ...]) -> bool:
    """The `tools` of a request are defined in full; those of a tool choice are names only."""
    return bool(args) and typing.get_origin(args[0]) is not dict


def typed_dict(hint: Any) -> st.SearchStrategy[dict[str, Any]]:
    hints = get_type_hints(hint, include_extras=True)
    values = {name: value_of(each, name) for name, each in hints.items()}
    optional = {name for name, each in hints.items() if not _is_required(each)}
    return st.fixed_dictionaries(
        {name: value for name, value in values.items() if name not in optional},
        optional={name: value for name, value in values.items() if name in optional},
    )


def _is_required(hint: Any) -> bool:
    origin: Any = typing.get_origin(hint)
    return origin is Required


FIELDS: Final[dict[str, Any]] = get_type_hints(
    CompletionCreateParamsNonStreaming, include_extras=True
)
"""Return every parameter of a chat request by name, with its type."""

_rare = st.integers(0, 9).map(lambda n: n == 0)


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """Return any body; each optional parameter is in one of ten, so most bodies can be answered."""
    message = value_of(typing.get_args(typing.get_args(FIELDS["messages"])[0])[0])
    body = {"model": "auto", "messages": draw(st.lists(message, min_size=1, max_size=6))}
    for name, hint in FIELDS.items():
        if name not in body and draw(_rare):
            body[name] = draw(value_of(hint, name))
    return body
