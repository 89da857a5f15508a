"""Chat Completions: the encoder of events, and the decoder of a local server's answers.

Source: OpenAI API reference, "Chat Completions"; local servers (LM Studio, llama.cpp, Ollama,
vLLM) add `reasoning_content` or `reasoning` to it.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from router.errors import BackendBroken, BackendError, BackendUnfit, RouterError
from router.events import (
    Batch,
    Event,
    Finish,
    FinishReason,
    Logprobs,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
    Usage,
    each_of,
)
from router.request import ChatRequest, checked, text_of
from router.wire import sse
from router.wire.chat.tool_calls import ToolCalls
from router.wire.decoder import decoded
from router.wire.encoded import EncodedStream, encoded
from router.wire.failures import CONTEXT_LENGTH, TOO_LONG_KINDS, status_failure, status_of
from router.wire.fields import count, parse_body
from router.wire.openai import KEEPALIVE, error_body
from router.wire.responses.parser import chat_of

__all__ = [
    "ID_PREFIX",
    "KEEPALIVE",
    "ChatDecoder",
    "complete",
    "decode",
    "decode_complete",
    "error_body",
    "error_event",
    "parse",
    "stream",
    "usage_body",
    "usage_of",
]

ID_PREFIX: Final = "chatcmpl-"


def parse(raw: bytes, headers: Mapping[str, str] | None = None) -> ChatRequest:
    """Return the request with its body unchanged. Raises InvalidRequest, naming the field.

    Cursor sends bodies of the Responses dialect here too, and reads chat answers to them.
    """
    body = parse_body(raw)
    if "messages" not in body and "input" in body:
        body, dropped = chat_of(body)
        return ChatRequest(body, dropped=dropped)
    return ChatRequest(checked(body))


# --- events to Chat Completions -------------------------------------------------------------------


def stream(
    batches: AsyncIterator[Batch], request: ChatRequest, model: str, answer_id: str, created: int
) -> EncodedStream:
    """Return the answer as SSE: role, deltas, one finish, usage if asked for, [DONE].

    Each chunk joins bytes that are the same in every chunk with the JSON of its delta, which
    takes a microsecond or two. The chunks of a batch come as one piece.
    """
    start = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,' % (
        orjson.dumps(answer_id),
        created,
        orjson.dumps(model),
    )
    usage_null = b',"usage":null' if request.include_usage else b""
    before = start + b'"choices":[{"index":0,"delta":'
    end = b',"finish_reason":null}]' + usage_null + b"}\n\n"
    after = b',"logprobs":null' + end
    chunks = [before, b'{"role":"assistant","content":"","refusal":null}', after]

    def encode(batch: Batch) -> bytes:
        for event in batch:
            if isinstance(event, Finish):
                reason = event.reason.encode()
                chunks.append(
                    b'%b{},"logprobs":null,"finish_reason":"%b"}]%b}\n\n'
                    % (before, reason, usage_null)
                )
                if request.include_usage and event.usage:
                    counts = orjson.dumps(usage_body(event.usage))
                    chunks.append(b'%b"choices":[],"usage":%b}\n\n' % (start, counts))
                # In one piece: many callers hang up when they have read [DONE].
                chunks.append(sse.DONE)
            elif isinstance(event, Logprobs):
                said = orjson.dumps(_logprobs(event.tokens))
                chunks.extend((before, b'{},"logprobs":', said, end))
            else:
                chunks.extend((before, _delta(event), after))
        piece = b"".join(chunks)
        chunks.clear()
        return piece

    return encoded(batches, encode)


def _delta(event: Event) -> bytes:
    match event:
        case TextDelta(text):
            return b'{"content":%b}' % sse.json_of(text)
        case ReasoningDelta(text):
            return b'{"reasoning_content":%b}' % sse.json_of(text)
        case ToolCallDelta(index, arguments):
            return b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (
                index,
                sse.json_of(arguments),
            )
        case ToolCallStart(index, id, name):
            function = {"name": name, "arguments": ""}
            call = {"index": index, "id": id, "type": "function", "function": function}
            return sse.json_of({"tool_calls": [call]})
        case RefusalDelta(text):
            return b'{"refusal":%b}' % sse.json_of(text)
        case _:
            raise TypeError(f"not a delta: {event!r}")


async def complete(
    batches: AsyncIterator[Batch], request: ChatRequest, model: str, answer_id: str, created: int
) -> dict[str, Any]:
    """Return the answer as one JSON object."""
    text, reasoning, refusal = [], [], []
    tokens: list[TokenLogprob] = []
    calls: dict[int, dict[str, Any]] = {}
    arguments: dict[int, list[str]] = {}
    finish = Finish("stop")
    async for event in each_of(batches):
        match event:
            case TextDelta(piece):
                text.append(piece)
            case ReasoningDelta(piece):
                reasoning.append(piece)
            case RefusalDelta(piece):
                refusal.append(piece)
            case Logprobs(more):
                tokens += more
            case ToolCallStart(index, id, name):
                calls[index] = {"id": id, "type": "function", "function": {"name": name}}
                arguments[index] = []
            case ToolCallDelta(index, piece):
                arguments[index].append(piece)
            case Finish():
                finish = event
    for index, call in calls.items():
        call["function"]["arguments"] = "".join(arguments[index])
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(text) if text or not (calls or refusal) else None,
        "refusal": "".join(refusal) or None,
    }
    if reasoning:
        message["reasoning_content"] = "".join(reasoning)
    if calls:
        message["tool_calls"] = list(calls.values())
    choice = {
        "index": 0,
        "message": message,
        "logprobs": _logprobs(tokens) if tokens else None,
        "finish_reason": finish.reason,
    }
    body = {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
    }
    if finish.usage:
        body["usage"] = usage_body(finish.usage)
    return body


def _logprobs(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    content = [_token(token) | {"top_logprobs": list(map(_token, token.top))} for token in tokens]
    return {"content": content, "refusal": None}


def _token(token: TokenLogprob) -> dict[str, Any]:
    text = token.token.encode("utf-8", "replace")
    return {"token": text.decode(), "logprob": token.logprob, "bytes": list(text)}


def usage_body(usage: Usage) -> dict[str, Any]:
    """Return OpenAI's usage object."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def error_event(error: RouterError) -> bytes:
    """Return a failure in mid-stream, the last event: no finish and no [DONE] follow."""
    return sse.event(error_body(error))


# --- Chat Completions to events -------------------------------------------------------------------


def decode(blocks: AsyncIterator[bytes], backend: str = "local") -> AsyncGenerator[Batch, None]:
    """Convert a chat stream, in blocks of whole SSE events, into events; see `ChatDecoder`."""
    return decoded(blocks, ChatDecoder(backend))


def decode_complete(body: Mapping[str, Any], backend: str = "local") -> list[Event]:
    """Return the events of an answer that came as one JSON object. Raises like `ChatDecoder`."""
    decoder = ChatDecoder(backend)
    return [*decoder.read(body, "message"), *decoder.end()]


def _failure(error: Any, backend: str) -> BackendError:
    """Return the error for the `error` field of an answer: a text or an object."""
    fields = error if isinstance(error, dict) else {"message": error}
    message = fields.get("message")
    if not isinstance(message, str) or not message:
        message = f"{backend} reported an error without a message."
    kinds = {str(fields.get(name)) for name in ("type", "code")}
    if kinds & TOO_LONG_KINDS:
        return BackendUnfit(message, backend=backend, code=CONTEXT_LENGTH)
    if (status := status_of(kinds)) is None:
        return BackendBroken(message, backend=backend)
    return status_failure(status, message, backend=backend)


class ChatDecoder:
    """Converts a chat stream into events.

    Reads the variants of local servers: tool calls without index or id, whole or in pieces, with
    their names repeated; "stop" after a tool call; usage in the last choice's chunk or in its
    own. A stream that ends with whole tool calls needs no finish reason. Raises BackendError for
    an error in the stream, BackendBroken for a stream that is not JSON or ends too early.
    """

    def __init__(self, backend: str = "local") -> None:
        self._backend = backend
        self.is_over = False
        self._reason: str | None = None
        self._usage: Usage | None = None
        self._calls = ToolCalls(backend)

    @property
    def has_finished(self) -> bool:
        """Return whether the answer has said why it ends."""
        return self._reason not in (None, "error")

    @property
    def calls_are_whole(self) -> bool:
        """Return whether there are tool calls, all with a name and valid arguments."""
        return bool(self._calls) and self._calls.are_whole

    def feed(self, block: bytes) -> Iterator[Event]:
        """Yield the events of a block; with the events of the end, if [DONE] is in it."""
        for data in sse.data_of(block):
            if data == b"[DONE]":
                self.is_over = True
                yield from self.end()
                return
            yield from self.read(_loads(data, self._backend), "delta")

    def read(self, body: Mapping[str, Any], key: str) -> Iterator[Event]:
        """Yield the events of one chunk ("delta") or of a whole answer ("message")."""
        if error := body.get("error"):
            raise _failure(error, self._backend)
        if usage := body.get("usage"):
            self._usage = usage_of(usage)
        try:
            choice = next((c for c in body.get("choices") or () if not c.get("index")), None)
            if choice is None:
                return
            if said := choice.get(key):
                yield from self._said(said)
            if reason := choice.get("finish_reason"):
                self._reason = str(reason)
        except (AttributeError, TypeError) as error:
            raise BackendBroken(
                f"{self._backend} sent an answer that is not in the Chat Completions format.",
                backend=self._backend,
            ) from error

    def _said(self, said: Mapping[str, Any]) -> Iterator[Event]:
        # Some servers send both names for the same words.
        if reasoning := said.get("reasoning_content") or said.get("reasoning"):
            yield ReasoningDelta(text_of(reasoning))
        if content := text_of(said.get("content")):
            yield TextDelta(content)
        if refusal := said.get("refusal"):
            yield RefusalDelta(text_of(refusal))
        pieces: Iterable[Mapping[str, Any]] = said.get("tool_calls") or ()
        if function := said.get("function_call"):
            pieces = [{"index": 0, "function": function}]
        for piece in pieces:
            yield from self._calls.read(piece)

    def end(self) -> Iterator[Event]:
        """Yield what remains at the end. Raises BackendBroken if the stream ended too early."""
        if self._reason is None:
            if not self.calls_are_whole:
                raise BackendBroken(
                    f"{self._backend} ended its stream in the middle of the answer.",
                    backend=self._backend,
                )
            self._reason = "tool_calls"
        if self._reason == "error":
            raise BackendBroken(
                f"{self._backend} ended its answer with an error.", backend=self._backend
            )
        yield from self._calls.end()
        reason = _FINISH.get(self._reason, "stop")
        if reason in ("stop", "tool_calls"):
            reason = "tool_calls" if self._calls else "stop"
        yield Finish(reason, self._usage)


_FINISH: Final[dict[str, FinishReason]] = {
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}


def usage_of(usage: Any) -> Usage | None:
    """Return the usage that a chat server reports; None if it reports none."""
    if not isinstance(usage, dict):
        return None
    counted = Usage(count(usage, "prompt_tokens"), count(usage, "completion_tokens"))
    prompt = usage.get("prompt_tokens_details")
    completion = usage.get("completion_tokens_details")
    if not prompt and not completion:  # most local servers have none
        return counted
    return replace(
        counted,
        cached_tokens=count(prompt, "cached_tokens"),
        cache_write_tokens=count(prompt, "cache_write_tokens"),
        reasoning_tokens=count(completion, "reasoning_tokens"),
    )


def _loads(data: bytes, backend: str) -> dict[str, Any]:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise BackendBroken(f"{backend} sent something that is not JSON.", backend=backend)
    return body
