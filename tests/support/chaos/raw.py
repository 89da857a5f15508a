"""Requests as bytes, for what no HTTP client would send."""

import asyncio
from typing import Any

import orjson

from tests.support.chaos.callers import CHAT, MESSAGES
from tests.support.chaos.running_server import RunningServer

CHUNKED = "Transfer-Encoding: chunked"


async def exchange(
    h: RunningServer, *pieces: bytes, leave: bool = False
) -> tuple[int, bytes, bool]:
    """Send these bytes; return the answer's status and body, and whether the connection closed."""
    reader, writer = await asyncio.open_connection(*h.host)
    try:
        async with asyncio.timeout(8):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if leave:
                return 0, b"", True
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.partition(b":")[2])
                for line in head.split(b"\r\n")
                if line.startswith(b"content-length")
            )
            body = await reader.readexactly(length)
            closed = b"connection: close" in head
            if closed:
                assert await reader.read() == b""
            return int(head.split()[1]), body, closed
    finally:
        writer.close()


def head(line: str = "POST /classify", *headers: str) -> bytes:
    return "\r\n".join((f"{line} HTTP/1.1", "Host: localhost", *headers, "", "")).encode("latin-1")


def error_of(path: str, body: bytes) -> dict[str, Any]:
    """Return the error; fails if it has not the shape of the path's dialect."""
    dialect = MESSAGES if path.startswith("/v1/messages") else CHAT
    return dialect.error_of(orjson.loads(body))
