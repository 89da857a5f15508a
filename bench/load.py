"""Callers in a closed loop: each sends its next request when it has its answer."""

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

SENT_AT = re.compile(rb"t=(\d+)")


@dataclass
class Seen:
    """The figures that callers measured. Times in milliseconds."""

    answers: int = 0
    tokens: int = 0
    took_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    """From the request to its first token."""
    late_ms: list[float] = field(default_factory=list)
    """From a token's sending by the mock to its arrival."""

    def forget(self) -> None:
        """Drop the times, of which a long run has too many to keep."""
        for times in (self.took_ms, self.first_ms, self.late_ms):
            times.clear()


def request(port: int, prompt: str, *, stream: bool) -> bytes:
    body = orjson.dumps(
        {"model": "auto", "messages": [{"role": "user", "content": prompt}], "stream": stream}
    )
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Caller:
    """One connection, which adds its figures to `seen`."""

    def __init__(self, port: int, seen: Seen) -> None:
        self.port = port
        self.seen = seen

    async def __aenter__(self) -> "Caller":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def ask(self, asked: bytes) -> None:
        """Send a request and read its whole answer. Raises ValueError if it is no success."""
        began = time.monotonic_ns()
        self.writer.write(asked)
        head = await self.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise ValueError(head.decode("latin-1").splitlines()[0])
        if length := re.search(rb"(?i)content-length: *(\d+)", head):
            await self.reader.readexactly(int(length[1]))
        else:
            await self._read_stream(began)
        self.seen.answers += 1
        self.seen.took_ms.append((time.monotonic_ns() - began) / 1e6)

    async def _read_stream(self, began: int) -> None:
        tail = b""
        waiting = True
        while not tail.endswith(b"\r\n0\r\n\r\n"):
            data = await self.reader.read(65_536)
            if not data:
                raise ValueError("a stream was cut off")
            now = time.monotonic_ns()
            for sent_at in tokens_in(tail + data, len(tail)):
                if waiting:
                    self.seen.first_ms.append((now - began) / 1e6)
                    waiting = False
                self.seen.late_ms.append((now - sent_at) / 1e6)
                self.seen.tokens += 1
            tail = (tail + data)[-40:]


def tokens_in(data: bytes, old: int) -> Iterator[int]:
    """Yield the send times of the tokens that end after the first `old` bytes of the data."""
    for found in SENT_AT.finditer(data):
        if old <= found.end() < len(data):
            yield int(found[1])


async def in_a_loop(port: int, prompt: str, *, stream: bool, callers: int, seconds: float) -> Seen:
    """Run so many callers for so many seconds; each finishes its last request."""
    seen = Seen()
    asked = request(port, prompt, stream=stream)
    until = time.monotonic() + seconds

    async def call() -> None:
        async with Caller(port, seen) as caller:
            await caller.ask(asked)
            while time.monotonic() < until:
                await caller.ask(asked)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call())
    return seen
