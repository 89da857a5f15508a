"""Claude's own format on both ends: what changes on the way in, what is read on the way out."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from router.errors import BackendBroken
from router.events import Usage
from router.wire import sse
from router.wire.claude_stream import BACKEND, failure, usage_of

# JSON escapes the quotes of what the model says, so these are keys and types where they are found.
_TELLING: Final = (b'"message_', b'"error"')


def passed_on(original: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A Messages request as it came in, for the model that is asked.

    Thoughts without a signature were not Claude's (another model answered that turn) and would be
    refused; they are taken out.
    """
    messages = original.get("messages")
    if isinstance(messages, list):
        messages = [_without_foreign_thoughts(message) for message in messages]
    return {**original, "model": model, "messages": messages}


class Tally:
    """What must be known of a stream whose bytes pass as they are."""

    def __init__(self) -> None:
        self.begun = False
        """Has the answer itself begun? What comes before can still be thrown away."""
        self.ended = False
        self._told: dict[str, Any] = {}

    @property
    def usage(self) -> Usage | None:
        return usage_of(self._told)

    def read(self, block: bytes) -> None:
        """Look into a block of whole events. Raises the failure that an error event stands for,
        if the answer has not begun."""
        if self.begun and not any(mark in block for mark in _TELLING):
            return
        for data in sse.data_of(block):
            try:
                self._read(orjson.loads(data))
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
                if not self.begun:
                    message = "Claude sent an event that cannot be read."
                    raise BackendBroken(message, backend=BACKEND) from None

    def _read(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "ping":
                pass
            case "message_start":
                self._told |= event["message"].get("usage") or {}
            case "error" if not self.begun:
                raise failure(event["error"])
            case "error" | "message_stop":
                self.ended = self.begun = True
            case "message_delta":
                self.begun = True
                told = event.get("usage") or {}
                self._told |= {name: value for name, value in told.items() if value is not None}
            case _:
                self.begun = True


def _without_foreign_thoughts(message: Any) -> Any:
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list) or not any(map(_is_foreign_thought, content)):
        return message
    kept = [block for block in content if not _is_foreign_thought(block)]
    return message | {"content": kept or [{"type": "text", "text": "(thinking)"}]}


def _is_foreign_thought(block: Any) -> bool:
    return isinstance(block, dict) and (
        block.get("type") == "thinking" and not block.get("signature")
    )
