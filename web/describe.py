"""The OpenAPI descriptions of the routes: group, summary, body and answers, with examples.

examples.json has them by path: `group`, `summary`, the `request` body with its `required` fields,
the `answer`, a `stream` of events or a plain `text` (of the type `media`); `forced` routes accept
X-Force-Route; `method` is given for a route without a body that is not a GET, `note` if the summary
is not enough. Schemas are derived from the examples; `types` names fields that may have other JSON
types as well.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import PlainTextResponse

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
    "description": "Ask this side, whatever the score is.",
    "schema": {"type": "string", "enum": ["local", "cloud"]},
}
KEY: Final = "key"
"""The name of the key in the document; docs.html uses it too."""
KEY_SCHEME: Final[Json] = {
    "type": "http",
    "scheme": "bearer",
    "description": "ROUTER_API_KEY, or a key of ROUTER_KEYS_FILE; needed where one of them is set.",
}
OWN_GROUPS: Final = frozenset({"What there is", "Decisions", "State and figures"})
"""Groups whose answers the router writes itself: every field is always there."""
DECISION_HEADERS: Final[Json] = {
    "X-Router-Target": {"schema": {"type": "string", "enum": ["local", "cloud"]}},
    "X-Router-Backend": {
        "description": "The local server's name, `claude`, `gemini`, `openai` or `embedded`.",
        "schema": {"type": "string"},
    },
    "X-Router-Model": {"schema": {"type": "string"}},
    "X-Router-Score": {"schema": {"type": "number", "minimum": 0, "maximum": 100}},
    "X-Router-Reason": {"schema": {"type": "string"}},
    "X-Router-Dropped": {
        "description": "Request fields that the backend left out.",
        "schema": {"type": "string"},
    },
    "X-Request-Id": {"schema": {"type": "string"}},
}


class EventText(PlainTextResponse):
    """A text of server-sent events; FastAPI reads the media type of an answer from its class."""

    media_type = "text/event-stream"


TEXTS: Final = {one.media_type: one for one in (PlainTextResponse, EventText)}


@cache
def examples() -> dict[str, Json]:
    """Return the descriptions by path."""
    found: dict[str, Json] = orjson.loads(EXAMPLES.read_bytes())
    return found


def route(path: str) -> Json:
    """Return the keyword arguments of FastAPI's `add_api_route`; pages are not described."""
    if path not in examples():
        return {"include_in_schema": False}
    entry = examples()[path]
    keywords: Json = {
        "summary": entry["summary"],
        "description": entry.get("note", ""),
        "tags": [entry["group"]],
        "responses": {200: _answer(entry), "default": _failure(path)},
        "openapi_extra": _input(entry),
    }
    if "text" in entry:
        keywords["response_class"] = TEXTS[_media(entry)]
    return keywords


def add_operations(api: FastAPI, paths: Iterable[str]) -> None:
    """Describe POST routes that FastAPI does not serve in its OpenAPI document too."""
    operations = {path: {"post": _operation(path)} for path in paths}

    def openapi() -> Json:
        if api.openapi_schema is None:
            api.openapi_schema = get_openapi(
                title=api.title,
                version=api.version,
                description=api.description,
                routes=api.routes,
            )
            api.openapi_schema["paths"] = operations | api.openapi_schema["paths"]
            components = api.openapi_schema.setdefault("components", {})
            components["securitySchemes"] = {KEY: KEY_SCHEME}
            api.openapi_schema["security"] = [{KEY: []}, {}]
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]


def _operation(path: str) -> Json:
    entry = examples()[path]
    return {
        "summary": entry["summary"],
        "operationId": path.strip("/").replace("/", "_"),
        "tags": [entry["group"]],
        "responses": {"200": _answer(entry), "default": _failure(path)},
        **_input(entry),
    }


def _input(entry: Json) -> Json:
    described: Json = {"requestBody": _body(entry)} if "request" in entry else {}
    if entry.get("forced"):
        described["parameters"] = [FORCE_ROUTE]
    return described


def _body(entry: Json) -> Json:
    """Describe a JSON object; only the fields that the router reads are fixed."""
    schema = _shape(entry["request"], entry.get("types", {})) | {"required": entry["required"]}
    return {
        "required": True,
        "content": {"application/json": {"schema": schema, "example": entry["request"]}},
    }


def _failure(path: str) -> Json:
    body = ANTHROPIC_ERROR if path.startswith("/v1/messages") else OPENAI_ERROR
    return {"description": "Failure.", "content": {"application/json": body}}


def _answer(entry: Json) -> Json:
    if "text" in entry:
        return {"description": "As text.", "content": {_media(entry): _text(entry["text"])}}
    schema = _shape(entry["answer"], entry.get("types", {}))
    if entry["group"] in OWN_GROUPS:
        schema["required"] = list(entry["answer"])
    whole = {"schema": schema, "example": entry["answer"]}
    answer: Json = {"description": "As JSON.", "content": {"application/json": whole}}
    if "stream" in entry:
        answer["description"] = "As JSON, or, where `stream` is true, as events."
        answer["content"]["text/event-stream"] = _text(entry["stream"])
        if entry.get("forced"):
            answer["headers"] = DECISION_HEADERS
    return answer


def _shape(example: Any, types: dict[str, list[str]]) -> Json:
    """Return the JSON Schema of values like this one; a null may be anything."""
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


def _media(entry: Json) -> str:
    """Return the media type of an answer that is a text."""
    media: str = entry.get("media", "text/plain")
    return media


def _text(example: str) -> Json:
    return {"schema": {"type": "string"}, "example": example}
