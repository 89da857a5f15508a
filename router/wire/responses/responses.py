"""OpenAI Responses as a caller's dialect: `parse`, `stream`, `complete` and the errors.

`parser.py` makes a chat body of a request, `tools.py` functions of its tools, `encoder.py` a
stream or a response of events.
"""

from collections.abc import Mapping
from typing import Final

from router.errors import RouterError
from router.request import ChatRequest
from router.wire import sse
from router.wire.fields import parse_body
from router.wire.openai import KEEPALIVE, error_body
from router.wire.responses.encoder import complete, stream
from router.wire.responses.parser import Recall, chat_of, items_of

__all__ = [
    "ID_PREFIX",
    "KEEPALIVE",
    "Recall",
    "complete",
    "error_body",
    "error_event",
    "items_of",
    "parse",
    "stream",
]

ID_PREFIX: Final = "resp_"


def parse(
    raw: bytes, headers: Mapping[str, str] | None = None, recall: Recall | None = None
) -> ChatRequest:
    """Return the request in chat form, with its own body. Raises InvalidRequest with the field.

    `recall` finds what `previous_response_id` names; without it there are no earlier responses.
    """
    body = parse_body(raw)
    chat, dropped = chat_of(body, recall)
    return ChatRequest(chat, "responses", body, dropped=dropped)


def error_event(error: RouterError) -> bytes:
    """Return a failure in mid-stream, the last event.

    Its fields stand in it twice: at the top as in the reference, and in `error`, where the openai
    clients look.
    """
    detail = error_body(error)["error"]
    flat = {key: detail[key] for key in ("code", "message", "param")}
    return sse.event({"type": "error", **flat, "error": detail, "sequence_number": 0}, "error")
