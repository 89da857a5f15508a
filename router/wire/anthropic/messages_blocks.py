"""Reader of the conversation in a Messages request: its blocks as chat messages.

Anthropic adds types of blocks often, and a request that goes to Claude goes there unchanged. So a
block of unknown type is never refused: for other backends it is put into words, or left out and
reported. A block of known type must have the fields of its type.
"""

from typing import Any, Final

import orjson

from router.wire.fields import have, invalid, need, objects
from router.wire.readable import texts_in
from router.wire.transcript import Part, Transcript, call, file_part, image_part, text_part

_OF_CLAUDE: Final = frozenset(
    {"thinking", "redacted_thinking", "server_tool_use", "mcp_tool_use", "fallback"}
)
"""Blocks of earlier answers that only Claude can read."""


class MessagesReader:
    """Reads one conversation."""

    def __init__(self) -> None:
        self.left_out: dict[str, None] = {}
        """`messages.<type>` of the blocks that were left out, in order."""
        self._transcript = Transcript()

    def read(self, system: Any, messages: Any) -> list[dict[str, Any]]:
        """Return the chat messages. Raises InvalidRequest, naming the field."""
        self._transcript.system(self._system_text(system, "system"))
        given = objects(messages, "messages")
        if not given:
            raise invalid("messages", "must be a list with at least one message")
        for i, message in enumerate(given):
            self._add(message, f"messages[{i}]")
        said = self._transcript.messages()
        if not said:
            raise invalid("messages", "must have a message with content")
        return said

    def _add(self, message: dict[str, Any], where: str) -> None:
        content = message.get("content")
        if isinstance(content, str):
            blocks = [text_part(content)]
        elif isinstance(content, list):
            blocks = objects(content, f"{where}.content")
        else:
            raise invalid(f"{where}.content", "must be a string or a list of blocks")
        match message.get("role"):
            case "user":
                self._add_user(blocks, where)
            case "assistant":
                self._add_assistant(blocks, where)
            case "system":
                self._transcript.system(self._system_text(content, f"{where}.content"))
            case _:
                raise invalid(f"{where}.role", "must be user, assistant or system")

    def _system_text(self, system: Any, where: str) -> str:
        if system is None or isinstance(system, str):
            return system or ""
        if not isinstance(system, list):
            raise invalid(where, "must be a string or a list of blocks")
        texts = []
        for i, block in enumerate(objects(system, where)):
            if block.get("type") in (None, "text"):
                texts.append(need(block.get("text"), str, f"{where}[{i}].text"))
            else:
                texts += [part["text"] for part in self._other(block, f"{where}[{i}]")]
        return "\n\n".join(texts)

    def _add_user(self, blocks: list[dict[str, Any]], where: str) -> None:
        others: list[tuple[dict[str, Any], str]] = []
        for i, block in enumerate(blocks):
            spot = f"{where}.content[{i}]"
            if block.get("type") != "tool_result":
                others.append((block, spot))
                continue
            id = need(block.get("tool_use_id"), str, f"{spot}.tool_use_id")
            parts = self._parts(block.get("content"), f"{spot}.content")
            if block.get("is_error") is True:
                text = "".join(part.get("text", "") for part in parts)
                if not text.lower().startswith("error"):
                    parts.insert(0, text_part("Error:"))
            self._transcript.tool(id, parts)
        for block, spot in others:
            if block.get("type") == "mid_conv_system":
                self._transcript.system(self._system_text(block.get("content"), f"{spot}.content"))
            else:
                self._transcript.user(self._part(block, spot))

    def _add_assistant(self, blocks: list[dict[str, Any]], where: str) -> None:
        texts, calls = [], []
        for i, block in enumerate(blocks):
            spot = f"{where}.content[{i}]"
            match block.get("type"):
                case "tool_use":
                    id = need(block.get("id"), str, f"{spot}.id")
                    name = need(block.get("name"), str, f"{spot}.name")
                    input = have(block.get("input"), dict, f"{spot}.input") or {}
                    calls.append(call(id, name, orjson.dumps(input).decode()))
                case str() as kind if kind in _OF_CLAUDE:
                    pass
                case "text":
                    texts.append(need(block.get("text"), str, f"{spot}.text"))
                case kind:  # the result of a tool that Anthropic runs, a summary of earlier turns…
                    if words := texts_in(block):
                        texts += words
                    elif isinstance(kind, str):
                        self.left_out[f"messages.{kind}"] = None
        self._transcript.assistant("\n\n".join(filter(None, texts)), calls)

    def _parts(self, content: Any, where: str) -> list[Part]:
        """Return the content of a tool result or a document as parts."""
        if content is None or isinstance(content, str):
            return [text_part(content)] if content else []
        blocks = objects(content, where)
        return [
            part for i, block in enumerate(blocks) for part in self._part(block, f"{where}[{i}]")
        ]

    def _part(self, block: dict[str, Any], where: str) -> list[Part]:
        match block.get("type"):
            case "text":
                text = need(block.get("text"), str, f"{where}.text")
                return [text_part(text)] if text else []
            case "image" | "document" as kind:
                source = need(block.get("source"), dict, f"{where}.source")
                title = have(block.get("title"), str, f"{where}.title")
                return self._sourced(kind, source, title, f"{where}.source")
            case "container_upload":
                return [file_part(file_id=need(block.get("file_id"), str, f"{where}.file_id"))]
        return self._other(block, where)

    def _other(self, block: dict[str, Any], where: str) -> list[Part]:
        """Return the readable text of a block of another type; without any it is left out and
        reported."""
        kind = need(block.get("type"), str, f"{where}.type")
        if words := texts_in(block):
            return [text_part("\n".join(words))]
        self.left_out[f"messages.{kind}"] = None
        return [text_part(f"(A block of type {kind} is left out here.)")]

    def _sourced(
        self, kind: str, source: dict[str, Any], title: str | None, where: str
    ) -> list[Part]:
        match need(source.get("type"), str, f"{where}.type"):
            case "base64":
                media_type = need(source.get("media_type"), str, f"{where}.media_type")
                data = need(source.get("data"), str, f"{where}.data")
                uri = f"data:{media_type};base64,{data}"
                if kind == "image":
                    return [image_part(uri)]
                return [file_part(filename=title or "document.pdf", file_data=uri)]
            case "url":
                url = need(source.get("url"), str, f"{where}.url")
                if kind == "image":
                    return [image_part(url)]
                return [file_part(filename=title, file_url=url)]
            case "file":
                return [file_part(file_id=need(source.get("file_id"), str, f"{where}.file_id"))]
            case "text":
                data = need(source.get("data"), str, f"{where}.data")
                return [text_part(f"{title}\n\n{data}" if title else data)]
            case "content":
                head = [text_part(title)] if title else []
                return head + self._parts(source.get("content"), f"{where}.content")
        # Of a type that only Claude knows: a file without data, which no other backend reads.
        return [file_part(filename=title or kind)]
