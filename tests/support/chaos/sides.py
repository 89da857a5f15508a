"""The kinds of backends: their complete answers and their error bodies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from router.backend import Target
from tests.support.scripted import Connection, Request

HELLO, THERE = "Hello", " there"
"""The text of an answer, in two pieces."""


def data(body: Any) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(body)


def chat(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "local-model"}
    return data(head | {"choices": [choice]} | fields)


def claude_event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\n" % kind.encode() + data({"type": kind, **fields})


def claude_delta(text: str) -> bytes:
    return claude_event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def gemini_words(text: str, **fields: Any) -> bytes:
    candidate = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}} | fields
    return data({"candidates": [candidate]})


CLAUDE_MESSAGE: dict[str, Any] = {
    "id": "msg_x",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 7, "output_tokens": 1},
}


@dataclass(frozen=True)
class Kind:
    """One kind of backend. The three parts of its stream make a whole answer."""

    name: str
    target: Target
    begin: bytes
    """The first events, up to and including "Hello"."""
    more: bytes
    """The event with " there"."""
    end: bytes
    """The finish reason and the usage."""
    document: bytes
    """The whole answer, for callers that do not stream."""
    failure: Callable[[int, str], bytes]
    """The body of an answer with an error status."""

    @property
    def other(self) -> Target:
        """Return the side that answers when this one cannot."""
        return "cloud" if self.target == "local" else "local"

    async def well(self, connection: Connection, request: Request) -> None:
        """Send a complete answer."""
        if self.streams(request):
            await connection.stream(self.begin, self.more, self.end)
        else:
            await connection.answer(self.document)

    def streams(self, request: Request) -> bool:
        return bool(request.json.get("stream")) or "streamGenerateContent" in request.path


LOCAL = Kind(
    "local",
    "local",
    begin=chat({"role": "assistant", "content": ""}) + chat({"content": HELLO}),
    more=chat({"content": THERE}),
    end=chat({}, "stop")
    + data(
        {
            "id": "c",
            "choices": [],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
        }
    )
    + b"data: [DONE]\n\n",
    document=orjson.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "local-model",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": HELLO + THERE},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
        }
    ),
    failure=lambda status, said: orjson.dumps({"error": {"message": said, "code": status}}),
)
_CLAUDE_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
CLAUDE = Kind(
    "claude",
    "cloud",
    begin=claude_event("message_start", message=CLAUDE_MESSAGE)
    + claude_event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    + claude_delta(HELLO),
    more=claude_delta(THERE),
    end=claude_event("content_block_stop", index=0)
    + claude_event(
        "message_delta",
        delta={"stop_reason": "end_turn", "stop_sequence": None},
        usage={"output_tokens": 2},
    )
    + claude_event("message_stop"),
    document=orjson.dumps(
        CLAUDE_MESSAGE
        | {"content": [{"type": "text", "text": HELLO + THERE}], "stop_reason": "end_turn"}
    ),
    failure=lambda status, said: orjson.dumps(
        {
            "type": "error",
            "error": {"type": _CLAUDE_ERRORS.get(status, "api_error"), "message": said},
        }
    ),
)
_GEMINI_ERRORS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
GEMINI = Kind(
    "gemini",
    "cloud",
    begin=gemini_words(HELLO),
    more=gemini_words(THERE),
    end=data(
        {
            "candidates": [{"index": 0, "finishReason": "STOP"}],
            "usageMetadata": {
                "promptTokenCount": 7,
                "candidatesTokenCount": 2,
                "totalTokenCount": 9,
            },
        }
    ),
    document=orjson.dumps(
        {
            "candidates": [
                {
                    "index": 0,
                    "content": {"role": "model", "parts": [{"text": HELLO + THERE}]},
                    "finishReason": "STOP",
                }
            ],
            "usageMetadata": {
                "promptTokenCount": 7,
                "candidatesTokenCount": 2,
                "totalTokenCount": 9,
            },
        }
    ),
    failure=lambda status, said: orjson.dumps(
        {
            "error": {
                "code": status,
                "status": _GEMINI_ERRORS.get(status, "INTERNAL"),
                "message": said,
            }
        }
    ),
)
KINDS = (LOCAL, CLAUDE, GEMINI)


async def models(connection: Connection, request: Request) -> None:
    """Answer model queries: a list as a local server, one model as a cloud."""
    if request.path == "/v1/models":
        await connection.answer(orjson.dumps({"data": [{"id": "local-model"}]}))
    elif request.path.startswith("/v1"):
        name = request.path.rpartition("/")[2]
        limits = {"inputTokenLimit": 10**6, "outputTokenLimit": 65536}
        about = {"id": name, "type": "model", "max_input_tokens": 10**6, "max_tokens": 65536}
        await connection.answer(orjson.dumps({"name": f"models/{name}"} | limits | about))
    else:
        await connection.answer(b'{"error": "not found"}', 404)
