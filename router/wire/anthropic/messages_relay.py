"""Messages on both ends, with a local server: what the router reads in an answer that passes.

JSON escapes the quotes in what the model says, so a key in quotes is a key wherever it is found.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from router.errors import BackendBroken
from router.events import (
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from router.wire import sse
from router.wire.anthropic.claude_decoder import FINISH, STOP
from router.wire.anthropic.claude_usage import counted, usage_of
from router.wire.chat.relay import ReportedError, in_band_error, objects, rewritten

_MARKS: Final = (b'"message_', b"event: message_", b"error")
_STARTED_MARKS: Final = (b'"message_start"', b'"content_block_start"', b'"message_delta"')


class MessagesTally:
    """Collects what the router must know of a local server's stream that passes through it.

    Adds a message_start if there is none: clients drop an answer that lacks it. llama.cpp sends it
    with its first token only if that is text, and half of a character is not (build 11549).
    """

    def __init__(
        self, start: Callable[[], bytes], full_names: Mapping[str, str] | None = None
    ) -> None:
        """Begin a stream.

        `start` returns a message_start event. `full_names`: the caller's name by short name that a
        model may use.
        """
        self.error: ReportedError | None = None
        """The error that ended the stream."""
        self.is_over = False
        """Set once the answer has said its last word."""
        self._start = start
        self._has_started = False
        self._full_names = full_names or {}
        self._has_stopped = False
        self._counts: dict[str, Any] = {}

    @property
    def usage(self) -> Usage | None:
        """Return the usage as far as it is known."""
        return usage_of(self._counts)

    @property
    def ending(self) -> bytes | None:
        """Return what is missing at the end of the stream; None if it ended too early."""
        if self.is_over:
            return b""
        return sse.event(STOP, STOP["type"]) if self._has_stopped else None

    def words(self, block: bytes) -> bytes | None:
        """Return a block that goes on unchanged, and in which nothing ends; None for any other."""
        is_call = bool(self._full_names) and b'"tool_use"' in block
        if is_call or not self._has_started or any(mark in block for mark in _MARKS):
            return None
        return block

    def passed(self, block: bytes) -> bytes:
        """Return what goes on to the caller of a block of whole events."""
        block = self._read_block(block)
        if not self._has_started and any(mark in block for mark in _STARTED_MARKS):
            self._has_started = True
            if b'"message_start"' not in block:
                return self._start() + block  # not read: its counts are only estimates
        return block

    def _read_block(self, block: bytes) -> bytes:
        """Read a block of whole events; return it with the caller's names, up to an error."""
        if self._full_names and b'"tool_use"' in block:
            block = rewritten(block, self._with_full_names)
        if not any(mark in block for mark in _MARKS):
            return block
        events = sse.events_of(block)
        for position, event in enumerate(events):
            for body in objects(event):
                self._read(body)
                if self.error is not None:
                    return b"".join(good + b"\n\n" for good in events[:position])
        return block

    def _read(self, body: Mapping[str, Any]) -> None:
        match body.get("type"):
            case "message_start":
                message = body.get("message")
                usage = message.get("usage") if isinstance(message, dict) else None
                self._counts = counted(self._counts, usage)
            case "message_delta":
                self._counts = counted(self._counts, body.get("usage"))
                delta = body.get("delta")
                self._has_stopped = isinstance(delta, dict) and bool(delta.get("stop_reason"))
            case "message_stop":
                self.is_over = True
            case _:
                self.error = in_band_error(body)

    def _with_full_names(self, body: dict[str, Any]) -> bool:
        return give_full_names([body.get("content_block")], self._full_names)


def give_full_names(blocks: Any, full_names: Mapping[str, str]) -> bool:
    """Replace short names of tools in the tool_use blocks; return whether there were any."""
    changed = False
    for block in blocks if isinstance(blocks, list) else ():
        match block:
            case {"type": "tool_use", "name": str(name)} if name in full_names:
                block["name"] = full_names[name]
                changed = True
    return changed


def fault_of(document: Mapping[str, Any]) -> str:
    """Return why a whole answer cannot be used; empty if it can."""
    content = document.get("content")
    blocks = content if isinstance(content, list) else [None]
    if all(isinstance(block, dict) and "type" in block for block in blocks):
        return ""
    return "answered without any content"


def first_block(block: bytes) -> str:
    """Return the kind of the first content block that begins in these events; "" if none does."""
    if b'"content_block_start"' in block:
        for body in objects(block):
            match body:
                case {"type": "content_block_start", "content_block": {"type": str(kind)}}:
                    return kind
    return ""


def without_thoughts(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a whole answer for a caller who has not asked for thoughts."""
    content = [block for block in document["content"] if block["type"] != "thinking"]
    return {**document, "content": content}


def decode_complete(document: Mapping[str, Any], backend: str = "local") -> list[Event]:
    """Return the events of a whole answer. Raises BackendBroken for another format."""
    events: list[Event] = []
    calls = 0
    try:
        for block in document["content"]:
            match block["type"]:
                case "text" if block["text"]:
                    events.append(TextDelta(block["text"]))
                case "thinking" if block["thinking"]:
                    events.append(ReasoningDelta(block["thinking"]))
                case "tool_use":
                    arguments = orjson.dumps(block.get("input") or {}).decode()
                    events.append(ToolCallStart(calls, block["id"], block["name"]))
                    events.append(ToolCallDelta(calls, arguments))
                    calls += 1
    except (KeyError, TypeError):
        raise BackendBroken(
            f"{backend} sent an answer that is not in the Messages format.", backend=backend
        ) from None
    reason = FINISH.get(str(document.get("stop_reason")), "stop")
    return [*events, Finish(reason, usage_of(document.get("usage")))]
