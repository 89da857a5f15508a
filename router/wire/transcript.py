"""Conversations of other dialects as Chat Completions messages that every chat template takes.

Local models' chat templates are strict: one system message and only in front, no two messages of
one role in a row, tool results right after their calls and made of text. Other dialects allow
more, and agents use it. Here all content is kept and moved to a place that is allowed.
"""

from collections.abc import Iterable
from typing import Any, Final

Part = dict[str, Any]
Message = dict[str, Any]

REMINDER: Final = "<system-reminder>\n%s\n</system-reminder>"
"""Form of an instruction in mid-conversation: a marked part of the user's turn."""


class Transcript:
    """Collects the parts of a conversation in order; `messages()` returns the messages."""

    def __init__(self) -> None:
        self._system: list[str] = []
        self._messages: list[Message] = []
        """While it grows, an assistant's content is a list of its texts."""
        self._unanswered: set[str] = set()
        """Tool calls of the last step; until they are answered, user parts wait in `_held`."""
        self._held: list[Part] = []

    def system(self, text: str) -> None:
        """Add an instruction."""
        if not text:
            return
        if self._messages or self._held:
            self.user([text_part(REMINDER % text)])
        else:
            self._system.append(text)

    def user(self, parts: Iterable[Part]) -> None:
        """Add parts of a user's message."""
        self._held += parts
        if not self._unanswered:
            self._release()

    def assistant(self, text: str = "", calls: Iterable[Part] = ()) -> None:
        """Add text and tool calls of an answer."""
        self._unanswered.clear()
        self._release()
        if not self._messages or self._messages[-1]["role"] != "assistant":
            self._messages.append({"role": "assistant", "content": []})
        message = self._messages[-1]
        if text:
            message["content"].append(text)
        for call in calls:
            message.setdefault("tool_calls", []).append(call)
            self._unanswered.add(call["id"])

    def tool(self, call_id: str, parts: Iterable[Part]) -> None:
        """Add the result of a call. Its pictures move to the user's turn: results are text."""
        texts = []
        for part in parts:
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                self._held.append(part)
        self._messages.append(
            {"role": "tool", "tool_call_id": call_id, "content": "\n".join(texts)}
        )
        self._unanswered.discard(call_id)

    def messages(self) -> list[Message]:
        """Return the messages; call this once, at the end."""
        self._release()
        for message in self._messages:
            content = message["content"]
            if message["role"] == "assistant":
                message["content"] = "\n\n".join(content)
            elif isinstance(content, list) and len(content) == 1 and content[0]["type"] == "text":
                message["content"] = content[0]["text"]
        if self._system:
            system = {"role": "system", "content": "\n\n".join(self._system)}
            return [system, *self._messages]
        return self._messages

    def _release(self) -> None:
        if not self._held:
            return
        if self._messages and self._messages[-1]["role"] == "user":
            self._messages[-1]["content"] += self._held
        else:
            self._messages.append({"role": "user", "content": self._held})
        self._held = []


def text_part(text: str) -> Part:
    """Return a text part."""
    return {"type": "text", "text": text}


def image_part(url: str, detail: str | None = None) -> Part:
    """Return a picture part; `detail` is OpenAI's level of detail."""
    return {"type": "image_url", "image_url": {"url": url} | ({"detail": detail} if detail else {})}


def file_part(**file: Any) -> Part:
    """Return a file part of `filename`, `file_data` (a data URI), `file_id` or `file_url`.

    Values that are None or empty are left out.
    """
    return {"type": "file", "file": {key: value for key, value in file.items() if value}}


def call(id: str, name: str, arguments: str) -> Part:
    """Return a tool call. Blank arguments and `null` become `{}`, which servers can parse."""
    if arguments.strip() in ("", "null"):
        arguments = "{}"
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
