"""Server-sent events: cut a byte stream into whole events, and read the data of an event.

Source: WHATWG HTML, "Server-sent events". Lines may end in LF, CRLF or CR.
"""

import json
import re
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from typing import Any, Final, TypeVar

import orjson

from router.wire.half_characters import EVENT, Joiner

Item = TypeVar("Item")

DONE: Final = b"data: [DONE]\n\n"
_BLANK_LINES: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")
_LAST_LINE: Final = re.compile(rb"^data: ?(.*)\n\n", re.MULTILINE)
"""A line of data that ends its event."""
_ERROR_FIELD: Final = re.compile(rb"^error: ?(.*)$", re.MULTILINE)
"""Some servers (llama.cpp until 2025) report a failure in a field of this name, not in `data`."""


class Cutter:
    """Regroups the pieces of a stream so that each block holds whole events.

    Bytes change only where a character is cut in half (see `half_characters`). No byte is held
    longer than its event takes to arrive, or, after half a character, the next event.
    """

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._tail = b""  # a blank line may straddle two pieces
        self._joiner = Joiner()

    def passes(self, piece: bytes) -> bool:
        """Return whether this piece goes on as it is: it is whole events, and nothing is held."""
        is_whole = piece.endswith((b"\n\n", b"\r\n\r\n"))
        return is_whole and not self._held and self._joiner.passes(piece)

    def whole(self, piece: bytes) -> bytes:
        """Return the events that this piece completes; empty if it completes none."""
        held = self._held
        if not held:
            if piece.endswith(b"\n\n"):
                return self._joiner.feed(piece)
            end = _end_of_last_event(piece)
        else:
            end = max(0, _end_of_last_event(self._tail + piece) - len(self._tail))
        self._tail = piece[-3:] if len(piece) >= 3 else (self._tail + piece)[-3:]
        if end == 0:
            held.append(piece)
            return b""
        held.append(piece[:end])
        self._held = [piece[end:]] if end < len(piece) else []
        return self._joiner.feed(b"".join(held))

    def last(self) -> bytes:
        """Return the whole events that are still held back, at the end of the stream."""
        return self._joiner.end()

    @property
    def rest(self) -> bytes:
        """Return the start of an event that is not whole yet."""
        return b"".join(self._held)


async def blocks(
    chunks: AsyncIterable[bytes], cutter: Cutter | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks regrouped by `cutter`, or by a new one.

    An event that was cut off, with no blank line after it, comes last and unchanged.
    """
    cutter = cutter or Cutter()
    async for chunk in chunks:
        if block := cutter.whole(chunk):
            yield block
    if block := cutter.last():
        yield block
    if cutter.rest:
        yield cutter.rest


def ends_whole(block: bytes) -> bool:
    """Return whether the block ends with a blank line, as every whole event does."""
    return block.endswith(_BLANK_LINES)


def events_of(block: bytes) -> list[bytes]:
    """Return the events of a block, and last what follows the last blank line (usually nothing).

    Line ends become LF, so that joining with two of them gives a block again.
    """
    return _with_line_feeds(block).split(b"\n\n")


def _with_line_feeds(block: bytes) -> bytes:
    return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in block else block


def data_of(block: bytes) -> Sequence[bytes]:
    """Return the data of each event in a block of whole events, in order; comments have none.

    A field named `error` is read as the data `{"error": …}`.
    """
    block = _with_line_feeds(block)
    if b"error:" in block:
        block = _ERROR_FIELD.sub(_as_data, block)
    found: list[bytes] = _LAST_LINE.findall(block)
    if len(found) == block.count(b"\ndata:") + block.startswith(b"data:"):
        return found  # no event has a second line of data
    events = [
        [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
        for event in block.split(b"\n\n")
    ]
    return [b"\n".join(lines) for lines in events if lines]


def first_data(block: bytes) -> bytes:
    """Return the first data of a block of events that is not empty; b"" if there is none."""
    for event in EVENT.finditer(block):
        if data := next(filter(None, data_of(event.group())), b""):
            return data
    return b""


def _as_data(field: re.Match[bytes]) -> bytes:
    try:
        error = orjson.loads(field[1])
    except orjson.JSONDecodeError:
        error = field[1].decode("utf-8", "replace")
    return b"data: " + orjson.dumps({"error": error})


def is_stream(document: bytes) -> bool:
    """Return whether this is a stream instead of one document. Some gateways only stream."""
    return document.lstrip().startswith((b"event:", b"data:", b":"))


async def once(item: Item) -> AsyncGenerator[Item, None]:
    """Yield one block or batch: a stream that came in one piece."""
    yield item


def event(data: Any, name: str = "") -> bytes:
    """Return one event with this JSON as its data."""
    head = f"event: {name}\n".encode() if name else b""
    return b"%bdata: %b\n\n" % (head, json_of(data))


def json_of(value: Any) -> bytes:
    """Return JSON on one line. A lone surrogate, which JSON cannot hold, becomes "?"."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def _end_of_last_event(data: bytes) -> int:
    """Return where the last whole event ends; 0 if there is none."""
    if data.endswith(b"\n\n"):
        return len(data)
    return max(data.rfind(blank) + len(blank) if blank in data else 0 for blank in _BLANK_LINES)
