"""Decoder of Gemini's answers: bytes of `generateContent`, or of
`streamGenerateContent?alt=sse`, to events.

Source: Gemini API reference, "GenerateContentResponse"; the google-genai SDK's types.
"""

import re
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from router.errors import BackendBroken, BackendMisconfigured, NoUsableAnswer
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
)
from router.wire import sse
from router.wire.decoder import decoded
from router.wire.fields import count
from router.wire.gemini.rpc_status import NAME, failure

SIGNATURE: Final = "thought_signature"
"""Key of a thought signature in `ToolCallStart.extra`: base64, as Gemini sent it."""

FINISHES: Final[Mapping[str, FinishReason]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "IMAGE_OTHER": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
}
"""Finish reasons that are an end; any other is a failure of the model (`Malformed`)."""

_NOT_WORDS: Final = frozenset({"error", "promptFeedback"})
"""Keys of an event that must be read in full."""
_PLAIN_CANDIDATE: Final = frozenset({"content", "index"})
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Malformed(NoUsableAnswer):
    """The model's answer was empty or unusable for Gemini itself; another attempt may succeed."""


def decode(
    chunks: AsyncIterator[bytes], names: Mapping[str, str] | None = None
) -> AsyncGenerator[Batch, None]:
    """Convert a Gemini stream into events; see `GeminiDecoder`."""
    return decoded(sse.blocks(chunks), GeminiDecoder(names or {}))


async def decode_whole(
    chunks: AsyncIterator[bytes], names: Mapping[str, str] | None = None
) -> AsyncGenerator[Batch, None]:
    """Convert a whole answer, in pieces of its JSON, into the events that `decode` yields.

    Errors are raised before the first event.
    """
    document = b"".join([chunk async for chunk in chunks])
    if sse.is_stream(document):
        async for batch in decode(sse.once(document), names):
            yield batch
        return
    decoder = GeminiDecoder(names or {})
    yield [*decoder.feed(document), *decoder.end()]


def _data(block: bytes) -> Sequence[bytes]:
    """Return the data of each event. A whole answer is bare JSON, as is an error in a stream."""
    bare = block.strip()
    return (bare,) if bare.startswith((b"{", b"[")) else sse.data_of(block)


class GeminiDecoder:
    """Converts a Gemini stream into events.

    Out: deltas in order, then one Finish. A tool call comes whole, its arguments as one delta.
    `names`: the caller's tool name for each name that may come back, where they differ. Raises
    Malformed if the model failed or said nothing, BackendBroken if the stream ends too early, and
    the error that an event of the stream reports. No event is the last one: a stream ends with its
    connection.
    """

    is_over: Final = False

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._ids: set[str] = set()
        self._has_content = False
        self._reason = ""
        self._message = ""
        self._blocked = ""
        self._counts: Any = None
        """The last token counts that Gemini has sent; each event has them."""

    @property
    def has_finished(self) -> bool:
        """Return whether the answer has said why it ends."""
        return self._reason in FINISHES

    @property
    def usage(self) -> Usage | None:
        """Return the tokens counted so far."""
        return _usage(self._counts) if self._counts else None

    def feed(self, block: bytes) -> Iterator[Event]:
        """Yield the events of a block. Raises BackendError."""
        for data in _data(block):
            try:
                payload = orjson.loads(data)
            except orjson.JSONDecodeError:
                raise BackendBroken(
                    "Gemini sent an event that is not JSON.", backend=NAME
                ) from None
            try:
                yield from self._payload(payload)
            except (AttributeError, LookupError, TypeError, ValueError):
                raise BackendBroken(
                    "Gemini sent an event in a form it does not document.", backend=NAME
                ) from None

    def words(self, block: bytes) -> Batch | None:
        """Decode a block that holds one piece of text and nothing else.

        Returns None for any other block.
        """
        line = block.removeprefix(b"data: ").rstrip(b"\r\n")
        if not block.startswith(b"data: ") or b"\n" in line:
            return None
        try:
            payload = orjson.loads(line)
            (candidate,) = payload["candidates"]
            (part,) = candidate["content"]["parts"]
            text = part["text"]
        except (LookupError, TypeError, ValueError):
            return None
        is_plain = candidate.keys() <= _PLAIN_CANDIDATE and not candidate.get("index")
        if not is_plain or part.keys() != {"text"} or not (isinstance(text, str) and text):
            return None
        return list(self._payload(payload)) if payload.keys().isdisjoint(_NOT_WORDS) else None

    def _payload(self, payload: Any) -> Iterator[Event]:
        if isinstance(payload, list) or "error" in payload:
            raise failure(payload)
        if counts := payload.get("usageMetadata"):
            self._counts = counts
        if blocked := (payload.get("promptFeedback") or {}).get("blockReason"):
            said = payload["promptFeedback"].get("blockReasonMessage")
            self._blocked = str(said or f"Gemini blocked the prompt: {blocked}.")
        for candidate in payload.get("candidates") or ():
            if candidate.get("index"):
                continue
            for part in (candidate.get("content") or {}).get("parts") or ():
                yield from self._part(part)
            if result := candidate.get("logprobsResult"):
                yield _logprobs(result)
            if reason := candidate.get("finishReason"):
                self._reason = str(reason)
                self._message = str(candidate.get("finishMessage") or "")

    def end(self) -> Iterator[Event]:
        """Yield the last events. Raises BackendError if the answer is not complete."""
        if self._reason:
            reason = self._finish_reason()
        elif self._blocked:
            reason = "content_filter"
        else:
            raise BackendBroken(
                "Gemini ended its stream before the end of the answer.", backend=NAME
            )
        if reason == "stop" and not self._has_content:
            raise Malformed("Gemini ended its answer without any content.", backend=NAME)
        if reason == "content_filter":
            stopped = self._message or f"Gemini stopped the answer: {self._reason}."
            yield RefusalDelta(self._blocked or stopped)
        yield Finish(reason, self.usage)

    def _finish_reason(self) -> FinishReason:
        if self._reason == "PUP_LIMITED_DISABLED":
            raise BackendMisconfigured(
                "Google has limited the account of GEMINI_API_KEY (prohibited use policy).",
                backend=NAME,
            )
        reason = FINISHES.get(self._reason)
        if reason is None:
            said = f": {self._message}" if self._message else "."
            raise Malformed(f"Gemini stopped with {self._reason}{said}", backend=NAME)
        return "tool_calls" if reason == "stop" and self._ids else reason

    def _part(self, part: Mapping[str, Any]) -> Iterator[Event]:
        if isinstance(text := part.get("text"), str) and text:
            is_thought = bool(part.get("thought"))
            self._has_content = self._has_content or not (is_thought or text.isspace())
            yield ReasoningDelta(text) if is_thought else TextDelta(text)
        if call := part.get("functionCall"):
            yield from self._call(call, part.get("thoughtSignature"))
        if blob := part.get("inlineData"):  # image models; chats show pictures as Markdown
            self._has_content = True
            yield TextDelta(f"![image](data:{blob['mimeType']};base64,{blob['data']})")

    def _call(self, call: Mapping[str, Any], signature: Any) -> Iterator[Event]:
        index = len(self._ids)
        id = call.get("id") or ""
        if not _PLAIN_ID.fullmatch(id) or id in self._ids:
            id = f"call_{uuid.uuid4().hex[:24]}"  # the next turn may go to a stricter backend
        self._ids.add(id)
        name = str(call["name"])
        extra = {SIGNATURE: signature} if isinstance(signature, str) and signature else None
        yield ToolCallStart(index, id, self._names.get(name, name), extra)
        yield ToolCallDelta(index, orjson.dumps(call.get("args") or {}).decode())


def _logprobs(result: Mapping[str, Any]) -> Logprobs:
    chosen = result.get("chosenCandidates") or ()
    tops = result.get("topCandidates") or [{}] * len(chosen)
    return Logprobs(
        tuple(
            _token(token, tuple(map(_token, top.get("candidates") or ())))
            for token, top in zip(chosen, tops, strict=True)
        )
    )


def _token(token: Mapping[str, Any], top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    """Return a token; a missing probability is 0, which protobuf's JSON leaves out."""
    return TokenLogprob(str(token.get("token", "")), float(token.get("logProbability", 0)), top)


def _usage(counts: Any) -> Usage:
    thoughts = count(counts, "thoughtsTokenCount")
    return Usage(
        prompt_tokens=count(counts, "promptTokenCount") + count(counts, "toolUsePromptTokenCount"),
        completion_tokens=count(counts, "candidatesTokenCount") + thoughts,
        cached_tokens=count(counts, "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
    )
