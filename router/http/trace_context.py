"""The trace that the current request belongs to: `traceparent` of W3C Trace Context.

It is kept by the task that answers the request, and sent with every request to a backend.
"""

import re
from contextvars import ContextVar
from typing import Final

_FORM: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_current: ContextVar[str] = ContextVar("traceparent", default="")


def valid_traceparent(sent: str) -> str:
    """Return a caller's `traceparent`; "" if it is malformed, which the standard says to ignore."""
    return sent if sent and _FORM.fullmatch(sent) else ""


def set_traceparent(traceparent: str) -> None:
    """Set the `traceparent` of the requests that this task sends; "" for none."""
    if _current.get() != traceparent:
        _current.set(traceparent)


def traceparent() -> str:
    """Return the `traceparent` of this task, or ""."""
    return _current.get()
