"""Messages on both ends, with Claude: changes to the request, and the tally of the answer."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from router.errors import BackendBroken, BackendError
from router.events import Usage
from router.wire import sse
from router.wire.anthropic.claude_decoder import STOP
from router.wire.anthropic.claude_failures import BACKEND, failure
from router.wire.anthropic.claude_turns import call_id
from router.wire.anthropic.claude_usage import counted, usage_of

# JSON escapes the quotes in what the model says, so these are keys and types wherever they stand.
_MARKS: Final = (b'"message_', b"event: message_", b'"error"')


def passed_on(original: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return a caller's own Messages request, for the model that is asked.

    Only traces of other models in the history change, because Claude would refuse them: thoughts
    without a signature are removed, ids of tool calls get Claude's alphabet.
    """
    messages = original.get("messages")
    if isinstance(messages, list):
        messages = [_of_claudes_own(message) for message in messages]
    return {**original, "model": model, "messages": messages}


class ClaudeTally:
    """Collects what the router must know of Claude's stream that passes through it."""

    def __init__(self) -> None:
        self.begun = False
        """Set once the answer itself has begun. Until then another backend can still answer."""
        self.ended = False
        """Set once message_stop has come."""
        self.failure: BackendError | None = None
        """The error that ended the stream."""
        self._has_stopped = False
        self._counts: dict[str, Any] = {}

    @property
    def usage(self) -> Usage | None:
        """Return the usage as far as it is known."""
        return usage_of(self._counts)

    @property
    def ending(self) -> bytes | None:
        """Return what is missing at the end of the stream; None if it ended too early."""
        if self.ended:
            return b""
        return sse.event(STOP, STOP["type"]) if self._has_stopped else None

    def words(self, block: bytes) -> bytes | None:
        """Return a block that goes on unchanged, and in which nothing ends; None for any other."""
        is_plain = self.begun and not any(mark in block for mark in _MARKS)
        return block if is_plain else None

    def passed(self, block: bytes) -> bytes:
        """Return the events of a block that go on to the caller: all up to an error.

        Raises BackendBroken for an unreadable event before the answer has begun.
        """
        if self.words(block) is not None:
            return block
        events = sse.events_of(block)
        for position, event in enumerate(events):
            for data in sse.data_of(event):
                try:
                    self._read(orjson.loads(data))
                except (AttributeError, KeyError, TypeError, ValueError):
                    if not self.begun:
                        message = "Claude sent an event that cannot be read."
                        raise BackendBroken(message, backend=BACKEND) from None
            if self.failure is not None:
                return b"".join(good + b"\n\n" for good in events[:position])
        return block

    def _read(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "ping":
                pass
            case "message_start":
                self._counts = counted(self._counts, event["message"].get("usage"))
            case "error":
                self.failure = failure(event["error"])
            case "message_stop":
                self.ended = self.begun = True
            case "message_delta":
                self.begun = True
                self._has_stopped = bool(event["delta"].get("stop_reason"))
                self._counts = counted(self._counts, event.get("usage"))
            case _:
                self.begun = True


def _of_claudes_own(message: Any) -> Any:
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return message
    kept = [_with_plain_id(block) for block in content if not _is_foreign_thought(block)]
    if not kept and content:
        kept = [{"type": "text", "text": "(thinking)"}]
    return message if kept == content else message | {"content": kept}


def _with_plain_id(block: Any) -> Any:
    match block:
        case {"type": "tool_use", "id": str(name)} if name:
            return block | {"id": call_id(name)}
        case {"type": "tool_result", "tool_use_id": str(name)} if name:
            return block | {"tool_use_id": call_id(name)}
    return block


def _is_foreign_thought(block: Any) -> bool:
    return (
        isinstance(block, dict) and block.get("type") == "thinking" and not block.get("signature")
    )
