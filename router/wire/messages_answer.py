"""Answers in Anthropic's Messages format: our events as its stream of blocks, or as one message.

Source: Anthropic API reference, "Messages" and "Streaming messages".
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from router.events import (
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
from router.request import ChatRequest, size_tokens
from router.wire import sse

_STOP: Final[dict[FinishReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


async def stream(
    events: AsyncIterator[Event], request: ChatRequest, model: str, answer_id: str, created: int
) -> AsyncGenerator[bytes, None]:
    """The answer as SSE: message_start, blocks one after the other, message_delta, message_stop.

    The input tokens of message_start are our estimate (nobody has counted yet), those of
    message_delta the backend's.
    """
    estimate = Usage(size_tokens(request), 0)
    yield _event({"type": "message_start", "message": _message(answer_id, model, [], estimate)})
    blocks = _Blocks()
    refusal = ""
    thoughts = _wants_thoughts(request)
    async for event in events:
        match event:
            case Finish():
                for piece in blocks.end():
                    yield piece
                delta = _ending(event, refusal) | {"container": None}
                counts = _counts(event.usage or estimate)
                yield _event({"type": "message_delta", "delta": delta, "usage": counts})
                yield _event({"type": "message_stop"})
                return
            case RefusalDelta(text):
                refusal += text
            case ReasoningDelta() if not thoughts:
                pass
            case _:
                for piece in blocks.add(event):
                    yield piece


async def complete(
    events: AsyncIterator[Event], request: ChatRequest, model: str, answer_id: str, created: int
) -> dict[str, Any]:
    """The answer as one message; its blocks are those of the stream."""
    blocks = _Blocks()
    refusal = ""
    finish = Finish("stop")
    thoughts = _wants_thoughts(request)
    async for event in events:
        match event:
            case Finish():
                finish = event
            case RefusalDelta(text):
                refusal += text
            case ReasoningDelta() if not thoughts:
                pass
            case _:
                for _ in blocks.add(event):
                    pass
    for _ in blocks.end():
        pass
    content = [block.whole() for block in blocks.closed]
    usage = finish.usage or Usage(size_tokens(request), 0)
    return _message(answer_id, model, content, usage) | _ending(finish, refusal)


def _wants_thoughts(request: ChatRequest) -> bool:
    """Has the caller asked to see them? Callers that have not expect text in the first block."""
    thinking = (request.original or {}).get("thinking") or {}
    return thinking.get("type", "disabled") != "disabled" and thinking.get("display") != "omitted"


@dataclass(slots=True)
class _Block:
    """One content block: "text", "thinking", or a tool call, whose pieces join to its input."""

    kind: str
    id: str = ""
    name: str = ""
    call: int | None = None
    pieces: list[str] = field(default_factory=list)
    sent: int = 0
    """Pieces that have been sent."""

    def empty(self) -> dict[str, Any]:
        match self.kind:
            case "text":
                return {"type": "text", "text": "", "citations": None}
            case "thinking":
                return {"type": "thinking", "thinking": "", "signature": ""}
        direct = {"type": "direct"}
        return {
            "type": "tool_use", "id": self.id, "name": self.name, "input": {}, "caller": direct
        }  # fmt: skip

    def whole(self) -> dict[str, Any]:
        joined = "".join(self.pieces)
        if self.kind == "tool_use":
            return self.empty() | {"input": _input(joined)}
        return self.empty() | {self.kind: joined}

    @property
    def is_whole(self) -> bool:
        """Can nothing follow? Of a tool call that is when its arguments are an object."""
        if self.kind != "tool_use":
            return True
        if not self.pieces or not self.pieces[-1].rstrip().endswith("}"):
            return False
        try:
            orjson.loads("".join(self.pieces))
        except orjson.JSONDecodeError:
            return False
        return True


class _Blocks:
    """Puts events into blocks that come one after the other, however the events interleave.

    What belongs to another block than the open one waits while the open one is a tool call whose
    arguments are not whole yet. Once they are, only white space can follow.
    """

    def __init__(self) -> None:
        self.closed: list[_Block] = []
        self._open: list[_Block] = []
        """The first one is being sent; the others wait."""
        self._prefix = b""

    def add(self, event: Event) -> Iterator[bytes]:
        match event:
            case ToolCallStart(index, id, name):
                self._open.append(_Block("tool_use", id, name, call=index))
            case ToolCallDelta(index, arguments) if arguments:
                for block in self._open:
                    if block.call == index:
                        block.pieces.append(arguments)
            case TextDelta(text) if text:
                self._running("text").pieces.append(text)
            case ReasoningDelta(text) if text:
                self._running("thinking").pieces.append(text)
        yield from self._flush(ended=False)

    def end(self) -> Iterator[bytes]:
        yield from self._flush(ended=True)

    def _running(self, kind: str) -> _Block:
        if not self._open or self._open[-1].kind != kind:
            self._open.append(_Block(kind))
        return self._open[-1]

    def _flush(self, ended: bool) -> Iterator[bytes]:
        """Send what can be sent now of the open block, and of those behind it."""
        while self._open:
            block = self._open[0]
            if not self._prefix:
                yield self._begin(block)
            for piece in block.pieces[block.sent :]:
                yield b"%b%b}}\n\n" % (self._prefix, sse.json_of(piece))
            block.sent = len(block.pieces)
            if not ended and (len(self._open) == 1 or not block.is_whole):
                return
            yield self._close()

    def _begin(self, block: _Block) -> bytes:
        index = len(self.closed)
        kind, key = {
            "text": ("text_delta", "text"),
            "thinking": ("thinking_delta", "thinking"),
            "tool_use": ("input_json_delta", "partial_json"),
        }[block.kind]
        self._prefix = (
            f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":{index},'
            f'"delta":{{"type":"{kind}","{key}":'
        ).encode()
        start = {"type": "content_block_start", "index": index, "content_block": block.empty()}
        return _event(start)

    def _close(self) -> bytes:
        stop = {"type": "content_block_stop", "index": len(self.closed)}
        self.closed.append(self._open.pop(0))
        self._prefix = b""
        return _event(stop)


def _input(arguments: str) -> dict[str, Any]:
    """A tool call's input. What is not a JSON object, as when it was cut off, is kept as text."""
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        value = None
    return value if isinstance(value, dict) else {"_raw": arguments}


def _message(answer_id: str, model: str, content: list[Any], usage: Usage) -> dict[str, Any]:
    return {
        "id": answer_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": _counts(usage)
        | {"cache_creation": None, "inference_geo": None, "service_tier": None},
    }


def _ending(finish: Finish, refusal: str) -> dict[str, Any]:
    details = None
    if finish.reason == "content_filter":
        details = {"type": "refusal", "category": None, "explanation": refusal or None}
    return {
        "stop_reason": _STOP[finish.reason],
        "stop_sequence": None,
        "stop_details": details,
    }


def _counts(usage: Usage) -> dict[str, Any]:
    """Anthropic's input_tokens leave out what went through the cache."""
    cached = usage.cached_tokens + usage.cache_write_tokens
    return {
        "input_tokens": max(usage.prompt_tokens - cached, 0),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "server_tool_use": None,
    }


def _event(data: dict[str, Any]) -> bytes:
    return sse.event(data, data["type"])
