"""Answers in Anthropic's Messages format: events as its stream of blocks, or as one message.

Source: Anthropic API reference, "Messages" and "Streaming messages".
"""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from router.events import (
    Batch,
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    Usage,
    each_of,
)
from router.request import ChatRequest, size_tokens
from router.wire import sse
from router.wire.blocks import Block, Blocks, Kind, Step
from router.wire.encoded import EncodedStream, encoded
from router.wire.fields import arguments

_STOP: Final[dict[FinishReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


def stream(
    batches: AsyncIterator[Batch], request: ChatRequest, model: str, answer_id: str, created: int
) -> EncodedStream:
    """Return the answer as SSE: message_start, the blocks in order, message_delta, message_stop.

    The input tokens of message_start are an estimate, those of message_delta the backend's count.
    What a batch makes comes as one piece; that may be nothing.
    """
    estimate = _estimate(request)
    said = [start_event(request, model, answer_id)]
    answer = _MessageBlocks(request, answer_id)
    before = b""

    def encode(batch: Batch) -> bytes:
        nonlocal before
        for event in batch:
            for step, block, words in answer.add(event):
                if step == "more":
                    said.append(b"%b%b}}\n\n" % (before, sse.json_of(words)))
                elif step == "begin":
                    before = _before_words(block)
                    start = {"index": block.index, "content_block": answer.empty(block)}
                    said.append(_event({"type": "content_block_start"} | start))
                else:
                    said.append(_event({"type": "content_block_stop", "index": block.index}))
            if isinstance(event, Finish):
                delta = _ending(event, answer.refusal) | {"container": None}
                counts = _counts(event.usage or estimate)
                said.append(_event({"type": "message_delta", "delta": delta, "usage": counts}))
                said.append(_event({"type": "message_stop"}))
        piece = b"".join(said)
        said.clear()
        return piece

    return encoded(batches, encode)


def start_event(request: ChatRequest, model: str, answer_id: str) -> bytes:
    """Return the message_start event; its usage is an estimate of the request's tokens."""
    message = _message(answer_id, model, [], _estimate(request))
    return _event({"type": "message_start", "message": message})


async def complete(
    batches: AsyncIterator[Batch], request: ChatRequest, model: str, answer_id: str, created: int
) -> dict[str, Any]:
    """Return the answer as one message; its blocks are those of the stream."""
    answer = _MessageBlocks(request, answer_id)
    finish = Finish("stop")
    async for event in each_of(batches):
        for _ in answer.add(event):
            pass
        if isinstance(event, Finish):
            finish = event
    usage = finish.usage or _estimate(request)
    content = [answer.whole(block) for block in answer.blocks.done]
    return _message(answer_id, model, content, usage) | _ending(finish, answer.refusal)


def shows_thoughts(request: ChatRequest) -> bool:
    """Return whether the caller has asked for the model's thoughts."""
    thinking = (request.original or {}).get("thinking") or {}
    return thinking.get("type", "disabled") != "disabled" and thinking.get("display") != "omitted"


class _MessageBlocks:
    """The blocks that a caller gets.

    Thoughts only if asked for: callers that did not ask expect text in the first block. A refusal
    is not a block but part of the end of the message.
    """

    def __init__(self, request: ChatRequest, answer_id: str) -> None:
        self._shows_thoughts = shows_thoughts(request)
        self.blocks = Blocks()
        self.refusal = ""
        self._key = answer_id.removeprefix("msg_")

    def add(self, event: Event) -> Iterator[Step]:
        """Yield the steps that are possible once this event is known."""
        match event:
            case Finish():
                return self.blocks.end()
            case RefusalDelta(text):
                self.refusal += text
                return iter(())
            case ReasoningDelta() if not self._shows_thoughts:
                return iter(())
        return self.blocks.add(event)

    def empty(self, block: Block) -> dict[str, Any]:
        """Return a block at its start."""
        match block.kind:
            case "text":
                return {"type": "text", "text": "", "citations": None}
            case "reasoning":
                return {"type": "thinking", "thinking": "", "signature": ""}
        called = {"id": self._call_id(block), "name": block.name, "input": {}}
        return {"type": "tool_use", **called, "caller": {"type": "direct"}}

    def whole(self, block: Block) -> dict[str, Any]:
        """Return a block with its words."""
        match block.kind:
            case "text":
                return self.empty(block) | {"text": block.text}
            case "reasoning":
                return self.empty(block) | {"thinking": block.text}
        return self.empty(block) | {"input": arguments(block.text)}

    def _call_id(self, block: Block) -> str:
        """Return the call's own id if Claude would accept it in a later turn, else a new one.

        Some local servers use characters that Claude refuses, or start at call_0 in every answer,
        while Claude wants each id only once in a conversation.
        """
        return block.id if _LASTING_ID.fullmatch(block.id) else f"toolu_{self._key}_{block.index}"


_LASTING_ID: Final = re.compile(r"[a-zA-Z0-9_-]{8,64}")

_DELTAS: Final[dict[Kind, tuple[str, str]]] = {
    "text": ("text_delta", "text"),
    "reasoning": ("thinking_delta", "thinking"),
    "call": ("input_json_delta", "partial_json"),
}


def _before_words(block: Block) -> bytes:
    """Return the bytes before the words in each delta of a block; two braces follow the words."""
    kind, key = _DELTAS[block.kind]
    return (
        f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":{block.index},'
        f'"delta":{{"type":"{kind}","{key}":'
    ).encode()


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


def _estimate(request: ChatRequest) -> Usage:
    return Usage(size_tokens(request), 0)


def _counts(usage: Usage) -> dict[str, Any]:
    """Return Anthropic's usage object; its input_tokens leave out cached tokens."""
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
