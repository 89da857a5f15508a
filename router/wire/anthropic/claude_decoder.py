"""Decoder of Claude's answers: a stream of server-sent events or a whole message to events.

Source: Anthropic API reference, "Streaming messages", "Handling stop reasons".
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Mapping
from typing import Any, Final

import orjson

from router.errors import BackendBroken
from router.events import (
    Batch,
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from router.wire import fields, sse
from router.wire.anthropic.claude_failures import BACKEND, failure
from router.wire.anthropic.claude_usage import counted, usage_of
from router.wire.decoder import decoded
from router.wire.tool_arguments import ArgumentsReader

FINISH: Final[Mapping[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",  # only where Anthropic runs tools itself, which is never asked for
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
STOP: Final = {"type": "message_stop"}
"""The last event of a stream."""
BEFORE: Final = "before"
"""Key in `ToolCallStart.extra`: the blocks that Claude wrote before the call."""

_DELTA: Final = b"event: content_block_delta\ndata: "


def decode(
    blocks: AsyncIterator[bytes],
    tool_names: Mapping[str, str] | None = None,
    backend: str = BACKEND,
) -> AsyncGenerator[Batch, None]:
    """Convert a Claude message stream, in whole SSE events, into events; see `ClaudeDecoder`."""
    return decoded(blocks, ClaudeDecoder(backend, tool_names))


class ClaudeDecoder:
    """Converts a Claude message stream into events.

    In: message_start, (block start, delta*, stop)*, message_delta, message_stop; ping, error.
    Out: deltas in order, then one Finish. Tool `index` counts tool calls (Claude counts blocks).
    `tool_names`: the caller's name for each tool name that Claude may use instead. Unknown events
    and blocks are ignored. A stream may end after its stop reason, without message_stop. Raises
    the error of an error event, and BackendBroken if the stream ends before the stop reason or
    has another format.
    """

    def __init__(self, backend: str = BACKEND, tool_names: Mapping[str, str] | None = None) -> None:
        self._backend = backend
        self._message = _MessageReader(tool_names or {})

    @property
    def is_over(self) -> bool:
        """Return whether message_stop has come."""
        return self._message.ended

    @property
    def has_finished(self) -> bool:
        """Return whether the stop reason has come."""
        return self._message.has_stopped

    @property
    def usage(self) -> Usage | None:
        """Return the tokens counted so far: from the first event on those of the prompt."""
        return self._message.usage

    def feed(self, block: bytes) -> Iterator[Event]:
        """Yield the events of a block."""
        for data in sse.data_of(block):
            try:
                events = self._message.read(orjson.loads(data))
            except (AttributeError, KeyError, TypeError, ValueError):
                raise _broken(self._backend, "sent an event that cannot be read") from None
            yield from events
            if self.is_over:
                return

    def words(self, block: bytes) -> Batch | None:
        """Decode a block that holds one piece of text and nothing else.

        Returns None for any other block.
        """
        line = block[len(_DELTA) :].rstrip(b"\r\n")
        if not block.startswith(_DELTA) or b"\n" in line:
            return None
        try:
            data = orjson.loads(line)
        except orjson.JSONDecodeError:
            return None
        match data:
            case {
                "type": "content_block_delta",
                "delta": {"type": "text_delta", "text": str(text)},
            }:
                return self._message.text(text)
        return None

    def end(self) -> Iterator[Event]:
        """Yield the Finish of a message that stopped without message_stop."""
        if not self.has_finished:
            raise _broken(self._backend, "ended its stream before the end of the answer")
        yield from self._message.read(STOP)


async def decode_whole(
    chunks: AsyncIterable[bytes],
    tool_names: Mapping[str, str] | None = None,
    backend: str = BACKEND,
) -> AsyncGenerator[Batch, None]:
    """Convert a whole message, in pieces of its JSON, into the events that `decode` yields.

    Before the first event, raises the error that came in its place, and BackendBroken for a
    document that is no message.
    """
    document = b"".join([chunk async for chunk in chunks])
    if sse.is_stream(document):
        async for batch in decode(sse.once(document), tool_names, backend):
            yield batch
        return
    message = message_of(document, backend)
    try:
        batch = _said(message, tool_names or {})
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _broken(backend, "sent a message that cannot be read") from None
    yield batch


def message_of(document: bytes, backend: str = BACKEND) -> dict[str, Any]:
    """Parse a document into a message. Raises the error that it reports, or BackendBroken."""
    try:
        message = orjson.loads(document)
    except orjson.JSONDecodeError:
        message = None
    if not isinstance(message, dict):
        raise _broken(backend, "sent an answer that cannot be read")
    if isinstance(error := message.get("error"), dict):
        raise failure(error)
    if message.get("type") != "message":
        raise _broken(backend, "sent an answer that is not a message")
    return message


def _said(message: dict[str, Any], tool_names: Mapping[str, str]) -> list[Event]:
    """Return the events of a message, read as a stream whose blocks are whole at their start."""
    stream = _MessageReader(tool_names)
    events = list(stream.read({"type": "message_start", "message": message}))
    for block in message["content"]:
        events += stream.read({"type": "content_block_start", "content_block": block})
        events += stream.read({"type": "content_block_stop"})
    stream.read({"type": "message_delta", "delta": message})
    events += stream.read(STOP)
    return events


def _broken(backend: str, how: str) -> BackendBroken:
    who = "Claude" if backend == BACKEND else f"The {backend} server"
    return BackendBroken(f"{who} {how}.", backend=backend)


class _MessageReader:
    """Reads the events of one message, and keeps what later events depend on."""

    def __init__(self, tool_names: Mapping[str, str]) -> None:
        self.ended = False
        self._tool_names = tool_names
        self._usage: dict[str, Any] = {}
        self._stop_reason: str | None = None
        self._refusal = ""
        self._block: dict[str, Any] = {}  # the one that is being written
        self._pieces: list[str] = []  # of its text, thought or signature
        self._before: list[dict[str, Any]] = []  # whole blocks since the last tool call
        self._calls = 0
        self._arguments = ArgumentsReader()  # of the tool call that is being written

    @property
    def has_stopped(self) -> bool:
        """Return whether the stop reason is known."""
        return self._stop_reason is not None

    @property
    def usage(self) -> Usage | None:
        """Return the tokens counted so far."""
        return usage_of(self._usage)

    def read(self, event: dict[str, Any]) -> tuple[Event, ...]:
        """Return the events that one event of Claude's stream makes."""
        match event["type"]:
            case "content_block_delta":
                return self._delta(event["delta"])
            case "content_block_start":
                return self._start(event["content_block"])
            case "content_block_stop":
                return self._stop()
            case "message_start":
                self._usage = counted(self._usage, event["message"].get("usage"))
            case "message_delta":
                self._end(event)
            case "message_stop":
                self.ended = True
                finish = Finish(self._reason(), self.usage)
                return (RefusalDelta(self._refusal), finish) if self._refusal else (finish,)
            case "error":
                raise failure(event["error"])
        return ()

    def text(self, text: str) -> tuple[Event, ...]:
        """Return the events of a piece of text."""
        self._pieces.append(text)
        return (TextDelta(text),)

    def _delta(self, delta: dict[str, Any]) -> tuple[Event, ...]:
        match delta["type"]:
            case "text_delta":
                return self.text(delta["text"])
            case "input_json_delta" if fragment := delta["partial_json"]:
                self._pieces.append(fragment)
                ready = self._arguments.feed(fragment) if self._in_call else ""
                return (ToolCallDelta(self._calls - 1, ready),) if ready else ()
            case "thinking_delta":
                self._pieces.append(thought := delta["thinking"])
                return (ReasoningDelta(thought),)
            case "signature_delta":
                self._block["signature"] = self._block.get("signature", "") + delta["signature"]
            case "citations_delta":
                self._block.setdefault("citations", []).append(delta["citation"])
        return ()

    @property
    def _in_call(self) -> bool:
        return bool(self._block["type"] == "tool_use")

    def _start(self, block: dict[str, Any]) -> tuple[Event, ...]:
        self._block, self._pieces = dict(block), []
        match block["type"]:
            case "text":
                # Claude thought between two texts: keep them apart.
                apart = len(self._before) > 1 and self._before[-1]["type"] != "text"
                gap = (TextDelta("\n\n"),) if apart and self._has_text() else ()
                return (*gap, TextDelta(block["text"])) if block["text"] else gap
            case "thinking" if block["thinking"]:
                return (ReasoningDelta(block["thinking"]),)
            case "tool_use":
                name = self._tool_names.get(block["name"], block["name"])
                extra = {BEFORE: self._before} if self._before else None
                self._before = []
                self._calls += 1
                self._arguments = ArgumentsReader()
                return (ToolCallStart(self._calls - 1, block["id"], name, extra),)
        return ()

    def _has_text(self) -> bool:
        return any(block["type"] == "text" for block in self._before)

    def _stop(self) -> tuple[Event, ...]:
        block = self._block
        written = "".join(self._pieces)
        match block["type"]:
            case "tool_use" if not written:  # the whole input stands in the start event, often {}
                arguments = orjson.dumps(block.get("input") or {}).decode()
                return (ToolCallDelta(self._calls - 1, arguments),)
            case "tool_use" if rest := self._arguments.end():
                return (ToolCallDelta(self._calls - 1, rest),)
            case "text":
                sources = _sources(block.get("citations") or [])
                text = block["text"] + written
                if text.strip():  # Claude sends blank text, but refuses it in a request
                    self._before.append({"type": "text", "text": text})
                return (TextDelta(sources),) if sources else ()
            case "thinking":
                self._before.append(block | {"thinking": block["thinking"] + written})
            case "redacted_thinking":
                self._before.append(block)
        return ()

    def _end(self, event: dict[str, Any]) -> None:
        delta = event["delta"]
        self._stop_reason = fields.text(delta, "stop_reason") or self._stop_reason
        if self._stop_reason == "refusal":
            details = delta.get("stop_details") or {}
            self._refusal = fields.text(details, "explanation") or "Claude declined to answer."
        self._usage = counted(self._usage, event.get("usage"))

    def _reason(self) -> FinishReason:
        if self._stop_reason is None:
            return "tool_calls" if self._calls else "stop"
        return FINISH.get(self._stop_reason, "stop")


def _sources(citations: list[dict[str, Any]]) -> str:
    """Return citations as text, each source once: ` [title](address)` or ` [title, p. 3-4]`."""
    seen: dict[str, None] = {}
    for citation in citations:
        title = citation.get("document_title") or citation.get("title") or citation.get("source")
        url = citation.get("url")
        first, past = citation.get("start_page_number"), citation.get("end_page_number")
        if url:
            seen[f" [{title or url}]({url})"] = None
        elif isinstance(first, int) and isinstance(past, int):  # `past` is the page after
            pages = f"p. {first}" if past <= first + 1 else f"p. {first}-{past - 1}"
            seen[f" [{title or 'document'}, {pages}]"] = None
        elif title:
            seen[f" [{title}]"] = None
    return "".join(seen)
