"""OpenAI Responses as a caller's dialect: `parse`, `stream`, `complete` and the errors.

`parser.py` makes a chat body of a request, `items.py` messages of its items, `tools.py` functions
of its tools, `encoder.py` a stream or a response of events.
"""

from collections.abc import Mapping
from typing import Any, Final

from router.request import ChatRequest, Purpose
from router.wire.fields import invalid, parse_body
from router.wire.openai import KEEPALIVE, error_body
from router.wire.responses.compaction import TRIGGER, asks_for_summary
from router.wire.responses.encoder import complete, error_event, stream
from router.wire.responses.parser import Recall, chat_of, items_of

__all__ = [
    "ID_PREFIX",
    "KEEPALIVE",
    "Recall",
    "compacted",
    "complete",
    "error_body",
    "error_event",
    "items_of",
    "parse",
    "request_of",
    "stream",
    "summary_request",
]

ID_PREFIX: Final = "resp_"


def parse(
    raw: bytes, headers: Mapping[str, str] | None = None, recall: Recall | None = None
) -> ChatRequest:
    """Return the request in chat form, with its own body. Raises InvalidRequest with the field.

    `recall` finds what `previous_response_id` names; without it there are no earlier responses.
    """
    return request_of(parse_body(raw), recall)


def request_of(body: dict[str, Any], recall: Recall | None = None) -> ChatRequest:
    """Return the request of a parsed body in chat form. Raises InvalidRequest with the field."""
    chat, dropped = chat_of(body, recall)
    purpose: Purpose | None = "compaction" if asks_for_summary(body) else None
    return ChatRequest(chat, "responses", body, dropped=dropped, purpose=purpose)


def summary_request(raw: bytes, recall: Recall | None = None) -> ChatRequest:
    """Return the request of a `/responses/compact` body. Raises InvalidRequest with the field."""
    body = parse_body(raw)
    items = [item for item, _ in items_of(body)]
    if not items and not body.get("previous_response_id"):
        raise invalid("input", "must be the conversation to sum up")
    trigger = {"type": TRIGGER}
    return request_of({**body, "input": [*items, trigger], "stream": False}, recall)


def compacted(response: dict[str, Any], request: ChatRequest) -> dict[str, Any]:
    """Return the answer of `/responses/compact`: the user's messages, then the summary."""
    key = response["id"].removeprefix(ID_PREFIX)
    items = [item for item, _ in items_of(request.original or {}) if _is_of_user(item)]
    said = [_whole_message(item, f"msg_{key}_{i}") for i, item in enumerate(items)]
    named = ("id", "created_at", "usage")
    kept: dict[str, Any] = {name: response[name] for name in named if name in response}
    output = [*said, *response["output"]]
    return {**kept, "object": "response.compaction", "output": output}


def _is_of_user(item: dict[str, Any]) -> bool:
    return item.get("role") == "user" and item.get("type") in (None, "message")


def _whole_message(item: dict[str, Any], id: str) -> dict[str, Any]:
    """Return a user's message with all the fields that it has in an answer."""
    content = item["content"]
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
    labels = {"id": id, "type": "message", "status": "completed"}
    return {**labels, **item, "content": parts}
