"""Anthropic Messages on both ends: what is looked for in a local answer whose bytes pass.

JSON escapes the quotes of what the model says, so a name in quotes is a name where it is found.
"""

from collections.abc import Mapping
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
from router.wire.anthropic.claude_decoder import FINISH, counted, usage_of
from router.wire.chat.relay import in_band_error, objects

_TELLING: Final = (b'"message_', b'error"')


class Tally:
    """What must be known of a stream that is passed on."""

    def __init__(self) -> None:
        self.error = ""
        """What the stream says went wrong; it is over then."""
        self.is_over = False
        """Has the answer said its last word?"""
        self._told: dict[str, Any] = {}

    @property
    def usage(self) -> Usage | None:
        return usage_of(self._told)

    @property
    def ending(self) -> bytes | None:
        """What the end of the stream lacks: nothing; None if it ended too early."""
        return b"" if self.is_over else None

    def passed(self, block: bytes) -> bytes:
        """What of a block of whole events goes on to the caller."""
        if not any(mark in block for mark in _TELLING):
            return block
        events = block.replace(b"\r\n", b"\n").split(b"\n\n")
        for position, event in enumerate(events):
            for body in objects(event):
                self._read(body)
                if self.error:
                    return b"".join(good + b"\n\n" for good in events[:position])
        return block

    def _read(self, body: Mapping[str, Any]) -> None:
        match body.get("type"):
            case "message_start":
                message = body.get("message")
                usage = message.get("usage") if isinstance(message, dict) else None
                self._told = counted(self._told, usage)
            case "message_delta":
                self._told = counted(self._told, body.get("usage"))
            case "message_stop":
                self.is_over = True
            case kind if body.get("error") or str(kind).endswith("error"):
                self.error = in_band_error(body) or str(body.get("message") or kind)


def fault_of(document: Mapping[str, Any]) -> str:
    """Why a whole answer is none; empty if it is one."""
    content = document.get("content")
    blocks = content if isinstance(content, list) else [None]
    if all(isinstance(block, dict) and "type" in block for block in blocks):
        return ""
    return "answered without any content"


def first_block(block: bytes) -> str:
    """The kind of the first content block that begins in a block of events; "" if none does."""
    if b'"content_block_start"' in block:
        for body in objects(block):
            match body:
                case {"type": "content_block_start", "content_block": {"type": str(kind)}}:
                    return kind
    return ""


def without_thoughts(document: Mapping[str, Any]) -> dict[str, Any]:
    """A whole answer for a caller who has not asked for thoughts."""
    said = [block for block in document["content"] if block["type"] != "thinking"]
    return {**document, "content": said}


def decode_complete(document: Mapping[str, Any], backend: str = "local") -> list[Event]:
    """The events of a whole answer. Raises BackendBroken on one in another format."""
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
