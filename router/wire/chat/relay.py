"""Chat Completions on both ends: what is looked for in an answer whose bytes pass as they are.

JSON escapes the quotes of what the model says, so a key in quotes is a key where it is found.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from router.events import Usage
from router.wire import sse
from router.wire.chat.completions import usage_of

_USAGE_FOLLOWS: Final = re.compile(rb'"usage"\s*:\s*\{')


class Tally:
    """What must be known of a stream that is passed on."""

    def __init__(self, *, hold_usage: bool) -> None:
        """`hold_usage`: keep back the usage chunk, which the caller did not ask for."""
        self.usage: Usage | None = None
        self.error = ""
        """What the stream says went wrong; it is over then."""
        self._hold_usage = hold_usage
        self.is_over = False
        """Has the answer said its last word?"""
        self._said = False
        self._last = self._before = b""

    def passed(self, block: bytes) -> bytes:
        """What of a block of whole events goes on to the caller."""
        if b'"error"' in block:
            block, self.error = before_error(block)
        self._said = self._said or b'"delta"' in block
        if b"[DONE]" in block and _says_done(block):
            if not self._said:
                self.error = "[DONE], without an answer before it"
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
        if block:
            self._before, self._last = self._last, block
        return block

    @property
    def ending(self) -> bytes | None:
        """What the end of the stream lacks; None if it ended too early."""
        if self.is_over:
            return b""
        said = objects(self._before + self._last)
        return sse.DONE if any(_says_finished(body) for body in said) else None


def fault_of(document: Mapping[str, Any]) -> str:
    """Why a whole answer is none; empty if it is one."""
    return "" if document.get("choices") else "answered without any choices"


def objects(block: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects in a block of events; what is not one is passed over."""
    for data in sse.data_of(block):
        with contextlib.suppress(orjson.JSONDecodeError):
            body = orjson.loads(data)
            if isinstance(body, dict):
                yield body


def in_band_error(body: Mapping[str, Any]) -> str:
    """What a body says went wrong: `{"error": "text"}` or `{"error": {"message": …}}`."""
    error = body.get("error")
    if not error:
        return ""
    if isinstance(error, dict):
        return str(error.get("message") or error.get("code") or error)
    return str(error)


def before_error(block: bytes) -> tuple[bytes, str]:
    """What the block says before an event that is an error, and that error; if there is one."""
    events = block.replace(b"\r\n", b"\n").split(b"\n\n")
    for position, event in enumerate(events):
        for body in objects(event):
            if error := in_band_error(body):
                return b"".join(good + b"\n\n" for good in events[:position]), error
    return block, ""


def _without_usage_chunk(block: bytes) -> bytes:
    """The block without events that carry usage and no choice."""
    kept = []
    for event in block.replace(b"\r\n", b"\n").split(b"\n\n"):
        body = next(objects(event), None) if b'"usage"' in event else None
        if body is None or body.get("choices"):
            kept.append(event)
    return b"\n\n".join(kept)


def _says_done(block: bytes) -> bool:
    """Is it an event of its own? The model may write it too."""
    at = block.rfind(b"[DONE]")
    line = max(block.rfind(b"\n", 0, at), block.rfind(b"\r", 0, at)) + 1
    return block[line:at].rstrip(b" ") == b"data:"


def _says_finished(body: Mapping[str, Any]) -> bool:
    choices = body.get("choices")
    return any(
        isinstance(choice, dict) and choice.get("finish_reason")
        for choice in (choices if isinstance(choices, list) else ())
    )
