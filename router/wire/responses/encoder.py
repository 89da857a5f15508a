"""Answers in OpenAI's Responses format: events as its stream of items, or as one response.

Source: OpenAI API reference, "Responses" and "Streaming events".
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final

from router.errors import NoUsableAnswer, RouterError
from router.events import Batch, Event, Finish, TextDelta, Usage, each_of
from router.request import ChatRequest
from router.wire import sse
from router.wire.blocks import Block, Blocks, Kind, Step
from router.wire.encoded import EncodedStream
from router.wire.openai import error_body
from router.wire.responses.compaction import asks_for_summary, item_of
from router.wire.responses.tools import Tool, custom_input, tools_of

Json = dict[str, Any]

_ECHOED: Final = frozenset(
    {"instructions", "max_output_tokens", "max_tool_calls", "parallel_tool_calls", "metadata"}
    | {"previous_response_id", "prompt_cache_key", "safety_identifier", "temperature", "top_p"}
    | {"tool_choice", "top_logprobs", "truncation", "user"}
)


def stream(
    batches: AsyncIterator[Batch],
    request: ChatRequest,
    model: str,
    answer_id: str,
    created: int,
    *,
    keep: Callable[[Json], Awaitable[None]] | None = None,
) -> EncodedStream:
    """Return the answer as SSE: created, in_progress, the items in order, and the last event.

    There is no [DONE]. What a batch makes comes as one piece; that may be nothing. `keep` gets the
    response before its last event is sent: callers hang up when they have read that.
    """
    answer = _events_of(request, model, answer_id, created)

    def encode(batch: Batch) -> bytes:
        return b"".join([piece for event in batch for piece in answer.add(event)])

    return EncodedStream(_chunks(batches, answer, keep), encode, answer.fail)


async def _chunks(
    batches: AsyncIterator[Batch],
    answer: "_ResponseEvents",
    keep: Callable[[Json], Awaitable[None]] | None,
) -> AsyncGenerator[bytes, None]:
    said = answer.unsent
    said += [answer.event(kind, response=answer.response()) for kind in ("created", "in_progress")]
    async for batch in batches:
        for event in batch:
            if isinstance(event, Finish):
                said += answer.finish(event)
                response = answer.ended(event)
                if keep:
                    await keep(response)
                said.append(answer.event(response["status"], response=response))
            else:
                said += answer.add(event)
        if said:
            piece = b"".join(said)
            said.clear()
            yield piece


def error_event(error: RouterError, number: int = 0) -> bytes:
    """Return a failure in mid-stream as the event with this number.

    Its fields stand in it twice: at the top as in the reference, and in `error`, where the openai
    clients look.
    """
    detail = error_body(error)["error"]
    flat = {key: detail[key] for key in ("code", "message", "param")}
    return sse.event({"type": "error", **flat, "error": detail, "sequence_number": number}, "error")


async def complete(
    batches: AsyncIterator[Batch], request: ChatRequest, model: str, answer_id: str, created: int
) -> Json:
    """Return the answer as one response, the same that ends the stream."""
    answer = _events_of(request, model, answer_id, created)
    finish = Finish("stop")
    async for event in each_of(batches):
        if isinstance(event, Finish):
            finish = event
        pieces = answer.finish(event) if isinstance(event, Finish) else answer.add(event)
        for _ in pieces:
            pass
    return answer.ended(finish)


class _ResponseEvents:
    """The events of one answer: its output so far, and the next event's number."""

    def __init__(self, request: ChatRequest, model: str, answer_id: str, created: int) -> None:
        original = request.original or {}
        self._tools = tools_of(original).by_chat_name
        self._key = answer_id.removeprefix("resp_")
        self._blocks = Blocks()
        self._output: list[Json] = []
        self.unsent: list[bytes] = []
        """Events that wait for the end of their batch."""
        self._number = 0
        self._before = b""
        """The bytes before the words in each delta of the open item."""
        self._base = _echo(original) | {
            "id": answer_id,
            "object": "response",
            "created_at": created,
            "model": model,
        }

    def event(self, kind: str, **data: Any) -> bytes:
        """Return the next event, `response.<kind>`."""
        name = f"response.{kind}"
        numbered = {"type": name, **data, "sequence_number": self._number}
        self._number += 1
        return sse.event(numbered, name)

    def response(self, status: str = "in_progress") -> Json:
        """Return the response as it is now."""
        state = {"error": None, "incomplete_details": None, "output": self._output}
        return self._base | state | {"status": status}

    def ended(self, finish: Finish) -> Json:
        """Return the response at its end."""
        why = None
        if finish.reason == "length":
            why = {"reason": "max_output_tokens"}
        elif finish.reason == "content_filter" and not self._has_refused:
            why = {"reason": "content_filter"}
        response = self.response("incomplete" if why else "completed")
        response["incomplete_details"] = why
        if finish.usage:
            response["usage"] = _usage(finish.usage)
        return response

    @property
    def _has_refused(self) -> bool:
        """Return whether the model explained its refusal; that is its whole answer then."""
        return any(block.kind == "refusal" for block in self._blocks.done)

    def fail(self, error: RouterError) -> bytes:
        """Return the last events of a stream that fails: response.failed and error."""
        failed = self.event("failed", response=self._failed(error))
        return b"".join((*self.unsent, failed, error_event(error, self._number)))

    def _failed(self, error: RouterError) -> Json:
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        if error.code == "context_length_exceeded":  # at which Codex compacts
            code = error.code
        return self.response("failed") | {"error": {"code": code, "message": error.message}}

    def add(self, event: Event) -> Iterator[bytes]:
        """Yield what can be sent once this event is known."""
        yield from self._steps(self._blocks.add(event))

    def finish(self, finish: Finish) -> Iterator[bytes]:
        """Yield what is left to send before the last event."""
        steps = [*self._blocks.end()]
        last = steps[-1][1] if steps else None
        was_cut = finish.reason == "length" or (
            finish.reason == "content_filter" and last is not None and last.kind != "refusal"
        )
        yield from self._steps(iter(steps), cut=last if was_cut else None)

    def _steps(self, steps: Iterator[Step], cut: Block | None = None) -> Iterator[bytes]:
        for step, block, words in steps:
            if step == "begin":
                yield from self._begin(block)
            elif step == "end":
                yield from self._end(block, "incomplete" if block is cut else "completed")
            elif self._before:
                numbered = self._number
                self._number += 1
                yield b'%b%b,"sequence_number":%d}\n\n' % (
                    self._before, sse.json_of(words), numbered
                )  # fmt: skip

    def _begin(self, block: Block) -> Iterator[bytes]:
        at = {"output_index": block.index}
        yield self.event("output_item.added", **at, item=self._item(block, "in_progress"))
        at = self._at(block)
        match block.kind:
            case "text" | "refusal":
                yield self.event("content_part.added", **at, part=_part(block, ""))
            case "reasoning":
                yield self.event("reasoning_summary_part.added", **at, part=_part(block, ""))
        self._before = b""
        if not self._is_custom(block):
            name = f"response.{_SPOKEN[block.kind]}.delta"
            logprobs: Json = {"logprobs": []} if block.kind == "text" else {}
            head = sse.json_of({"type": name, **at, **logprobs, "delta": ""})
            self._before = b"event: %b\ndata: %b" % (name.encode(), head.removesuffix(b'""}'))

    def _end(self, block: Block, status: str) -> Iterator[bytes]:
        at, text = self._at(block), block.text
        match block.kind:
            case "text":
                yield self.event("output_text.done", **at, text=text, logprobs=[])
                yield self.event("content_part.done", **at, part=_part(block, text))
            case "refusal":
                yield self.event("refusal.done", **at, refusal=text)
                yield self.event("content_part.done", **at, part=_part(block, text))
            case "reasoning":
                yield self.event("reasoning_summary_text.done", **at, text=text)
                yield self.event("reasoning_summary_part.done", **at, part=_part(block, text))
            case "call" if self._is_custom(block):
                text = custom_input(text)
                yield self.event("custom_tool_call_input.delta", **at, delta=text)
                yield self.event("custom_tool_call_input.done", **at, input=text)
            case "call":
                name = self._tool(block).name
                yield self.event("function_call_arguments.done", **at, name=name, arguments=text)
        item = self._item(block, status)
        self._output.append(item)
        yield self.event("output_item.done", output_index=block.index, item=item)

    def _tool(self, block: Block) -> Tool:
        return self._tools.get(block.name) or Tool("function", block.name)

    def _is_custom(self, block: Block) -> bool:
        return block.kind == "call" and self._tool(block).kind == "custom"

    def _at(self, block: Block) -> Json:
        """Return the place that the words of a block belong to."""
        at: Json = {"item_id": self._item_id(block), "output_index": block.index}
        match block.kind:
            case "text" | "refusal":
                at["content_index"] = 0
            case "reasoning":
                at["summary_index"] = 0
        return at

    def _item_id(self, block: Block) -> str:
        prefix = {"reasoning": "rs", "call": "ctc" if self._is_custom(block) else "fc"}
        return f"{prefix.get(block.kind, 'msg')}_{self._key}_{block.index}"

    def _item(self, block: Block, status: str) -> Json:
        """Return an output item; without its words while it is in progress."""
        id, begun = self._item_id(block), status == "in_progress"
        text = "" if begun else block.text
        match block.kind:
            case "reasoning":
                summary = [] if begun else [_part(block, text)]
                return {"id": id, "type": "reasoning", "summary": summary}
            case "text" | "refusal":
                content = [] if begun else [_part(block, text)]
                said = {"role": "assistant", "content": content}
                return {"id": id, "type": "message", "status": status, **said}
        tool = self._tool(block)
        called = {"call_id": block.id, "name": tool.name}
        if tool.namespace:
            called["namespace"] = tool.namespace
        if tool.kind == "custom":
            return {"id": id, "type": "custom_tool_call", **called, "input": custom_input(text)}
        return {"id": id, "type": "function_call", "status": status, **called, "arguments": text}


class _SummaryEvents(_ResponseEvents):
    """The events of a summary of the conversation: one item, sent at the end."""

    def __init__(self, request: ChatRequest, model: str, answer_id: str, created: int) -> None:
        super().__init__(request, model, answer_id, created)
        self._texts: list[str] = []
        self._model = model
        self._is_private = request.is_private

    def add(self, event: Event) -> Iterator[bytes]:
        """Collect the text; nothing can be sent yet."""
        if isinstance(event, TextDelta):
            self._texts.append(event.text)
        return iter(())

    def finish(self, finish: Finish) -> Iterator[bytes]:
        """Yield the item. Raises NoUsableAnswer if the model has written no summary."""
        summary = "".join(self._texts).strip()
        if not summary:
            problem = "The model has written no summary of the conversation."
            raise NoUsableAnswer(problem, backend=self._model)
        item = item_of(summary, f"cmp_{self._key}", is_private=self._is_private)
        self._output.append(item)
        yield self.event("output_item.added", output_index=0, item=item)
        yield self.event("output_item.done", output_index=0, item=item)


def _events_of(request: ChatRequest, model: str, answer_id: str, created: int) -> _ResponseEvents:
    is_summary = asks_for_summary(request.original or {})
    kind = _SummaryEvents if is_summary else _ResponseEvents
    return kind(request, model, answer_id, created)


_SPOKEN: Final[dict[Kind, str]] = {
    "text": "output_text",
    "refusal": "refusal",
    "reasoning": "reasoning_summary_text",
    "call": "function_call_arguments",
}


def _part(block: Block, text: str) -> Json:
    match block.kind:
        case "refusal":
            return {"type": "refusal", "refusal": text}
        case "reasoning":
            return {"type": "summary_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _echo(original: Json) -> Json:
    """Return what the response repeats of its request, with the reference's defaults."""
    given = {name: original[name] for name in _ECHOED if original.get(name) is not None}
    tools = [
        {"strict": None, "parameters": None} | tool if tool["type"] == "function" else tool
        for tool in original.get("tools") or ()
    ]
    reasoning = {"effort": None, "summary": None} | (original.get("reasoning") or {})
    text = {"format": {"type": "text"}} | (original.get("text") or {})
    return _DEFAULTS | given | {"tools": tools, "reasoning": reasoning, "text": text}


_DEFAULTS: Final[Json] = {
    "background": False,
    "instructions": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "temperature": None,
    "tool_choice": "auto",
    "top_p": None,
    "truncation": "disabled",
}


def _usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
