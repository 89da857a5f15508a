"""What /docs says of each route: its body, its answer, an example of both."""

from typing import Any, Final

Json = dict[str, Any]

_CHAT: Final[Json] = {
    "model": "auto",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "stream": False,
}
_CHAT_ANSWER: Final[Json] = {
    "id": "chatcmpl-1f0c9a",
    "object": "chat.completion",
    "created": 1767225600,
    "model": "qwen2.5-32b-instruct",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Paris.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 14, "completion_tokens": 3, "total_tokens": 17},
}
_MESSAGES: Final[Json] = {
    "model": "auto",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
}
_RESPONSES: Final[Json] = {"model": "auto", "input": "What is the capital of France?"}
_CLASSIFIED: Final[Json] = {
    "score": 12.4,
    "threshold": 50,
    "target": "local",
    "model": "qwen2.5-32b-instruct",
    "reason": "simple",
    "signals": {
        "token_count": 1.2,
        "complex_keywords": 12.6,
        "simple_keywords": -1.4,
        "structure": 0,
        "reasoning_cues": 0,
        "conversation": 0,
    },
    "tokens": 9,
    "confidence": 0.7,
    "gates": [],
    "fix": "",
    "would_fall_back": False,
}
_ERROR: Final[Json] = {
    "error": {
        "message": "`messages` must be a list with at least one message.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": None,
    }
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


def body(example: Json, required: list[str]) -> Json:
    """A JSON request body: an object of which we fix only the fields we read."""
    schema: Json = {"type": "object", "required": required, "additionalProperties": True}
    return {
        "required": True,
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def answers(example: Json | None, description: str, *, sse: bool = False) -> dict[int | str, Json]:
    """The answers of a route; `default` is any failure, in OpenAI's shape."""
    content: Json = {"application/json": {"schema": {"type": "object"}, "example": example}}
    if sse:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    good: Json = {"description": description, "content": content}
    if sse:
        good["headers"] = DECISION_HEADERS
    return {200: good, "default": failure()}


def failure() -> Json:
    return {
        "description": "Failure, in OpenAI's shape.",
        "content": {"application/json": {"schema": {"type": "object"}, "example": _ERROR}},
    }


def door(dialect: str) -> Json:
    """Keyword arguments for the route of a dialect."""
    example, required, answer = {
        "chat": (_CHAT, ["messages"], _CHAT_ANSWER),
        "messages": (_MESSAGES, ["messages", "max_tokens"], None),
        "responses": (_RESPONSES, ["input"], None),
    }[dialect]
    return {
        "responses": answers(answer, "The answer; a stream if asked for.", sse=True),
        "openapi_extra": {"requestBody": body(example, required), "parameters": [FORCE_ROUTE]},
    }


def count_tokens() -> Json:
    """Keyword arguments for the route that counts a Messages request."""
    return {
        "responses": answers({"input_tokens": 17}, "About as many tokens."),
        "openapi_extra": {"requestBody": body(_MESSAGES, ["messages"])},
    }


def feedback() -> Json:
    """Keyword arguments for POST /feedback."""
    example = {"request_id": "chatcmpl-1f0c9a", "feedback": "bad"}
    return {
        "responses": answers({"ok": True}, "Noted."),
        "openapi_extra": {"requestBody": body(example, ["request_id", "feedback"])},
    }


def classify() -> Json:
    """Keyword arguments for POST /classify."""
    return {
        "responses": answers(_CLASSIFIED, "The decision; no model is called."),
        "openapi_extra": {
            "requestBody": body({"prompt": "What is the capital of France?"}, []),
            "parameters": [FORCE_ROUTE],
        },
    }


def relayed(example: Json, required: list[str]) -> Json:
    """Keyword arguments for a route that is relayed to the local server."""
    return {
        "responses": answers({}, "What the local server answers."),
        "openapi_extra": {"requestBody": body(example, required)},
    }
