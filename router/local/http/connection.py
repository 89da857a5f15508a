"""One connection to a server, and the answer that comes over it.

llhttp (httptools, on which uvicorn stands too) parses; here are time limits, flow control, and
what becomes of a connection after an answer.
"""

import asyncio
import select
from math import inf
from typing import TYPE_CHECKING, Final, cast

import httptools

from router.deadlines import ticker_of

if TYPE_CHECKING:
    from router.local.http.client import HttpClient

MOST_HEAD_BYTES: Final = 64 * 1024
MOST_HELD_BYTES: Final = 256 * 1024
"""Received and not read by anybody; with more the server has to wait."""
KEPT_HEADERS: Final = frozenset(
    [b"content-length", b"content-type", b"retry-after", b"transfer-encoding"]
)
"""The others nobody asks for."""


class HttpError(Exception):
    """No answer, or only the beginning of one."""


class NotConnected(HttpError):
    """Nobody accepts connections there."""


class Gone(HttpError):
    """The server hung up before it began to answer."""


class CutOff(HttpError):
    """The server hung up in the middle of its answer."""


class Unreadable(HttpError):
    """What the server sent is not HTTP."""


class Connection(asyncio.Protocol):
    """A connection to the server, with at most one request on it."""

    def __init__(self, client: "HttpClient") -> None:
        self.loop = asyncio.get_running_loop()
        self.unused_since = 0.0
        self._client = client
        self._answer: Answer | None = None
        self._is_given_up = False
        self._transport: asyncio.Transport | None = None
        self._waiting = select.poll() if hasattr(select, "poll") else None

    def is_quiet(self) -> bool:
        """Is it open, and has the server said nothing that nobody asked for?"""
        if self._transport is None or self._transport.is_closing():
            return False
        # What the loop has not read yet would be taken for the answer to the next request.
        return self._waiting is None or not self._waiting.poll(0)

    async def ask(self, message: list[bytes], within_s: float) -> "Answer":
        """Send a request, in pieces; its answer, once the head is there."""
        assert self._transport is not None
        if self._transport.is_closing():
            raise Gone
        self._transport.writelines(message)  # first: the server can begin
        answer = self._answer = Answer(self, within_s)
        try:
            await answer.begun()
        except BaseException:
            answer.close()
            raise
        return answer

    def answered(self, *, reusable: bool) -> None:
        """The whole answer has come."""
        assert self._transport is not None
        self._answer = None
        if reusable and not self._transport.get_write_buffer_size():
            self._transport.resume_reading()
            self.unused_since = self.loop.time()
            self._client.unused(self)
        else:
            self._transport.abort()

    def pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def fail(self, error: HttpError) -> None:
        """End it, and the answer that is under way with this error."""
        if self._answer is not None:
            self._answer.fail(error)
        self.abort()

    def give_up(self) -> None:
        """Nobody wants it any more; uvloop may still make it, and not tell of its end."""
        self._is_given_up = True
        self.abort()
        self._client.closed(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its face only
        if self._is_given_up:
            self.abort()
            return
        if self._waiting is not None:
            self._waiting.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._client.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._answer is not None:
            self._answer.feed(data)
        else:
            self.abort()  # nobody has asked

    def connection_lost(self, error: Exception | None) -> None:
        self._client.closed(self)
        if self._answer is not None:
            self._answer.lost(error)
            self._answer = None


class Answer:
    """An answer whose head is there; its body is read in pieces, as they come. Close it.

    Reading raises CutOff, Unreadable, and TimeoutError when the server is silent for too long.
    """

    def __init__(self, connection: Connection, within_s: float) -> None:
        self.status = 0
        self.reason = ""
        self.headers: dict[bytes, bytes] = {}
        """Those of `KEPT_HEADERS` that came."""
        self._connection = connection
        self._loop = connection.loop
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        # Some small servers are careless; nobody else's answers come over this connection.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._head_bytes = 0
        self._is_whole = self._reusable = False
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._paused = self._draining = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._asked_at = self._heard_at = self._loop.time()
        self._deadline = self._asked_at + within_s
        self._idle_s = inf
        self._ticker = ticker_of(self._loop)
        self._ticker.watch(self)

    @property
    def content_type(self) -> str:
        """Without parameters; empty where there is none."""
        raw = self.headers.get(b"content-type", b"")
        return raw.split(b";", 1)[0].strip().lower().decode("latin-1")

    async def begun(self) -> None:
        """Wait for the head."""
        while not self.status and self._error is None:
            await self._wait()
        if not self.status and self._error is not None:
            raise self._error

    def flowing(self, idle_s: float, total_s: float) -> None:
        """From now on it may take as long as pieces come at least every `idle_s` seconds, but
        `total_s` at most, counted from the request."""
        self._idle_s = idle_s
        self._deadline = self._asked_at + total_s

    async def piece(self) -> bytes:
        """What has come since the last piece; waits for it. Empty at the end."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._is_over:
                return b""
            await self._wait()
        pieces, self._pieces, self._held_bytes = self._pieces, [], 0
        if self._paused and not self._is_over:
            self._paused = False
            self._heard_at = self._loop.time()  # until now it had to wait for us
            self._connection.resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read(self, most_bytes: int | None = None) -> bytes:
        """The body, or as much of it."""
        pieces = [await self.piece()]
        size = len(pieces[0])
        while pieces[-1] and (most_bytes is None or size < most_bytes):
            pieces.append(await self.piece())
            size += len(pieces[-1])
        return b"".join(pieces)[:most_bytes]

    def close(self, linger_s: float = 0) -> None:
        """Read no more. The connection is closed if more would come; with `linger_s`, not if it
        is only the message's end, within so many seconds: then it can be used again."""
        if self._is_over:
            return
        if linger_s:
            self._draining = True
            self._idle_s = inf
            self._deadline = self._loop.time() + linger_s
        else:
            self._end()
            self._connection.abort()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def until(self) -> float:
        """When the time runs out. A server that has to wait for us is not silent."""
        return (
            self._deadline if self._paused else min(self._deadline, self._heard_at + self._idle_s)
        )

    def expire(self) -> None:
        """The time has run out."""
        self.fail(TimeoutError("the server is silent"))

    @property
    def _is_over(self) -> bool:
        return self._parser is None

    def _end(self) -> None:
        """Nothing more comes."""
        self._parser = None  # it holds us
        self._ticker.forget(self)
        self._wake()

    # --- what the connection tells ----------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:  # closed, and the transport has not noticed yet
            return
        if not self.status:
            self._head_bytes += len(data)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._reusable = False
            if not self._is_whole:
                self.fail(Unreadable(str(error)))
        if self._is_whole:
            self._end()
            self._connection.answered(reusable=self._reusable)
        elif not self.status and self._head_bytes > MOST_HEAD_BYTES:
            self.fail(Unreadable("its head is too long"))

    def lost(self, error: Exception | None) -> None:
        framed = b"chunked" in self.headers.get(b"transfer-encoding", b"").lower()
        if not self.status:
            self.fail(CutOff() if self._head_bytes else Gone())
        elif error is not None or framed or b"content-length" in self.headers:
            self.fail(CutOff())
        elif not self._is_over:
            self._end()  # the end of the connection is the end of the body

    def fail(self, error: Exception) -> None:
        """It ends here, and not well; what is over already stays as it is."""
        if not self._is_over:
            self._error = error
            self.close()

    # --- what the parser tells --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._is_whole:
            raise Unreadable("more than was asked for")

    def on_status(self, reason: bytes) -> None:
        self.reason += reason.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in KEPT_HEADERS and not self.status:  # else it is a trailer
            self.headers[name] = value

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < 100:
            raise Unreadable("its status is none")
        if status >= 200:
            self.status = status
            self._heard_at = self._loop.time()
            self._wake()
        else:  # only a word in between, as 100 Continue
            self.reason = ""
            self.headers.clear()

    def on_body(self, piece: bytes) -> None:
        if self._draining:
            self.close()
            return
        self._heard_at = self._loop.time()
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes > MOST_HELD_BYTES and not self._paused:
            self._paused = True
            self._connection.pause()
        self._wake()

    def on_message_complete(self) -> None:
        if self.status and self._parser is not None:
            self._is_whole = True
            self._reusable = self._parser.should_keep_alive()  # it forgets at once
