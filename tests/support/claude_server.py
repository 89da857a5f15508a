"""A stand-in for Anthropic's API on a loopback socket, which does what a test tells it to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

Writer = asyncio.StreamWriter
Answer = Callable[[Writer], Awaitable[None]]


@dataclass(slots=True)
class Received:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return orjson.loads(self.raw)


@dataclass(slots=True)
class ClaudeServer:
    """`answers` are given to POST /v1/messages one by one, the last one again and again."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    models: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """Answers to GET, by path."""
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a request for an answer is here."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client closes its connection."""

    @property
    def asked(self) -> list[Received]:
        return [request for request in self.received if request.method == "POST"]

    async def serve(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        self.connections += 1
        answering: asyncio.Task[None] | None = None
        try:
            while (request := await _read(reader)) is not None:
                if answering is not None:
                    await answering
                self.received.append(request)
                answering = asyncio.create_task(self._answer(request, writer))
        except ConnectionError:
            pass
        finally:
            self.left.set()
            if answering is not None:
                answering.cancel()
                with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                    await answering
            writer.close()

    async def _answer(self, request: Received, writer: Writer) -> None:
        if request.method == "GET":
            status, body = self.models.get(request.path.split("?")[0], (404, NOT_FOUND))
            await document(body, status)(writer)
        else:
            self.answering.set()
            answer = self.answers[0]
            if len(self.answers) > 1:
                self.answers.pop(0)
            await answer(writer)


NOT_FOUND = {"type": "error", "error": {"type": "not_found_error", "message": "Not found"}}


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)}
    raw = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, raw)


@contextlib.asynccontextmanager
async def claude_server(
    *answers: Answer, models: dict[str, tuple[int, Any]] | None = None, port: int = 0
) -> AsyncIterator[ClaudeServer]:
    """A running server. `models`: status and body of /v1/models/<name>; of the list, by ""."""
    found = {f"/v1/models/{name}".rstrip("/"): answer for name, answer in (models or {}).items()}
    server = ClaudeServer(answers=list(answers), models=found)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", port, limit=1 << 26)
    server.url = "http://{}:{}".format(*listening.sockets[0].getsockname())
    try:
        yield server
    finally:
        listening.close()


def document(body: Any, status: int = 200, **headers: str) -> Answer:
    """A whole JSON answer (bytes: as they are)."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    head = (
        f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n"
    )
    head += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())

    async def answer(writer: Writer) -> None:
        writer.write(head.encode() + b"\r\n" + data)
        await writer.drain()

    return answer


def failing(status: int, kind: str, message: str = "No.", **headers: str) -> Answer:
    """Claude's own error document."""
    error = {"type": kind, "message": message}
    return document({"type": "error", "error": error, "request_id": "req_1"}, status, **headers)


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


def streaming(*pieces: bytes, end: bool = True) -> Answer:
    """A stream of these pieces, each a chunk of its own; without `end` it stays open."""

    async def answer(writer: Writer) -> None:
        writer.write(STREAM_HEAD)
        for piece in pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        if end:
            writer.write(b"0\r\n\r\n")
        else:
            await asyncio.Event().wait()

    return answer


async def silence(writer: Writer) -> None:
    """Accept the request and never answer it."""
    await asyncio.Event().wait()


def closing(*pieces: bytes) -> Answer:
    """Send these bytes as they are and close the connection."""

    async def answer(writer: Writer) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.close()

    return answer


async def resetting(writer: Writer) -> None:
    """Reset the connection instead of answering."""
    writer.transport.abort()
