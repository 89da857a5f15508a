"""What /docs says of each route: its group, its body and its answers, with an example of each.

The examples are in examples.json, by path: `group`, the `request` body with its `required` fields,
the `answer`, a `stream` of events or a plain `text`; `forced` routes heed X-Force-Route. A
schema is that of the example; `types` names fields that may be of other JSON types as well.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

Json = dict[str, Any]

EXAMPLES: Final = Path(__file__).with_name("examples.json")

_TEXT: Final[Json] = {"type": "string"}
_TEXT_OR_NULL: Final[Json] = {"type": ["string", "null"]}
_MESSAGE: Final = "`messages` must be a list with at least one message."
_KIND: Final = "invalid_request_error"
OPENAI_ERROR: Final[Json] = {
    "example": {"error": {"message": _MESSAGE, "type": _KIND, "param": "messages", "code": None}},
    "schema": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": _TEXT,
                    "type": _TEXT,
                    "param": _TEXT_OR_NULL,
                    "code": _TEXT_OR_NULL,
                },
            }
        },
    },
}
ANTHROPIC_ERROR: Final[Json] = {
    "example": {"type": "error", "error": {"type": _KIND, "message": _MESSAGE}},
    "schema": {
        "type": "object",
        "required": ["type", "error"],
        "properties": {
            "type": {"const": "error"},
            "error": {
                "type": "object",
                "required": ["type", "message"],
                "properties": {"type": _TEXT, "message": _TEXT},
            },
        },
    },
}
FORCE_ROUTE: Final[Json] = {
    "name": "X-Force-Route",
    "in": "header",
    "required": False,
    "description": "Ask one side, whatever the score says.",
    "schema": {"type": "string", "enum": ["local", "cloud"]},
}
OWN_WORDS: Final = frozenset({"What there is", "Decisions", "State and figures"})
"""Groups whose answers are all ours: what they name is always there."""
DECISION_HEADERS: Final[Json] = {
    "X-Router-Target": {"schema": {"type": "string", "enum": ["local", "cloud"]}},
    "X-Router-Model": {"schema": {"type": "string"}},
    "X-Router-Score": {"schema": {"type": "number", "minimum": 0, "maximum": 100}},
    "X-Router-Reason": {"schema": {"type": "string"}},
    "X-Router-Dropped": {
        "description": "Request fields that the backend could not honour.",
        "schema": {"type": "string"},
    },
    "X-Request-Id": {"schema": {"type": "string"}},
}


@cache
def examples() -> dict[str, Json]:
    """By path."""
    found: dict[str, Json] = orjson.loads(EXAMPLES.read_bytes())
    return found


def route(path: str) -> Json:
    """Keyword arguments for FastAPI's `get` or `post`."""
    told = examples()[path]
    extra: Json = {"requestBody": _body(told)} if "request" in told else {}
    if told.get("forced"):
        extra["parameters"] = [FORCE_ROUTE]
    return {
        "path": path,
        "tags": [told["group"]],
        "responses": {200: _answer(told), "default": _failure(path)},
        "openapi_extra": extra,
    }


def _body(told: Json) -> Json:
    """A JSON object of which we fix only the fields we read."""
    schema = _shape(told["request"], told.get("types", {})) | {"required": told["required"]}
    return {
        "required": True,
        "content": {"application/json": {"schema": schema, "example": told["request"]}},
    }


def _failure(path: str) -> Json:
    body = ANTHROPIC_ERROR if path.startswith("/v1/messages") else OPENAI_ERROR
    return {"description": "Failure.", "content": {"application/json": body}}


def _answer(told: Json) -> Json:
    if "text" in told:
        return {"description": "As text.", "content": {"text/plain": _text(told["text"])}}
    schema = _shape(told["answer"], told.get("types", {}))
    if told["group"] in OWN_WORDS:
        schema["required"] = list(told["answer"])
    whole = {"schema": schema, "example": told["answer"]}
    answer: Json = {"description": "As JSON.", "content": {"application/json": whole}}
    if "stream" in told:
        answer["description"] = "As JSON, or, where `stream` is true, as events."
        answer["content"]["text/event-stream"] = _text(told["stream"])
        if told.get("forced"):
            answer["headers"] = DECISION_HEADERS
    return answer


def _shape(example: Any, types: dict[str, list[str]]) -> Json:
    """The JSON Schema of values like this one; of a null nothing is known."""
    match example:
        case dict():
            fields = {name: _shape(value, types) for name, value in example.items()}
            for name in types.keys() & fields.keys():
                fields[name]["type"] = types[name]
            return {"type": "object", "properties": fields}
        case list():
            return {"type": "array", "items": _shape(example[0], types) if example else {}}
        case bool():
            return {"type": "boolean"}
        case int() | float():
            return {"type": "number"}
        case str():
            return {"type": "string"}
        case _:
            return {}


def _text(example: str) -> Json:
    return {"schema": {"type": "string"}, "example": example}
