"""Repair of JSON whose text is cut in the middle of a character.

A server that streams a token at a time may cut an emoji between the two `\\u` escapes of its
surrogate pair, or between the bytes of its UTF-8. Strict parsers refuse both halves. Here the
halves are joined where one event ends with the first and the next begins with the second;
any other half is replaced by U+FFFD. Text without half characters passes unchanged.
"""

import re
from collections.abc import Iterator
from typing import Final

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_PAIR_BYTES: Final = 12
"""Length of a surrogate pair that is written as two escapes."""
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.",
    re.DOTALL,
)
"""A surrogate pair, a lone surrogate, or any other escape of JSON."""

EVENT: Final = re.compile(rb".+?(?:\r\n\r\n|\n\n|\r\r|\Z)", re.DOTALL)
"""A server-sent event with its blank line, or what is left at the end."""

# A first half at the end of a string, and a second half at the start of one: as escapes, as bytes.
_HALVES: Final = (
    (
        re.compile(rb'(?<!\\)((?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2})(?=")'),
        re.compile(rb'(?<!\\)"(?=\\u[dD][c-fC-F][0-9a-fA-F]{2})'),
    ),
    (
        re.compile(rb'()([\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})(?=")'),
        re.compile(rb'(?<!\\)"(?=[\x80-\xbf])'),
    ),
)


def is_whole(data: bytes) -> bool:
    """Return whether the JSON text holds no half character."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            return False
    return not has_lone_escape(data)


def has_lone_escape(data: bytes) -> bool:
    """Return whether the JSON text holds an escape of half a surrogate pair."""
    # Looking for one byte is much faster than for two, and most blocks have no backslash.
    if b"\\" not in data or b"\\u" not in data or _SURROGATE.search(data) is None:
        return False
    return any(_is_lone(escape.group()) for escape in _ESCAPE.finditer(data))


def replaced(data: bytes) -> bytes:
    """Return the JSON text with U+FFFD in place of each half character."""
    if not data.isascii():
        data = data.decode("utf-8", "replace").encode()
    if _SURROGATE.search(data) is None:
        return data
    return _ESCAPE.sub(lambda escape: _or_replaced(escape.group()), data)


def _or_replaced(escape: bytes) -> bytes:
    return b"\\ufffd" if _is_lone(escape) else escape


def _is_lone(escape: bytes) -> bool:
    return 2 < len(escape) < _PAIR_BYTES


class Joiner:
    """Joins half characters across the events of one stream.

    Takes and returns blocks of whole events. An event that ends with a first half is held back
    until the next event shows whether the second half follows.
    """

    def __init__(self) -> None:
        self._held = b""

    def passes(self, block: bytes) -> bool:
        """Return whether this block goes on as it is."""
        return not self._held and is_whole(block)

    def feed(self, block: bytes) -> bytes:
        """Return the events that are ready, in order; comments may overtake a held event."""
        if self.passes(block):
            return block
        return b"".join(self._ready(block))

    def end(self) -> bytes:
        """Return the event that is still held back, at the end of the stream."""
        held, self._held = self._held, b""
        return replaced(held)

    def _ready(self, block: bytes) -> Iterator[bytes]:
        for event in EVENT.findall(block):
            if b"data:" not in event:
                yield event
                continue
            if self._held:
                before, event = _joined(self._held, event)
                self._held = b""
                yield before
            if any(first.search(event) for first, _ in _HALVES):
                self._held = event
            else:
                yield replaced(event)


def _joined(before: bytes, event: bytes) -> tuple[bytes, bytes]:
    """Return both events, with the first halves moved from one to the other where they fit."""
    for first, second in _HALVES:
        half = first.search(before)
        if half is not None and second.search(event) is not None:
            before = first.sub(rb"\1", before)
            event = second.sub(lambda quote, half=half: quote.group() + half[2], event)  # type: ignore[misc]
    return replaced(before), event
