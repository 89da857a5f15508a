"""HTTP/1.1 on uvicorn's protocol, with limits that uvicorn does not have.

It limits the size and time of a request's head, and the bytes of a body that are not content. It
drops trailers, answers malformed HTTP as JSON, and lingers so that a rejected caller can read why.

Checked against uvicorn 0.54.0 (requirements.txt pins it that narrowly). Of what uvicorn does not
document it uses:
- HttpToolsProtocol: its constructor's arguments, `url`, `headers`, `scope`, `parser`, `cycle`,
  `flow`, `pipeline`, `transport`, `loop`, `server_state`, `timeout_keep_alive`,
  `expect_100_continue`, `timeout_keep_alive_handler()`, `on_response_complete()`,
  `send_400_response()`, `_unset_keepalive_if_required()`, `_start_asgi_task()`
- RequestResponseCycle: `transport`, `response_started`, `response_complete`, `disconnected`,
  `message_event`, `more_body`; that it sends a body without a length in chunks
- FlowControl: `resume_reading()`, `write_paused`
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
from web.asgi import CALLER_PAUSE_S, CONNECTION, OUTLET, error_headers
from web.dialect import error_body

MOST_HEAD_BYTES: Final = 64 * 1024
"""Limit of a request line and its headers; other servers allow 8 to 64 KB."""
MOST_FRAMING_BYTES: Final = 2 * MOST_HEAD_BYTES
"""Limit of everything in a request that is not its body: head, chunk sizes and extensions,
trailers. Each chunk may add CHUNK_FRAMING_BYTES."""
CHUNK_FRAMING_BYTES: Final = 16
"""The size of a chunk in hexadecimal and two line breaks."""
LINGER_S: Final = 5.0
"""Time in which a refused caller may go on sending. Many callers read the answer only after they
have sent all, and lose it if the connection is closed by then."""


class HttpProtocol(HttpToolsProtocol):
    """A connection. It is the `Connection` in the state of its requests."""

    # An object with more than 30 attributes of its own would have a dictionary of a kilobyte.
    __slots__ = (
        *("_framing_bytes", "_head_bytes", "_head_s", "_in_body", "_in_head", "_lingers"),
        *("_on_disconnect", "_on_expiry", "_outlet", "_ticker", "until"),
    )

    def __init__(self, *args: Any, head_s: float = CALLER_PAUSE_S, **kwargs: Any) -> None:
        """Begin a connection. `head_s`: time limit of a head, from its first byte or the start."""
        super().__init__(*args, **kwargs)
        self.url, self.headers = b"", []
        self._head_s = head_s
        self._head_bytes = self._framing_bytes = 0
        self._in_head = self._in_body = self._lingers = False
        self._ticker = ticker_of(self.loop)
        self.until = 0.0
        self._on_expiry: Callable[[], None] | None = None
        """Called when the caller takes too long for its next step."""
        self._outlet: _Outlet | None = None
        self._on_disconnect: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm(self._head_s, self._refuse_late_head)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)
        self._notify_disconnect()

    def data_received(self, data: bytes) -> None:
        if self._lingers:
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
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
        elif self._in_body:
            self._framing_bytes += len(data)
            if self._framing_bytes > MOST_FRAMING_BYTES:
                self._refuse_framing()
                return
        if self.cycle is None or self.cycle.response_complete:
            self._await_next()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = self._framing_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer could override a header that was checked already
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body = False, True
        self._disarm()
        sizes = (len(name) + len(value) + 4 for name, value in self.headers)
        self._head_bytes = len(self.url) + sum(sizes)
        if self._head_bytes > MOST_HEAD_BYTES:
            raise ValueError  # the parser stops, and send_400_response() says why
        if self.parser.should_upgrade():
            return  # see _ignore_upgrade()
        self.scope["state"][CONNECTION] = self
        super().on_headers_complete()
        self._outlet = _Outlet(self)
        self.scope["state"][OUTLET] = self._outlet
        # Of a transport, a cycle uses only what an outlet has.
        self.cycle.transport = self._outlet  # type: ignore[assignment]

    def on_chunk_header(self) -> None:
        self._framing_bytes -= CHUNK_FRAMING_BYTES

    def on_body(self, body: bytes) -> None:
        self._framing_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Answer a request that offers another protocol, as Java's client does, as plain HTTP/1.1.

        The parser has stopped behind the head. The request is parsed again without the
        `Connection` header, which makes the `Upgrade` header meaningless.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("")
            return
        kept = [(n, v) for n, v in self.headers if n != b"connection"]
        head = [b"%b %b HTTP/1.1" % (method, self.url), *(b"%b: %b" % header for header in kept)]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*head, b"", rest]))

    def send_400_response(self, msg: str) -> None:
        if self._head_bytes > MOST_HEAD_BYTES:
            most_kb = MOST_HEAD_BYTES // 1024
            problem = f"The address and headers are larger than {most_kb} KB."
            self._refuse(InvalidRequest(problem, code="headers_too_large", status=431))
        else:
            self._refuse(InvalidRequest("This is not valid HTTP/1.1.", code="invalid_http"))

    def on_response_complete(self) -> None:
        """Do what the base class does, but without a timer of the loop for each request."""
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

    def _refuse_late_head(self) -> None:
        problem = f"The request's headers did not come within {self._head_s:g} seconds."
        self._refuse(InvalidRequest(problem, status=408))

    def _refuse_framing(self) -> None:
        most_kb = MOST_FRAMING_BYTES // 1024
        problem = f"The body's chunk extensions and trailers are larger than {most_kb} KB."
        self._refuse(InvalidRequest(problem, code="invalid_http"))

    def _refuse(self, error: RouterError) -> None:
        begun = False
        if (cycle := self.cycle) is not None and not cycle.response_complete:
            begun = cycle.response_started  # more bytes now would look like part of that answer
            cycle.disconnected = True
            cycle.message_event.set()
            self._notify_disconnect()
        if not begun:
            path = self.url.decode("latin-1")
            body = orjson.dumps(error_body(error, {"path": path, "headers": self.headers}))
            lines = "".join(
                f"{name.decode()}: {value.decode()}\r\n"
                for name, value in error_headers(error)
                if name != b"connection"
            )
            head = (
                f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
                f"{lines}content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.linger()

    def linger(self) -> None:
        """Close the sending side, and let the caller finish what it is sending."""
        if self.transport.is_closing():
            return
        self._lingers = True
        self._disarm()
        if self._outlet is not None:
            self._outlet.flush()
        try:
            self.transport.write_eof()
        except OSError:  # the caller is gone
            self.transport.abort()
            return
        self.flow.resume_reading()
        self._arm(LINGER_S, self.transport.close)

    def watch(self, on_disconnect: Callable[[], None]) -> bool:
        self._on_disconnect = on_disconnect
        if not self.pipeline:
            self.flow.resume_reading()  # a large body has paused it; a disconnect must be read
        return not self.transport.is_closing()

    def unwatch(self, on_disconnect: Callable[[], None]) -> None:
        if self._on_disconnect == on_disconnect:
            self._on_disconnect = None

    def abort(self) -> None:
        self.transport.abort()

    def _notify_disconnect(self) -> None:
        notify, self._on_disconnect = self._on_disconnect, None
        if notify is not None:
            notify()

    def _await_next(self) -> None:
        """Limit the time to the next request, or to the end of its head if that has begun."""
        if self._on_expiry is not None:
            return
        if self._in_head:
            self._arm(self._head_s, self._refuse_late_head)
        else:
            self._arm(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _arm(self, seconds: float, on_expiry: Callable[[], None]) -> None:
        self.until, self._on_expiry = self.loop.time() + seconds, on_expiry
        self._ticker.watch(self)

    def _disarm(self) -> None:
        self._on_expiry = None
        self._ticker.forget(self)

    def expire(self) -> None:
        """Call the action that was set for the end of the time."""
        due, self._on_expiry = self._on_expiry, None
        if due is not None:
            due()


class _Outlet:
    """The transport as an exchange uses it.

    It holds back the first write, which is the head (or `100 Continue`), and sends it together with
    the next write in the same step of the loop: a packet costs more than all other work for a short
    answer. It closes at once only if the caller has sent everything.
    """

    def __init__(self, protocol: HttpProtocol) -> None:
        self._protocol = protocol
        self._cycle = protocol.cycle
        self._transport = protocol.transport
        self._head = b""
        self.is_closing = self._transport.is_closing
        self.write: Callable[[bytes], None] = self._hold

    def _hold(self, head: bytes) -> None:
        self._head = head
        self.write = self._write_with_head
        self._protocol.loop.call_soon(self.flush)

    def _write_with_head(self, data: bytes) -> None:
        head, self._head = self._head, b""
        self.write = self._transport.write
        self.write(head + data)

    def is_ready(self) -> bool:
        """Return whether the caller is there and reads, and the body has not ended."""
        cycle, flow = self._cycle, self._protocol.flow
        return not (flow.write_paused or cycle.disconnected or cycle.response_complete)

    def send(self, item: bytes) -> None:
        """Send a piece of the body, past the cycle's own `send`."""
        self.write(b"%x\r\n%b\r\n" % (len(item), item))  # uvicorn sends a stream in chunks

    def flush(self) -> None:
        """Write a head that is still held back."""
        if self._head:
            self._write_with_head(b"")

    def close(self) -> None:
        self.flush()
        if self._cycle.more_body:
            self._protocol.linger()
        else:
            self._protocol.transport.close()
