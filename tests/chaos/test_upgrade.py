"""Callers that offer to speak another protocol, as Java's HTTP client does with HTTP/2."""

import asyncio

import orjson
import pytest

from tests.support.chaos.callers import CHAT
from tests.support.chaos.running_server import running_server
from tests.support.chaos.sides import CLAUDE, LOCAL

BODY = orjson.dumps(CHAT.body(stream=False))
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n"
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.mark.parametrize(
    ("status", "pieces"),
    [
        (200, [POST + H2C + LENGTH + b"\r\n" + BODY]),
        (200, [POST + H2C + LENGTH + b"\r\n", BODY[:9], BODY[9:]]),
        (200, [POST + H2C + b"Transfer-Encoding: chunked\r\n\r\n", CHUNKS]),
        (200, [b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + WEBSOCKET + b"\r\n"]),
        (426, [b"GET /v1/responses HTTP/1.1\r\nHost: localhost\r\n" + WEBSOCKET + b"\r\n"]),
        (426, [b"GET /chat/completions HTTP/1.1\r\nHost: localhost\r\n" + WEBSOCKET + b"\r\n"]),
        (400, [b"CONNECT example.com:443 HTTP/1.1\r\nHost: localhost\r\n\r\n"]),
    ],
    ids=[
        *("at once", "the body later", "in chunks", "a websocket where a GET is answered"),
        *("a websocket at an endpoint", "at another one", "a tunnel"),
    ],
)
async def test_an_offered_upgrade_is_ignored_but_a_websocket_at_an_endpoint_is_426(
    status: int, pieces: list[bytes]
) -> None:
    async with running_server(LOCAL, LOCAL.well, CLAUDE.well) as here:
        reader, writer = await asyncio.open_connection(*here.host)
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        assert answer.startswith(b"HTTP/1.1 %d " % status)
