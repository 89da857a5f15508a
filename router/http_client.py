"""A small HTTP/1.1 client for one server: what a relay needs, and no more.

Parsing is llhttp's (httptools, on which uvicorn stands); here are connections, time limits and
flow control. A general client costs more for each request than everything else that is done for
it: see bench/RESULTS.md.
"""

import asyncio
import base64
import ssl
from collections.abc import Mapping
from typing import Final, Self, cast
from urllib.parse import quote, unquote, urlsplit

import httptools

KEEP_S: Final = 15.0
"""How long an unused connection is kept."""
STALE_S: Final = 0.1
"""A kept connection that the server has closed meanwhile fails at once; only then is it safe to
send the request again, for nobody can have begun to answer it."""
MOST_HEAD_BYTES: Final = 64 * 1024
MOST_HELD_BYTES: Final = 256 * 1024
"""Received and not read by anybody; with more the server has to wait."""


class NotConnected(ConnectionError):
    """Nobody listens there, or not in time."""


class Gone(ConnectionError):
    """The server hung up before it began to answer."""


class CutOff(ConnectionError):
    """The server hung up in the middle of its answer."""


class Unreadable(Exception):
    """What the server sent is not HTTP."""


class HttpClient:
    """Asks one server, over as many connections as there are requests at a time.

    `url` is any address on it. No redirects, cookies, proxies or compression.
    """

    def __init__(self, url: str, headers: Mapping[str, str], connect_s: float) -> None:
        parts = urlsplit(url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._host = parts.hostname or ""
        self._is_tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._is_tls else 80)
        self._connect_s = connect_s
        host = parts.netloc.rpartition("@")[2]
        headers = {"Host": host, "Accept-Encoding": "identity", **headers}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._head = f" HTTP/1.1\r\n{lines}".encode()
        self._tls: ssl.SSLContext | None = None
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None

    async def get(self, url: str, *, within_s: float) -> "Answer":
        """The answer, once its head is there. Close it; raises what `post` raises."""
        return await self._ask(b"GET %b%b\r\n" % (self._path(url), self._head), b"", within_s)

    async def post(self, url: str, body: bytes, *, within_s: float) -> "Answer":
        """Send JSON; the answer, once its head is there.

        All of it has to come within `within_s` seconds, unless `Answer.flowing` says otherwise.
        Raises NotConnected, Gone, CutOff, Unreadable and TimeoutError.
        """
        head = b"POST %b%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (
            self._path(url),
            self._head,
            len(body),
        )
        return await self._ask(head, body, within_s)

    async def aclose(self) -> None:
        """Close every connection, also those in use."""
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in self._open:
            connection.abort()
        await asyncio.sleep(0)  # the transports let go in the loop's next round

    async def _ask(self, head: bytes, body: bytes, within_s: float) -> "Answer":
        loop = asyncio.get_running_loop()
        began = loop.time()
        if unused := self._unused():
            try:
                return await unused.ask(head, body, within_s)
            except Gone:
                if loop.time() - began > STALE_S:
                    raise
        connection = await self._connected(loop)
        return await connection.ask(head, body, within_s)

    def _unused(self) -> "Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closing:
                return connection
        return None

    async def _connected(self, loop: asyncio.AbstractEventLoop) -> "Connection":
        if self._is_tls and self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            async with asyncio.timeout(self._connect_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(self, loop), self._host, self._port, ssl=self._tls
                )
        except TimeoutError:
            raise NotConnected("no connection in time") from None
        except (OSError, UnicodeError) as error:
            raise NotConnected(str(error)) from None
        return connection

    def _path(self, url: str) -> bytes:
        path = url.removeprefix(self._origin)
        return (
            path.encode() if path.isascii() and " " not in path else quote(path, "/%?&=").encode()
        )

    def _joined(self, connection: "Connection") -> None:
        self._open.add(connection)

    def _left(self, connection: "Connection") -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _free(self, connection: "Connection") -> None:
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = connection.loop.call_later(KEEP_S, self._close_unused)

    def _close_unused(self) -> None:
        self._sweep = None
        before = asyncio.get_running_loop().time() - KEEP_S
        for connection in [c for c in self._idle if c.free_since <= before]:
            self._idle.remove(connection)
            connection.abort()
        if self._idle:
            wait_s = self._idle[0].free_since - before
            self._sweep = self._idle[0].loop.call_later(wait_s, self._close_unused)


class Connection(asyncio.Protocol):
    """A connection to the server, with at most one request on it."""

    def __init__(self, client: HttpClient, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.free_since = 0.0
        self._client = client
        self._answer: Answer | None = None

    @property
    def is_closing(self) -> bool:
        return self._transport.is_closing()

    async def ask(self, head: bytes, body: bytes, within_s: float) -> "Answer":
        answer = self._answer = Answer(self, within_s)
        self._transport.writelines([head, body] if body else [head])
        try:
            await answer.begun()
        except BaseException:
            answer.close()
            raise
        return answer

    def answered(self, *, reusable: bool) -> None:
        """The whole answer has come."""
        self._answer = None
        if reusable and not self._transport.get_write_buffer_size():
            self._transport.resume_reading()
            self.free_since = self.loop.time()
            self._client._free(self)
        else:
            self._transport.abort()

    def pause(self) -> None:
        self._transport.pause_reading()

    def resume(self) -> None:
        self._transport.resume_reading()

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its face only
        self._client._joined(self)

    def data_received(self, data: bytes) -> None:
        if self._answer is not None:
            self._answer.feed(data)
        else:
            self._transport.abort()  # nobody has asked

    def connection_lost(self, error: Exception | None) -> None:
        self._client._left(self)
        if self._answer is not None:
            self._answer.lost()


class Answer:
    """An answer whose head is there; `async for` gives its body as it comes. Close it.

    Raises CutOff, Unreadable, and TimeoutError when the server is silent for too long.
    """

    def __init__(self, connection: Connection, within_s: float) -> None:
        self.status = 0
        self.reason = ""
        self.headers: dict[bytes, bytes] = {}
        """By name in lower case."""
        self._connection: Connection | None = connection
        self._loop = connection.loop
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        # As lenient as browsers and aiohttp are.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True
        )
        self._head_bytes = 0
        self._has_head = self._is_whole = self._reusable = False
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._paused = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._asked_at = self._heard_at = self._loop.time()
        self._deadline = self._asked_at + within_s
        self._idle_s = float("inf")
        self._timer = self._loop.call_at(self._deadline, self._look)

    @property
    def content_type(self) -> str:
        """Without parameters; empty where there is none."""
        raw = self.headers.get(b"content-type", b"")
        return raw.split(b";", 1)[0].strip().lower().decode("latin-1")

    def flowing(self, idle_s: float, total_s: float) -> None:
        """From now on it may take as long as pieces come at least every `idle_s` seconds, but
        `total_s` at most, counted from the request."""
        if self._connection is not None:
            self._idle_s = idle_s
            self._deadline = self._asked_at + total_s
            self._timer.cancel()
            self._look()

    async def read(self, most_bytes: float = float("inf")) -> bytes:
        """The body, or as much of it."""
        raw = bytearray()
        async for piece in self:
            raw += piece
            if len(raw) >= most_bytes:
                return bytes(raw[: int(most_bytes)])
        return bytes(raw)

    def close(self) -> None:
        """Read no more; a connection on which more would come is closed."""
        if self._connection is not None:
            self._connection.abort()
            self._end()

    async def begun(self) -> None:
        """Wait for the head."""
        while not self._has_head and self._error is None:
            await self._wait()
        if not self._has_head and self._error is not None:
            raise self._error

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._connection is None:
                raise StopAsyncIteration
            await self._wait()
        pieces, self._pieces, self._held_bytes = self._pieces, [], 0
        if self._paused and self._connection is not None:
            self._paused = False
            self._connection.resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- what the connection tells ----------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        connection, parser = self._connection, self._parser
        if connection is None or parser is None:
            return
        self._heard_at = self._loop.time()
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._reusable = False
            if not self._is_whole:
                self._fail(Unreadable(str(error)))
        if self._is_whole:
            self._end()
            connection.answered(reusable=self._reusable)
        elif not self._has_head and self._head_bytes > MOST_HEAD_BYTES:
            self._fail(Unreadable("its head is too long"))

    def lost(self) -> None:
        if not self._has_head:
            self._fail(CutOff() if self._head_bytes else Gone())
        elif b"content-length" in self.headers or b"transfer-encoding" in self.headers:
            self._fail(CutOff())
        else:
            self._end()  # the end of the connection is the end of the body

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self.close()

    def _end(self) -> None:
        """Nothing more comes."""
        self._connection = self._parser = None
        self._timer.cancel()
        self._wake()

    def _look(self) -> None:
        """Has the time run out? A server that has to wait for us is not silent."""
        now = self._loop.time()
        due = self._deadline if self._paused else min(self._deadline, self._heard_at + self._idle_s)
        if now >= due:
            self._fail(TimeoutError("the server is silent"))
        else:
            self._timer = self._loop.call_at(due, self._look)

    # --- what the parser tells --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._is_whole:
            raise Unreadable("more than was asked for")

    def on_status(self, reason: bytes) -> None:
        self.reason += reason.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self._has_head = True
            self._wake()

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes > MOST_HELD_BYTES and not self._paused and self._connection:
            self._paused = True
            self._connection.pause()
        self._wake()

    def on_message_complete(self) -> None:
        if self.status < 200:  # only a word in between, as 100 Continue
            self.reason = ""
            self.headers.clear()
        elif self._parser is not None:
            self._is_whole = True
            self._reusable = self._parser.should_keep_alive()
