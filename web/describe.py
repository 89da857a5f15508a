"""What /docs says of each route: its group, its body and its answers, with an example of each.

The examples are in examples.json, by path: `group`, the `request` body with its `required` fields,
the `answer`, a `stream` of events or a plain `text`; `forced` routes heed X-Force-Route.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

Json = dict[str, Any]

EXAMPLES: Final = Path(__file__).with_name("examples.json")

_ERROR: Final[Json] = {
    "error": {
        "message": "`messages` must be a list with at least one message.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": None,
    }
}
FAILURE: Final[Json] = {
    "description": "Failure, in OpenAI's shape; of /v1/messages in Anthropic's.",
    "content": {"application/json": {"schema": {"type": "object"}, "example": _ERROR}},
}
FORCE_ROUTE: Final[Json] = {
    "name": "X-Force-Route",
    "in": "header",
    "required": False,
    "description": "Ask one side, whatever the score says.",
    "schema": {"type": "string", "enum": ["local", "cloud"]},
}
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
        "responses": {200: _answer(told), "default": FAILURE},
        "openapi_extra": extra,
    }


def _body(told: Json) -> Json:
    """A JSON object of which we fix only the fields we read."""
    schema = {"type": "object", "required": told["required"], "additionalProperties": True}
    return {
        "required": True,
        "content": {"application/json": {"schema": schema, "example": told["request"]}},
    }


def _answer(told: Json) -> Json:
    if "text" in told:
        return {"description": "As text.", "content": {"text/plain": _text(told["text"])}}
    whole = {"schema": {"type": "object"}, "example": told["answer"]}
    answer: Json = {"description": "As JSON.", "content": {"application/json": whole}}
    if "stream" in told:
        answer["description"] = "As JSON, or, where `stream` is true, as events."
        answer["content"]["text/event-stream"] = _text(told["stream"])
        answer["headers"] = DECISION_HEADERS
    return answer


def _text(example: str) -> Json:
    return {"schema": {"type": "string"}, "example": example}
