"""The trace that the current request belongs to: the headers `traceparent` and `tracestate`.

It is kept by the task that answers the request, and sent with every request to a backend.
Source: W3C, "Trace Context".
"""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

Trace = Mapping[str, str]
"""The trace's headers by name: none, `traceparent` alone, or both."""
NO_TRACE: Final[Trace] = {}
MOST_MEMBERS: Final = 32
MOST_CHARS: Final = 512
LONG_CHARS: Final = 128
"""Members above this size are the first to be left out of a `tracestate` that is too long."""

_PARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# A key and its value: printable ASCII without a comma, an equals sign and a space at its end.
_MEMBER: Final = re.compile(r"([a-z0-9][a-z0-9_*/@-]{0,255})=([ -+\--<>-~]{0,255}[!-+\--<>-~])")
_current: ContextVar[Trace] = ContextVar("trace", default=NO_TRACE)


def valid_trace(parent: str, state: str) -> Trace:
    """Return a caller's `traceparent` and `tracestate` as far as they are well formed.

    `state`: the values of all `tracestate` headers, joined by commas. It needs a `traceparent`.
    """
    if not _PARENT.fullmatch(parent):
        return NO_TRACE
    state = _valid_state(state) if state else ""
    return {"traceparent": parent} | ({"tracestate": state} if state else {})


def set_trace(trace: Trace) -> None:
    """Set the headers that this task sends to backends."""
    if _current.get() != trace:
        _current.set(trace)


def current_trace() -> Trace:
    """Return the headers that this task sends to backends."""
    return _current.get()


def _valid_state(sent: str) -> str:
    members = [member for one in sent.split(",") if (member := one.strip(" \t"))]
    if len(members) > MOST_MEMBERS:
        return ""
    found = [_MEMBER.fullmatch(member) for member in members]
    keys = {one[1] for one in found if one}
    if len(keys) < len(members):  # one is malformed, or a key is there twice
        return ""
    if len(",".join(members)) > MOST_CHARS:
        members = [member for member in members if len(member) <= LONG_CHARS]
    while len(",".join(members)) > MOST_CHARS:
        members.pop()
    return ",".join(members)
