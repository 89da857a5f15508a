"""A small HTTP/1.1 client for one server, with only the features that a relay needs.

A general client takes more time for a request than the rest of the router: bench/RESULTS.md. No
redirects, cookies or compression. aiohappyeyeballs makes the connections.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from aiohappyeyeballs import start_connection

from router.http.answer import Answer, Gone, NotConnected
from router.http.connection import ServerConnection
from router.http.login import basic_login
from router.http.proxy import Proxy
from router.http.trace_context import current_trace

KEEP_S: Final = 15.0
"""How long an unused connection is kept."""
FOUND_S: Final = 60.0
"""How long the addresses of a name are kept."""
STALE_S: Final = 0.1
"""A kept connection that the server has closed meanwhile fails within this time. Only then is the
request sent again, because the server cannot have begun to answer it."""
EYEBALLS_S: Final = 0.25
"""Seconds after which a second address of a name is tried beside the first."""


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Return headers as lines of a request. Raises ValueError on a control character."""
    if not all(value.isprintable() for pair in headers.items() for value in pair):
        raise ValueError("a header would hold a control character")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()


class HttpClient:
    """Sends requests to one server, over as many connections as there are requests at a time.

    `url` is any address on it. A name and password in it are sent as a login, a query with each
    request; neither is in `self.url`.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        connect_s: float,
        tls: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        """Read the address; open nothing. `tls` replaces the default context for https."""
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        host = parts.netloc.rpartition("@")[2]
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
        self.url = urlunsplit(parts._replace(netloc=host, query="", fragment=""))
        self._query = parts.query
        self._origin = f"{parts.scheme}://{host}"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if is_tls else 80)
        self._tls = (tls or ssl.create_default_context()) if is_tls else None
        self._connect_s = connect_s
        self._proxy = proxy
        headers = {"Host": host, "Accept-Encoding": "identity", **headers}
        if proxy is not None and not is_tls:
            headers |= proxy.headers
        if "Authorization" not in headers and (login := basic_login(parts)) is not None:
            headers["Authorization"] = login
        self._head = b" HTTP/1.1\r\n" + header_lines(headers)
        self._authorization = headers.get("Authorization", "")
        self._found: list[Any] = []
        self._found_at = 0.0
        self._is_closed = False
        self._idle: list[ServerConnection] = []
        self._open: set[ServerConnection] = set()
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def credentials(self) -> str:
        """Return the key or login that is sent with each request; empty if there is none."""
        return self._authorization.partition(" ")[2]

    async def get(self, url: str, *, within_s: float, headers: bytes = b"") -> Answer:
        """Return the answer once its head is there. Close it. Arguments and errors as of `post`."""
        head = b"GET %b%b%b\r\n" % (self._target(url), self._head, headers)
        return await self._ask([head], within_s)

    async def post(self, url: str, body: bytes, *, within_s: float, headers: bytes = b"") -> Answer:
        """Send JSON; return the answer once its head has come. The caller must close it.

        `headers` are further lines, of `header_lines`. Those of the request's trace are added.

        The whole answer has to come within `within_s` seconds, unless `Answer.flowing` changes
        that. Raises HttpError, and TimeoutError if the server is silent.
        """
        if trace := current_trace():
            headers += header_lines(trace)
        head = b"POST %b%b%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (
            self._target(url),
            self._head,
            headers,
            len(body),
        )
        return await self._ask([head, body], within_s)

    async def aclose(self) -> None:
        """Close every connection, also those in use."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in self._open:
            connection.fail(Gone())
        await asyncio.sleep(0)  # the transports let go in the loop's next round

    async def _ask(self, message: list[bytes], within_s: float) -> Answer:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_quiet():
                connection.abort()
                continue
            loop = connection.loop
            began = loop.time()
            try:
                return await connection.ask(message, within_s)
            except Gone:
                if self._is_closed or loop.time() - began > STALE_S:
                    raise
        return await (await self._connected()).ask(message, within_s)

    async def _connected(self) -> ServerConnection:
        connection = ServerConnection(self)
        loop = connection.loop
        try:
            async with asyncio.timeout(self._connect_s):
                if loop.time() - self._found_at > FOUND_S:
                    self._found = []
                if not self._found:
                    next_hop = self._proxy or self
                    self._found = await loop.getaddrinfo(
                        next_hop.host, next_hop.port, type=socket.SOCK_STREAM
                    )
                    self._found_at = loop.time()
                link = await start_connection(self._found, happy_eyeballs_delay=EYEBALLS_S)
                if self._proxy is not None and self._tls is not None:
                    await self._tunnelled(link, self._proxy)
                name = self.host if self._tls else None
                await loop.create_connection(
                    lambda: connection, sock=link, ssl=self._tls, server_hostname=name
                )
            if self._is_closed:
                raise NotConnected
        except BaseException as error:
            connection.give_up()
            if isinstance(error, ssl.SSLError):
                raise NotConnected(error.reason or str(error)) from None
            if isinstance(error, OSError | UnicodeError):  # TimeoutError is an OSError
                self._found = []
                raise NotConnected from None
            raise
        return connection

    async def _tunnelled(self, link: socket.socket, proxy: Proxy) -> None:
        try:
            await proxy.tunnel(link, self.host, self.port)
        except BaseException:
            link.close()
            raise

    def _target(self, url: str) -> bytes:
        # A proxy gets the whole address, unless it only passes encrypted bytes on.
        is_whole = self._proxy is not None and self._tls is None
        path = url if is_whole else url.removeprefix(self._origin)
        if self._query:
            path += f"{'&' if '?' in path else '?'}{self._query}"
        if path.isascii() and path.isprintable() and " " not in path:
            return path.encode()
        return quote(path, "/%?&=:").encode()

    # --- calls of the connections -----------------------------------------------------------------

    def opened(self, connection: ServerConnection) -> None:
        """Store a new connection."""
        self._open.add(connection)

    def closed(self, connection: ServerConnection) -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def unused(self, connection: ServerConnection) -> None:
        """Keep a connection for the next request."""
        if self._is_closed:
            connection.abort()
            return
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = connection.loop.call_later(KEEP_S, self._close_unused)

    def _close_unused(self) -> None:
        self._sweep = None
        before = asyncio.get_running_loop().time() - KEEP_S
        for connection in [one for one in self._idle if one.unused_since <= before]:
            self._idle.remove(connection)
            connection.abort()
        if self._idle:  # the first one was unused for longest
            first = self._idle[0]
            self._sweep = first.loop.call_later(first.unused_since - before, self._close_unused)
