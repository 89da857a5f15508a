"""Finds the dialect of a caller whose request was not parsed: by its path, else its headers."""

from typing import Any

from router.errors import RouterError
from router.request import Dialect
from router.wire.anthropic import messages
from router.wire.chat import completions
from web.asgi import Scope, header


def dialect_of(scope: Scope) -> Dialect:
    """Return "messages" for clients of Anthropic, which send their version on every request."""
    if scope["path"].startswith("/v1/messages") or header(scope, b"anthropic-version"):
        return "messages"
    return "chat"


def error_body(error: RouterError, scope: Scope) -> dict[str, Any]:
    """Return a failure in the shape of this caller's dialect."""
    return (
        messages.error_body(error)
        if dialect_of(scope) == "messages"
        else completions.error_body(error)
    )
