"""HTTP/1.1 as uvicorn reads it, and what that leaves open.

A request's head has limits; what is no request is told so in the shape of the other failures; and
who is refused while it still sends can read why.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from router.deadlines import ticker_of
from router.errors import InvalidRequest, RouterError
from web.asgi import CALLER_PAUSE_S, CONNECTION
from web.dialect import error_body

MOST_HEAD_BYTES: Final = 64 * 1024
"""Of a request line and its headers; other servers take 8 to 64 KB."""
LINGER_S: Final = 5.0
"""How long a refused caller may go on sending. Many read no answer before they have sent all, and
never see it if the connection is gone by then."""


class Protocol(HttpToolsProtocol):
    """A connection. One whose head is too large, late or no HTTP is told so and closed.

    The state of a request has it as `CONNECTION`.
    """

    # An object with more than 30 attributes of its own has a dictionary of a kilobyte.
    __slots__ = (
        *("_head_bytes", "_head_s", "_in_head", "_lingers", "_outlet", "_on_expiry", "_ticker"),
        *("_on_disconnect", "until"),
    )

    def __init__(self, *args: Any, head_s: float = CALLER_PAUSE_S, **kwargs: Any) -> None:
        """`head_s`: how long a head may take, from its first byte or the connection's begin."""
        super().__init__(*args, **kwargs)
        self.url, self.headers = b"", []
        self._head_s = head_s
        self._head_bytes = 0
        self._in_head = self._lingers = False
        self._ticker = ticker_of(self.loop)
        self.until = 0.0
        self._on_expiry: Callable[[], None] | None = None
        """What happens when the time is over that what comes next may take."""
        self._outlet: _Outlet | None = None
        self._on_disconnect: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm(self._head_s, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)
        self._tell_of_disconnect()

    def data_received(self, data: bytes) -> None:
        if self._lingers:
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self.send_400_response("")
            return
        if self._lingers:
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self.send_400_response("")
                return
        if self.cycle is None or self.cycle.response_complete:
            self._await_next()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._disarm()
        sizes = (len(name) + len(value) + 4 for name, value in self.headers)
        self._head_bytes = len(self.url) + sum(sizes)
        if self._head_bytes > MOST_HEAD_BYTES:
            raise ValueError  # the parser stops, and send_400_response() tells why
        if self.parser.should_upgrade():
            return  # see _stay()
        self.scope["state"][CONNECTION] = self
        super().on_headers_complete()
        self._outlet = _Outlet(self)
        # Of a transport a cycle uses only what an outlet has.
        self.cycle.transport = self._outlet  # type: ignore[assignment]

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _stay(self, rest: bytes) -> None:
        """An offer to speak another protocol, as Java's client makes it, is not taken up.

        The parser has stopped behind the head; the request is read again without the offer.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("")
            return
        kept = [(n, v) for n, v in self.headers if n not in (b"connection", b"upgrade")]
        head = [b"%b %b HTTP/1.1" % (method, self.url), *(b"%b: %b" % header for header in kept)]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*head, b"", rest]))

    def send_400_response(self, msg: str) -> None:
        if self._head_bytes > MOST_HEAD_BYTES:
            most_kb = MOST_HEAD_BYTES // 1024
            said = f"The address and headers are larger than {most_kb} KB."
            self._refuse(InvalidRequest(said, code="headers_too_large", status=431))
        else:
            self._refuse(InvalidRequest("This is not valid HTTP/1.1.", code="invalid_http"))

    def on_response_complete(self) -> None:
        """As in the base class, but without a timer of the loop for each request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self._await_next()

    def _unset_keepalive_if_required(self) -> None:
        if self._on_expiry == self.timeout_keep_alive_handler:
            self._disarm()

    def _late(self) -> None:
        said = f"The request's headers did not come within {self._head_s:g} seconds."
        self._refuse(InvalidRequest(said, status=408))

    def _refuse(self, error: RouterError) -> None:
        begun = False
        if (cycle := self.cycle) is not None and not cycle.response_complete:
            begun = cycle.response_started  # what is said now would be read as the answer's
            cycle.disconnected = True
            cycle.message_event.set()
            self._tell_of_disconnect()
        if not begun:
            path = self.url.decode("latin-1")
            body = orjson.dumps(error_body(error, {"path": path, "headers": self.headers}))
            head = (
                f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
                "x-should-retry: false\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.linger()

    def linger(self) -> None:
        """Close, but let the caller finish what it is sending."""
        if self.transport.is_closing():
            return
        self._lingers = True
        self._disarm()
        if self._outlet is not None:
            self._outlet.let_go()
        try:
            self.transport.write_eof()
        except OSError:  # it is gone
            self.transport.abort()
            return
        self.flow.resume_reading()
        self._arm(LINGER_S, self.transport.close)

    def watch(self, on_disconnect: Callable[[], None]) -> None:
        self._on_disconnect = on_disconnect
        if not self.pipeline:
            self.flow.resume_reading()  # a large body has stopped it, and an end is read too

    def unwatch(self, on_disconnect: Callable[[], None]) -> None:
        if self._on_disconnect == on_disconnect:
            self._on_disconnect = None

    def abort(self) -> None:
        self.transport.abort()

    def _tell_of_disconnect(self) -> None:
        told, self._on_disconnect = self._on_disconnect, None
        if told is not None:
            told()

    def _await_next(self) -> None:
        """Limit how long the next request may be waited for, or its head, if that has begun."""
        if self._on_expiry is not None:
            return
        if self._in_head:
            self._arm(self._head_s, self._late)
        else:
            self._arm(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _arm(self, seconds: float, on_expiry: Callable[[], None]) -> None:
        self.until, self._on_expiry = self.loop.time() + seconds, on_expiry
        self._ticker.watch(self)

    def _disarm(self) -> None:
        self._on_expiry = None
        self._ticker.forget(self)

    def expire(self) -> None:
        """That time is over."""
        due, self._on_expiry = self._on_expiry, None
        if due is not None:
            due()


class _Outlet:
    """What an exchange writes to.

    The head of an answer leaves together with what follows it in the same step of the loop: a
    packet costs more than all that is done for a short answer otherwise. (What is held is the first
    write: of a caller that asked for it, `100 Continue`.) It closes at once only if the caller has
    sent everything.
    """

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._cycle = protocol.cycle
        self._transport = protocol.transport
        self._head = b""
        self.is_closing = self._transport.is_closing
        self.write: Callable[[bytes], None] = self._hold

    def _hold(self, head: bytes) -> None:
        self._head = head
        self.write = self._write_with_head
        self._protocol.loop.call_soon(self.let_go)

    def _write_with_head(self, data: bytes) -> None:
        head, self._head = self._head, b""
        self.write = self._transport.write
        self.write(head + data)

    def let_go(self) -> None:
        """Write a head that nothing has followed."""
        if self._head:
            self._write_with_head(b"")

    def close(self) -> None:
        self.let_go()
        if self._cycle.more_body:
            self._protocol.linger()
        else:
            self._protocol.transport.close()
