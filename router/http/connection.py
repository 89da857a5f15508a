"""One connection to a server, with at most one request on it at a time."""

import asyncio
import select
from typing import Protocol, cast

from router.http.answer import Answer, Gone, HttpError


class Pool(Protocol):
    """The owner of connections, as a connection uses it."""

    def opened(self, connection: "ServerConnection") -> None:
        """Store a new connection."""

    def closed(self, connection: "ServerConnection") -> None:
        """Forget a connection that is closed."""

    def unused(self, connection: "ServerConnection") -> None:
        """Keep a connection for the next request, or abort it."""


class ServerConnection(asyncio.Protocol):
    """A connection to the server."""

    def __init__(self, pool: Pool) -> None:
        self.loop = asyncio.get_running_loop()
        self.unused_since = 0.0
        self._pool = pool
        self._answer: Answer | None = None
        self._is_given_up = False
        self._transport: asyncio.Transport | None = None
        self._socket_poll = select.poll() if hasattr(select, "poll") else None

    def is_quiet(self) -> bool:
        """Return whether it is open and has no unread bytes from the server."""
        if self._transport is None or self._transport.is_closing():
            return False
        # Bytes that the loop has not read yet would count as the answer to the next request.
        return self._socket_poll is None or not self._socket_poll.poll(0)

    async def ask(self, message: list[bytes], within_s: float) -> Answer:
        """Send the pieces of a request; return its answer once the head has come."""
        assert self._transport is not None
        if self._transport.is_closing():
            raise Gone
        self._transport.writelines(message)  # before the answer is set up: the server can begin
        answer = self._answer = Answer(self, self.loop, within_s)
        try:
            await answer.begun()
        except BaseException:
            answer.close()
            raise
        return answer

    def release(self, *, reusable: bool) -> None:
        """End the use by an answer; without `reusable`, close the connection."""
        assert self._transport is not None
        if reusable and not self._transport.get_write_buffer_size():
            self._answer = None
            self._transport.resume_reading()
            self.unused_since = self.loop.time()
            self._pool.unused(self)
        else:
            self._transport.abort()

    def pause(self) -> None:
        """Stop reading from the server."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Go on reading."""
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    def fail(self, error: HttpError) -> None:
        """Close it, and end the answer on it with this error."""
        if self._answer is not None:
            self._answer.fail(error)
        self.abort()

    def give_up(self) -> None:
        """Give up a connection that is still being made; if uvloop makes it, it is closed."""
        self._is_given_up = True
        self.abort()
        self._pool.closed(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        if self._is_given_up:
            self.abort()
            return
        if self._socket_poll is not None:
            socket = transport.get_extra_info("socket")
            self._socket_poll.register(socket.fileno(), select.POLLIN)
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on to the answer; without a request they are an error."""
        if self._answer is not None:
            self._answer.feed(data)
        else:
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the pool and the answer that the connection is closed."""
        self._pool.closed(self)
        if self._answer is not None:
            self._answer.lost(error)
            self._answer = None
