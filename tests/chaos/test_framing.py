"""Chunked bodies: what surrounds the content is dropped, bounded, and never read as a header."""

from collections.abc import AsyncIterator

import orjson
import pytest

from tests.support.chaos.callers import DIALECTS, Dialect
from tests.support.chaos.raw import CHUNKED, error_of, exchange, head
from tests.support.chaos.running_server import RunningServer, running_server
from tests.support.chaos.sides import CLAUDE, LOCAL

KEY = "a-key-of-more-than-16-characters"
PATHS = [dialect.path for dialect in DIALECTS]
MEGABYTE = b"a" * 2**20
PROMPT = b'{"prompt": "Hi"}'


@pytest.fixture
async def h() -> AsyncIterator[RunningServer]:
    async with running_server(LOCAL, LOCAL.well, CLAUDE.well, complexity_threshold=50) as h:
        yield h


def chunk(content: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(content), extension, content)


def chunked(body: bytes, *trailers: str) -> bytes:
    return chunk(body) + b"0\r\n" + "".join(f"{line}\r\n" for line in (*trailers, "")).encode()


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "trailer",
    [
        "X-Force-Route: cloud",
        "X-Force-Route: nowhere",
        "Host: evil.example",
        "Origin: https://evil.example",
        "anthropic-beta: anything",
        "Expect: 100-continue",
    ],
)
async def test_a_trailer_changes_nothing(h: RunningServer, dialect: Dialect, trailer: str) -> None:
    body = orjson.dumps(dialect.body(stream=False))
    path = dialect.path
    sent = head(f"POST {path}", CHUNKED, "X-Force-Route: local") + chunked(body, trailer)
    status, _, closed = await exchange(h, sent)
    assert (status, closed) == (200, False)
    assert len(h.local.requests) == 1


@pytest.mark.parametrize(
    "trailer", [f"Authorization: Bearer {KEY}", f"X-Api-Key: {KEY}", "Host: localhost"]
)
async def test_a_trailer_gives_no_access(trailer: str) -> None:
    async with running_server(LOCAL, LOCAL.well, CLAUDE.well, router_api_key=KEY) as h:
        body = orjson.dumps(DIALECTS[0].body(stream=False))
        sent = head(f"POST {PATHS[0]}", CHUNKED) + chunked(body, trailer)
        assert (await exchange(h, sent))[0] == 401
        assert not h.local.requests


TOO_MUCH: dict[str, tuple[bytes, ...]] = {
    "trailers without end": (chunk(PROMPT) + b"0\r\n", *[b"X-A: a\r\n" * 100_000] * 20),
    "a trailer without end": (chunk(PROMPT) + b"0\r\nX-A: ", *[MEGABYTE] * 20),
    "a trailer's name without end": (chunk(PROMPT) + b"0\r\n", *[MEGABYTE] * 20),
    "an extension without end": (b"5;a=", *[MEGABYTE] * 20),
    "an extension of the last chunk": (chunk(PROMPT) + b"0;a=", *[MEGABYTE] * 20),
    "an extension of each chunk": tuple(chunk(b" ", b";a=" + b"b" * 1000) * 200 for _ in range(50)),
    "a chunk size without end": (b"0" * 2**20,) * 20,
}


@pytest.mark.parametrize("pieces", TOO_MUCH.values(), ids=TOO_MUCH)
@pytest.mark.parametrize("path", ["/classify", *PATHS])
async def test_oversized_framing_is_refused_and_the_caller_can_read_why(
    h: RunningServer, path: str, pieces: tuple[bytes, ...]
) -> None:
    status, said, closed = await exchange(h, head(f"POST {path}", CHUNKED), *pieces)
    assert (status, closed) == (400, True)
    assert error_of(path, said)["message"]
    assert not h.local.requests


LITTLE = {
    "chunks of one byte": b"".join(chunk(bytes([b])) for b in PROMPT + b" " * 50_000),
    "an extension": chunk(PROMPT, b";signature=" + b"a" * 64),
    "an extension of each of some chunks": b"".join(
        chunk(bytes([b]), b";signature=" + b"a" * 64) for b in PROMPT
    ),
}


@pytest.mark.parametrize("body", LITTLE.values(), ids=LITTLE)
@pytest.mark.parametrize("trailer", [b"", b"X-Checksum: abc\r\n"])
async def test_usual_framing_is_accepted(h: RunningServer, body: bytes, trailer: bytes) -> None:
    sent = head("POST /classify", CHUNKED), body, b"0\r\n" + trailer + b"\r\n"
    assert (await exchange(h, *sent))[0] == 200


AMBIGUOUS = {
    "two hosts": ("Host: localhost", "Host: evil.example"),
    "the same host twice": ("Host: localhost", "Host: localhost"),
    "two origins": ("Host: localhost", "Origin: http://localhost", "Origin: https://evil.example"),
    "two keys": ("Host: localhost", "Authorization: Bearer a", "Authorization: Bearer b"),
    "two keys of the other kind": ("Host: localhost", "X-Api-Key: a", "x-api-key: b"),
    "two forced sides": ("Host: localhost", "X-Force-Route: local", "X-Force-Route: cloud"),
    "a port of letters": ("Host: localhost:http",),
    "a port with a sign": ("Host: localhost:+80",),
    "a port that is too long": ("Host: localhost:808080",),
    "two ports": ("Host: localhost:80:80",),
    "letters behind the port": ("Host: localhost:80.evil.example",),
    "an address without brackets": ("Host: ::1",),
    "brackets that do not close": ("Host: [::1",),
    "text behind the brackets": ("Host: [::1].evil.example",),
}


@pytest.mark.parametrize("headers", AMBIGUOUS.values(), ids=AMBIGUOUS)
@pytest.mark.parametrize("request_line", ["GET /health", f"POST {PATHS[0]}", f"POST {PATHS[2]}"])
async def test_an_ambiguous_header_is_a_400(
    h: RunningServer, request_line: str, headers: tuple[str, ...]
) -> None:
    lines = (f"{request_line} HTTP/1.1", *headers, "Content-Length: 0", "", "")
    status, said, _ = await exchange(h, "\r\n".join(lines).encode())
    assert status == 400
    assert error_of(request_line.split()[1], said)["message"]
