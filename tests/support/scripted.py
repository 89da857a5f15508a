"""A backend on a real socket whose answers a test scripts byte by byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass
class Request:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass(eq=False)
class Connection:
    """One connection; `closed` is set when the other end hangs up."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(
        self, body: bytes, status: int = 200, content_type: str = "application/json", **headers: str
    ) -> None:
        """Send a whole answer with a Content-Length."""
        await self.send(_head(status, content_type, headers, f"Content-Length: {len(body)}"))
        await self.send(body)

    async def begin_stream(self, content_type: str = "text/event-stream") -> None:
        await self.send(_head(200, content_type, {}, "Transfer-Encoding: chunked"))

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end_stream(self) -> None:
        await self.send(b"0\r\n\r\n")

    async def stream(self, *chunks: bytes, pause_s: float = 0) -> None:
        """Send a whole chunked stream; with a pause, each chunk after the one before was read."""
        await self.begin_stream()
        for chunk in chunks:
            await self.chunk(chunk)
            if pause_s:
                await asyncio.sleep(pause_s)
        await self.end_stream()

    async def silence(self) -> None:
        """Send nothing until the other end hangs up."""
        await self.closed.wait()

    def reset(self) -> None:
        """Reset the connection."""
        self.writer.transport.abort()


Script = Callable[[Connection, Request], Awaitable[None]]


class ScriptedServer:
    """A server on loopback: `script` answers every request, `probe` every GET."""

    def __init__(
        self, script: Script, probe: Script | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.script = script
        self._tls = tls
        self.probe = probe or _one_model
        self.requests: list[Request] = []
        self.asked = asyncio.Event()
        """Set when a request has arrived."""
        self.open: set[Connection] = set()
        self.answering: set[Connection] = set()
        """Connections whose client is waiting for an answer or for more of it."""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self.open):
            connection.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def all_closed(self) -> None:
        """Wait until every connection is closed."""
        for connection in list(self.open):
            await connection.closed.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = Connection(reader, writer)
        self.open.add(connection)
        try:
            while (request := await _read_request(reader)) is not None:
                await self._serve(connection, request)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            connection.closed.set()
            self.open.discard(connection)
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, connection: Connection, request: Request) -> None:
        if request.method == "GET":
            await self.probe(connection, request)
            return
        self.requests.append(request)
        self.asked.set()
        self.answering.add(connection)
        serving = asyncio.ensure_future(self.script(connection, request))
        leaving = asyncio.ensure_future(_hung_up(connection))
        try:
            done, _ = await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            serving.cancel()
            leaving.cancel()
            await asyncio.gather(serving, leaving, return_exceptions=True)
            raise
        finally:
            self.answering.discard(connection)
        if serving not in done:
            connection.closed.set()
            self.open.discard(connection)
            serving.cancel()
        leaving.cancel()
        results = await asyncio.gather(serving, leaving, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                raise result
        if leaving in done:
            raise ConnectionResetError


async def _hung_up(connection: Connection) -> None:
    """Return when the other end has closed; pipelined requests are not supported."""
    while not connection.reader.at_eof():
        if connection.writer.transport.is_closing():
            return
        await asyncio.sleep(0.005)


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
    body = b""
    if length := int(headers.get("content-length", 0)):
        body = await reader.readexactly(length)
    return Request(method, path, headers, body)


def _head(status: int, content_type: str, headers: dict[str, str], framing: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", framing]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _one_model(connection: Connection, request: Request) -> None:
    """Answer GETs as an OpenAI-compatible server with one model."""
    if request.path == "/v1/models":
        data = [{"id": "local-model", "object": "model", "owned_by": "test"}]
        await connection.answer(orjson.dumps({"object": "list", "data": data}))
    else:
        await connection.answer(b'{"error": "not found"}', 404)


@asynccontextmanager
async def scripted(
    script: Script, probe: Script | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer(script, probe, tls)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
