"""Server-sent events: cut a byte stream into whole events, and read the data of one.

Source: WHATWG HTML, "Server-sent events". Lines may end in LF, CRLF or CR.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, Final

import orjson

DONE: Final = b"data: [DONE]\n\n"
_BLANK_LINES: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


async def blocks(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Regroup chunks so that each one holds whole events and ends with a blank line.

    Bytes are neither changed nor held longer than their event takes to arrive. What has no blank
    line after it when the stream ends is an event that was cut off: it comes last, as it is.
    """
    held: list[bytes] = []
    tail = b""  # a blank line may straddle two chunks
    async for chunk in chunks:
        end = _end_of_last_event(tail + chunk if held else chunk) - (len(tail) if held else 0)
        if end <= 0:
            held.append(chunk)
        elif end == len(chunk) and not held:
            yield chunk
            continue
        else:
            held.append(chunk[:end])
            yield b"".join(held)
            held = [chunk[end:]] if end < len(chunk) else []
        tail = (tail + chunk)[-3:] if len(chunk) < 3 else chunk[-3:]
    if held:
        yield b"".join(held)


def ends_whole(block: bytes) -> bool:
    """Does the block end with a blank line, as every whole event does?"""
    return block.endswith(_BLANK_LINES)


def data_of(block: bytes) -> Iterator[bytes]:
    """The data of each event in a block of whole events, in order; comments have none."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for event in block.split(b"\n\n"):
        lines = [
            line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")
        ]
        if lines:
            yield b"\n".join(lines)


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
