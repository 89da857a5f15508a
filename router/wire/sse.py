"""Server-sent events: cut a byte stream into whole events, and read the data of one.

Source: WHATWG HTML, "Server-sent events". Lines may end in LF, CRLF or CR.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, Final

import orjson

DONE: Final = b"data: [DONE]\n\n"
_BLANK_LINES: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


class Cutter:
    """Regroups the pieces of a stream so that each block holds whole events.

    Bytes are neither changed nor held longer than their event takes to arrive.
    """

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._tail = b""  # a blank line may straddle two pieces

    def whole(self, piece: bytes) -> bytes:
        """The events that this piece makes whole; empty where there are none yet."""
        held = self._held
        if not held:
            if piece.endswith(b"\n\n"):
                return piece
            end = _end_of_last_event(piece)
        else:
            end = max(0, _end_of_last_event(self._tail + piece) - len(self._tail))
        self._tail = piece[-3:] if len(piece) >= 3 else (self._tail + piece)[-3:]
        if end == 0:
            held.append(piece)
            return b""
        held.append(piece[:end])
        self._held = [piece[end:]] if end < len(piece) else []
        return b"".join(held)

    @property
    def rest(self) -> bytes:
        """The beginning of an event that is not whole."""
        return b"".join(self._held)


async def blocks(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Regroup chunks as `Cutter` does.

    What has no blank line after it when the stream ends is an event that was cut off: it comes
    last, as it is.
    """
    cutter = Cutter()
    async for chunk in chunks:
        if block := cutter.whole(chunk):
            yield block
    if cutter.rest:
        yield cutter.rest


def ends_whole(block: bytes) -> bool:
    """Does the block end with a blank line, as every whole event does?"""
    return block.endswith(_BLANK_LINES)


def data_of(block: bytes) -> Iterator[bytes]:
    """The data of each event in a block of whole events, in order; comments have none."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    start = 0
    while start < len(block):
        end = block.find(b"\n\n", start)
        event = block[start:] if end < 0 else block[start:end]
        lines = [
            line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")
        ]
        if lines:
            yield b"\n".join(lines)
        start += len(event) + 2


def is_stream(document: bytes) -> bool:
    """Is it events, and not the one document that was asked for? Some gateways only stream."""
    return document.lstrip().startswith((b"event:", b"data:", b":"))


async def once(block: bytes) -> AsyncGenerator[bytes, None]:
    """A stream that came in one piece."""
    yield block


def event(data: Any, name: str = "") -> bytes:
    """One event with this JSON as its data."""
    head = f"event: {name}\n".encode() if name else b""
    return b"%bdata: %b\n\n" % (head, json_of(data))


def json_of(value: Any) -> bytes:
    """JSON on one line. Half a character (a lone surrogate, as some backends send) becomes "?"."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def _end_of_last_event(data: bytes) -> int:
    """Where the last whole event ends; 0 where there is none."""
    if data.endswith(b"\n\n"):
        return len(data)
    return max(data.rfind(blank) + len(blank) if blank in data else 0 for blank in _BLANK_LINES)
