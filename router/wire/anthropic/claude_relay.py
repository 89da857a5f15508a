"""Claude's own format on both ends: what changes on the way in, what is read on the way out."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from router.errors import BackendBroken, BackendError
from router.events import Usage
from router.wire import sse
from router.wire.anthropic.claude_decoder import BACKEND, counted, failure, usage_of
from router.wire.anthropic.claude_turns import call_id

# JSON escapes the quotes of what the model says, so these are keys and types where they are found.
_TELLING: Final = (b'"message_', b'"error"')


def passed_on(original: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A Messages request as it came in, for the model that is asked.

    Only what another model left behind in the history is put right, because Claude would refuse
    it: thoughts without a signature are taken out, ids of tool calls get Claude's alphabet.
    """
    messages = original.get("messages")
    if isinstance(messages, list):
        messages = [_of_claudes_own(message) for message in messages]
    return {**original, "model": model, "messages": messages}


class Tally:
    """What must be known of a stream whose bytes pass as they are."""

    def __init__(self) -> None:
        self.begun = False
        """Has the answer itself begun? What comes before can still be thrown away."""
        self.ended = False
        self.failure: BackendError | None = None
        """What the stream says went wrong; it is over then."""
        self._told: dict[str, Any] = {}

    @property
    def usage(self) -> Usage | None:
        return usage_of(self._told)

    def passed(self, block: bytes) -> bytes:
        """What of a block of whole events goes on to the caller: all up to an error.

        Raises BackendBroken on what cannot be read, if the answer has not begun.
        """
        if self.begun and not any(mark in block for mark in _TELLING):
            return block
        events = block.replace(b"\r\n", b"\n").split(b"\n\n")
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
                self._told = counted(self._told, event["message"].get("usage"))
            case "error":
                self.failure = failure(event["error"])
            case "message_stop":
                self.ended = self.begun = True
            case "message_delta":
                self.begun = True
                self._told = counted(self._told, event.get("usage"))
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
