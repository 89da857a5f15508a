"""Response headers that report a decision."""

from typing import Final

from router.backend import Relayed, Reply
from router.request import ChatRequest
from router.telemetry.flow import AnswerFlow
from web.asgi import Headers

MOST_DROPPED_CHARS: Final = 2000
"""Clients and proxies refuse an answer whose headers are longer than a few kilobytes."""


def decision_headers(flow: AnswerFlow, reply: Reply | None = None) -> Headers:
    """Return the request's id and, once the router has decided, who answers and why."""
    request_id = flow.entry.id.encode()
    headers: Headers = [(b"x-request-id", request_id)]
    if flow.entry.record.dialect == "messages":  # Anthropic's name for it, which its SDKs read
        headers.append((b"request-id", request_id))
    call = flow.call
    if call is None:
        return headers
    candidate = call.candidate
    model = reply.model if reply is not None else ""
    headers += [
        (b"x-router-target", candidate.target.encode()),
        (b"x-router-backend", candidate.backend.encode()),
        (b"x-router-model", _latin_1(model or candidate.model)),
        (b"x-router-score", f"{call.decision.score.total:.0f}".encode()),
        (b"x-router-reason", call.reason.encode()),
    ]
    if reply is not None and (dropped := _dropped(reply, call.request)):
        headers.append((b"x-router-dropped", _latin_1(_listed(dropped))))
    return headers


def _listed(names: tuple[str, ...]) -> str:
    """Return names in one line, cut with "..." if it is too long: callers choose the names."""
    line = ", ".join(names)
    return line if len(line) <= MOST_DROPPED_CHARS else f"{line[:MOST_DROPPED_CHARS]}..."


def _dropped(reply: Reply, request: ChatRequest) -> tuple[str, ...]:
    """Return the request fields that had no effect.

    A backend that received the caller's own body saw all of it, so only what the backend itself
    left out counts then.
    """
    relayed = isinstance(reply, Relayed) and reply.format == request.dialect
    if relayed and request.original is not None:
        return reply.dropped
    return (*request.dropped, *reply.dropped)


def _latin_1(text: str) -> bytes:
    """Encode a header value; characters that it cannot hold become `?`."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return "".join(c if c.isprintable() else "?" for c in text).encode("latin-1", "replace")
