"""Chat Completions on both ends: what the router reads in an answer whose bytes pass unchanged.

JSON escapes the quotes in what the model says, so a key in quotes is a key wherever it is found.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

from router.errors import BackendError
from router.events import Usage
from router.wire import sse
from router.wire.chat.completions import ChatDecoder, usage_of

_DELTA: Final = re.compile(rb'"delta"\s*:\s*\{\s*(?=")')
_ROLE: Final = re.compile(rb'"role"\s*:\s*"')
_USAGE_FOLLOWS: Final = re.compile(rb'"usage"\s*:\s*\{')


class ReportedError(NamedTuple):
    """An error that a server reports inside an answer."""

    message: str
    kinds: frozenset[str] = frozenset()
    """Its type and its code, as text."""


class ChatTally:
    """Collects what the router must know of a chat stream that passes through it."""

    def __init__(self, *, hold_usage: bool, full_names: Mapping[str, str] | None = None) -> None:
        """Begin a stream.

        `hold_usage`: keep back the usage chunk, which the caller did not ask for. `full_names`: the
        caller's name for each short name that a model may use for a tool.
        """
        self.usage: Usage | None = None
        self.error: ReportedError | None = None
        """The error that ended the stream."""
        self.is_over = False
        """Set once the answer has said its last word."""
        self._hold_usage = hold_usage
        self._full_names = full_names or {}
        self._has_answer = self._has_role = False
        self._last = self._before = b""
        self._calls: list[bytes] = []
        """Blocks with pieces of tool calls; they are read only if no finish follows."""

    def words(self, block: bytes) -> bytes | None:
        """Return a block that goes on unchanged, and in which nothing ends; None for any other."""
        is_plain = (
            b"error" not in block
            and b"[DONE]" not in block
            and b'"tool_calls"' not in block
            and (b'"usage"' not in block or _USAGE_FOLLOWS.search(block) is None)
        )
        return self.passed(block) if is_plain else None

    def passed(self, block: bytes) -> bytes:
        """Return what goes on to the caller of a block of whole events."""
        block, self.error = before_error(block)
        self._has_answer = self._has_answer or b'"delta"' in block
        if not self._has_role:
            block, self._has_role = _with_role(block)
        if b"[DONE]" in block and _says_done(block):
            if not self._has_answer:
                self.error = ReportedError("[DONE], without an answer before it")
                return b""
            self.is_over = True
        if b'"usage"' in block and (found := _USAGE_FOLLOWS.search(block)):
            # A fast answer comes in blocks of a hundred events, of which one or two have it.
            head, blank, _ = block[: found.start()].rpartition(b"\n\n")
            before, rest = head + blank, block[len(head + blank) :]
            for body in objects(rest):
                self.usage = usage_of(body.get("usage")) or self.usage
            if self._hold_usage:
                block = before + _without_usage_chunk(rest)
        if b'"tool_calls"' in block:
            if self._full_names:
                block = rewritten(block, self._with_full_names)
            self._calls.append(block)
        if block:
            self._before, self._last = self._last, block
        return block

    @property
    def ending(self) -> bytes | None:
        """Return what is missing at the end of the stream; None if it ended too early."""
        if self.is_over:
            return b""
        bodies = list(objects(self._before + self._last))
        if any(_says_finished(body) for body in bodies):
            return sse.DONE
        if bodies and self._calls_are_whole():
            choice = {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
            return sse.event({**bodies[-1], "choices": [choice]}) + sse.DONE
        return None

    def _calls_are_whole(self) -> bool:
        decoder = ChatDecoder()
        try:
            for block in self._calls:
                for _ in decoder.feed(block):
                    pass
        except BackendError:
            return False
        return decoder.calls_are_whole

    def _with_full_names(self, body: dict[str, Any]) -> bool:
        return give_full_names(body, "delta", self._full_names)


def give_full_names(body: Mapping[str, Any], key: str, full_names: Mapping[str, str]) -> bool:
    """Replace short tool names in a chunk (`key` "delta") or an answer ("message").

    Returns whether there were any.
    """
    changed = False
    for choice in _dicts(body.get("choices")):
        said = choice.get(key)
        for call in _dicts(said.get("tool_calls") if isinstance(said, dict) else None):
            function = call.get("function")
            if isinstance(function, dict) and function.get("name") in full_names:
                function["name"] = full_names[function["name"]]
                changed = True
    return changed


def fault_of(document: Mapping[str, Any]) -> str:
    """Return why a whole answer cannot be used; empty if it can."""
    return "" if document.get("choices") else "answered without any choices"


def objects(block: bytes) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in a block of events; data of other kinds is skipped."""
    for data in sse.data_of(block):
        with contextlib.suppress(orjson.JSONDecodeError):
            body = orjson.loads(data)
            if isinstance(body, dict):
                yield body


def in_band_error(body: Mapping[str, Any]) -> ReportedError | None:
    """Return the error that the JSON of an answer reports; None if it reports none.

    Shapes: `{"error": "text"}`, `{"error": {"message": …}}`, `{"object": "error", "message": …}`,
    `{"type": "…_error", "message": …}`, and a choice that finished with the reason "error".
    """
    error = body.get("error")
    if not error and str(body.get("object") or body.get("type")).endswith("error"):
        error = body
    if isinstance(error, dict):
        kinds = {str(error[name]) for name in ("type", "code") if error.get(name) is not None}
        said = str(error.get("message") or error.get("code") or error)
        return ReportedError(said, frozenset(kinds))
    if error:
        return ReportedError(str(error))
    if any(choice.get("finish_reason") == "error" for choice in _dicts(body.get("choices"))):
        return ReportedError("the answer ended with an error")
    return None


def before_error(block: bytes) -> tuple[bytes, ReportedError | None]:
    """Return what a block holds before an event that reports an error, and that error."""
    if b"error" not in block:  # every known form of an error has this word
        return block, None
    events = sse.events_of(block)
    for position, event in enumerate(events):
        for body in objects(event):
            error = in_band_error(body)
            if error is None and b"event: error" in event.split(b"\n"):
                error = in_band_error({"error": body})
            if error is not None:
                return b"".join(good + b"\n\n" for good in events[:position]), error
    return block, None


def rewritten(block: bytes, change: Callable[[dict[str, Any]], bool]) -> bytes:
    """Return the block with `change` applied to the JSON objects in it.

    `change` edits an object in place and returns whether it did; other events pass unchanged.
    """
    events = sse.events_of(block)
    for position, event in enumerate(events):
        bodies = list(objects(event))
        if any([change(body) for body in bodies]):
            names = [line for line in event.split(b"\n") if line.startswith(b"event:")]
            data = [b"data: " + sse.json_of(body) for body in bodies]
            events[position] = b"\n".join([*names, *data])
    return b"\n\n".join(events)


def _with_role(block: bytes) -> tuple[bytes, bool]:
    """Add a role to the first delta of a block without one; return the block and if it has a role.

    Clients append the answer to the conversation, where a message needs one. llama.cpp sends it
    with its first token only if that is text, and half of a character is not (build 11549).
    """
    if _ROLE.search(block) is not None:
        return block, True
    block, added = _DELTA.subn(rb'\g<0>"role":"assistant",', block, count=1)
    return block, bool(added)


def _without_usage_chunk(block: bytes) -> bytes:
    """Return the block without events that carry usage and no choice."""
    kept = []
    for event in sse.events_of(block):
        body = next(objects(event), None) if b'"usage"' in event else None
        if body is None or body.get("choices"):
            kept.append(event)
    return b"\n\n".join(kept)


def _says_done(block: bytes) -> bool:
    """Return whether `[DONE]` is an event of its own. The model may write it too."""
    at = block.rfind(b"[DONE]")
    line = max(block.rfind(b"\n", 0, at), block.rfind(b"\r", 0, at)) + 1
    return block[line:at].rstrip(b" ") == b"data:"


def _says_finished(body: Mapping[str, Any]) -> bool:
    return any(choice.get("finish_reason") for choice in _dicts(body.get("choices")))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
