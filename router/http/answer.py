"""The answer to one HTTP request: parsing, time limits and flow control.

The parser is llhttp (httptools), which uvicorn uses too.
"""

import asyncio
from collections.abc import Callable
from enum import Enum
from math import inf
from typing import Final, Protocol

import httptools

from router.deadlines import ticker_of

MOST_HEAD_BYTES: Final = 64 * 1024
MOST_HELD_BYTES: Final = 256 * 1024
"""Received bytes that may wait to be read; with more, reading from the server pauses."""
MOST_ERROR_BYTES: Final = 64 * 1024
"""Bytes that are read of an answer with an error status."""
LAST_BYTES_S: Final = 0.2
"""How long the end of the HTTP message may take after the end of the model's answer."""
KEPT_HEADERS: Final = frozenset(
    [
        *(b"content-length", b"content-type", b"retry-after", b"transfer-encoding"),
        b"x-request-id",
        *(b"x-router-target", b"x-router-backend", b"x-router-model", b"x-router-score"),
        b"x-router-reason",
    ]
)
"""The only headers that are used."""


class HttpError(Exception):
    """There is no answer, or only its beginning."""


class NotConnected(HttpError):
    """No server accepts connections there."""


class Gone(HttpError):
    """The server closed the connection before it began to answer."""


class CutOff(HttpError):
    """The server closed the connection in the middle of its answer."""


class Unreadable(HttpError):
    """The bytes of the server are not HTTP."""


class Link(Protocol):
    """The connection as its answer uses it."""

    def pause(self) -> None:
        """Stop reading from the server."""

    def resume(self) -> None:
        """Go on reading."""

    def release(self, *, reusable: bool) -> None:
        """End the use of the connection; without `reusable` it is closed."""


class State(Enum):
    """The state of an answer; `Answer` lists the transitions."""

    HEAD = "head"
    BODY = "body"
    PAUSED = "paused"
    DRAINING = "draining"
    WHOLE = "whole"
    OVER = "over"


class Answer:
    """An answer whose body is read in pieces. The reader must close it.

    Reading raises CutOff, Unreadable, and TimeoutError if the server is silent for too long.

    HEAD      -> BODY      the head is whole
    BODY      -> PAUSED    more than MOST_HELD_BYTES wait to be read
    PAUSED    -> BODY      all of them were read
    BODY, PAUSED -> DRAINING   the reader closed it, and only the end of the message may follow
    any but OVER -> WHOLE  the message is whole; WHOLE -> OVER in the same step, and the
                           connection may be used again
    any but OVER -> OVER   the reader closed it, it failed, or the end of the connection ended it
    """

    def __init__(self, link: Link, loop: asyncio.AbstractEventLoop, within_s: float) -> None:
        self.status = 0
        self.reason = ""
        self.headers: dict[bytes, bytes] = {}
        """Headers by name in lower case, only those of `KEPT_HEADERS`."""
        self._link = link
        self._loop = loop
        self._state = State.HEAD
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        # Some small servers deviate. That is safe: all answers on a connection are of one server.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._keeps_alive = False
        self._has_body = False
        self._head_bytes = 0
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._take: Callable[[bytes], bool] | None = None
        self._asked_at = self._heard_at = loop.time()
        self._deadline = self._asked_at + within_s
        self._idle_s = inf
        self._ticker = ticker_of(loop)
        self._ticker.watch(self)

    @property
    def content_type(self) -> str:
        """Return the media type without parameters; empty if there is none."""
        raw = self.headers.get(b"content-type", b"")
        return raw.split(b";", 1)[0].strip().lower().decode("latin-1")

    async def begun(self) -> None:
        """Wait for the head."""
        while not self.status and self._error is None:
            await self._wait()
        if not self.status and self._error is not None:
            raise self._error

    def flowing(self, idle_s: float, total_s: float) -> None:
        """Change the time limits: `idle_s` between two pieces, `total_s` from the request on."""
        self._idle_s = idle_s
        self._deadline = self._asked_at + total_s

    def offer_to(self, take: Callable[[bytes], bool]) -> None:
        """Offer what comes to `take` while a reader waits; the reader gets what `take` refuses."""
        if self._state is not State.OVER:
            self._take = take

    async def piece(self) -> bytes:
        """Return the bytes since the last piece, or wait for some; empty at the end."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._state is State.OVER:
                return b""
            await self._wait()
        pieces, self._pieces, self._held_bytes = self._pieces, [], 0
        if self._state is State.PAUSED:
            self._state = State.BODY
            self._heard_at = self._loop.time()  # the pause does not count as silence
            self._link.resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read(self, most_bytes: int | None = None) -> bytes:
        """Return the body, or its first `most_bytes` bytes."""
        pieces = [await self.piece()]
        size = len(pieces[0])
        while pieces[-1] and (most_bytes is None or size < most_bytes):
            pieces.append(await self.piece())
            size += len(pieces[-1])
        return b"".join(pieces)[:most_bytes]

    def close(self, linger_s: float = 0) -> None:
        """Stop reading. The connection is closed if the answer is not whole.

        With `linger_s`, the connection is kept if nothing but the end of the message follows within
        that time.
        """
        if self._state is State.OVER:
            return
        if linger_s:
            self._state = State.DRAINING
            self._idle_s = inf
            self._deadline = self._loop.time() + linger_s
        else:
            self._end()
            self._link.release(reusable=False)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _deliver(self) -> None:
        """Pass on the pieces that have come: to `_take`, or to the reader that waits for them."""
        if self._waiter is None or self._waiter.done():
            return
        if self._take is not None and self._state is State.BODY:
            if len(self._pieces) > 1:
                self._pieces = [b"".join(self._pieces)]
            if self._take(self._pieces[0]):
                self._pieces.clear()
                self._held_bytes = 0
                return
        self._waiter.set_result(None)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def has_body(self) -> bool:
        """Return whether a part of the body has come."""
        return self._has_body

    @property
    def is_overdue(self) -> bool:
        """Return whether the time for the whole answer is over, not only for its next piece."""
        return self._loop.time() >= self._deadline

    @property
    def until(self) -> float:
        """Return when the time runs out. Silence does not count while reading is paused."""
        if self._state is State.PAUSED:
            return self._deadline
        return min(self._deadline, self._heard_at + self._idle_s)

    def expire(self) -> None:
        """Fail because the time has run out."""
        self.fail(TimeoutError("the server is silent"))

    def _end(self) -> None:
        self._state = State.OVER
        self._parser = self._take = None  # they refer to this object
        self._ticker.forget(self)
        self._wake()

    # --- calls of the connection ------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Parse bytes from the server."""
        parser = self._parser
        if parser is None:  # closed, but the transport still delivers
            return
        if self._state is State.HEAD:
            self._head_bytes += len(data)
        reusable = True
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            reusable = False
            if self._state is not State.WHOLE:
                self.fail(Unreadable(str(error)))
        if self._state is State.WHOLE:
            reusable = reusable and self._keeps_alive
            self._end()
            self._link.release(reusable=reusable)
        elif self._pieces:
            self._deliver()
        elif self._state is State.HEAD and self._head_bytes > MOST_HEAD_BYTES:
            self.fail(Unreadable("its head is too long"))

    def lost(self, error: Exception | None) -> None:
        """Handle the end of the connection."""
        framed = b"chunked" in self.headers.get(b"transfer-encoding", b"").lower()
        if self._state is State.HEAD:
            self.fail(CutOff() if self._head_bytes else Gone())
        elif error is not None or framed or b"content-length" in self.headers:
            self.fail(CutOff())
        elif self._state is not State.OVER:
            self._end()  # the end of the connection is the end of the body

    def fail(self, error: Exception) -> None:
        """End with an error; an answer that is over stays as it is."""
        if self._state is not State.OVER:
            self._error = error
            self.close()

    # --- calls of the parser ----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Refuse a second message."""
        if self._state is State.WHOLE:
            raise Unreadable("more than was asked for")

    def on_status(self, reason: bytes) -> None:
        """Store the reason phrase of the status line."""
        self.reason += reason.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header; trailers are ignored."""
        name = name.lower()
        if name in KEPT_HEADERS and self._state is State.HEAD:
            self.headers[name] = value

    def on_headers_complete(self) -> None:
        """Store the status; informational answers such as 100 Continue are skipped."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < 100:
            raise Unreadable("its status is not valid")
        if status >= 200:
            self.status = status
            self._state = State.BODY
            self._heard_at = self._loop.time()
            self._wake()
        else:
            self.reason = ""
            self.headers.clear()

    def on_body(self, piece: bytes) -> None:
        """Store a piece of the body."""
        if self._state is State.DRAINING:
            self.close()
            return
        self._heard_at = self._loop.time()
        self._has_body = True
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes > MOST_HELD_BYTES and self._state is State.BODY:
            self._state = State.PAUSED
            self._link.pause()

    def on_message_complete(self) -> None:
        """Note the end of the message, and whether the server keeps the connection open."""
        if self._parser is not None and self._state is not State.HEAD:
            self._keeps_alive = self._parser.should_keep_alive()  # the parser knows it only now
            self._state = State.WHOLE
