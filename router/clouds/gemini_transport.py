"""The HTTP transport of the google-genai SDK: aiohttp, with a way to keep an answer unread.

Import it only together with the SDK: it implements the transport protocol of httpx2.
"""

import asyncio
from contextvars import ContextVar
from typing import Final

import aiohttp
import httpx2
from aiohttp.helpers import netrc_from_env
from yarl import URL

from router.clouds.calls import was_stale
from router.http.trace_context import current_trace

unread: Final[ContextVar[list[aiohttp.ClientResponse] | None]] = ContextVar("unread", default=None)
"""If set, a successful answer is put here, and the SDK gets an empty one, with nothing to parse.

The code that sets it must read and close the answer.
"""

captured: Final[ContextVar[list[httpx2.Request] | None]] = ContextVar("captured", default=None)
"""If set, a request is put here and not sent, and the SDK gets an empty answer."""

_OURS: Final = frozenset({b"host", b"content-length", b"connection", b"accept-encoding"})
"""Headers that aiohttp sets itself."""

_SHOWN: Final = ("content-type", "retry-after")


class GeminiTransport(httpx2.AsyncBaseTransport):
    """Sends the requests of the SDK. Redirects are not followed.

    A request is repeated only if its kept connection had been closed meanwhile.
    """

    def __init__(self, connect_timeout_s: float, proxy: str = "") -> None:
        """Open nothing. `proxy`: the http:// or https:// address of one for all requests."""
        self._connect_timeout_s = connect_timeout_s
        self._proxy = _with_login(URL(proxy)) if proxy else None
        self._ssl = httpx2.create_ssl_context()
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; return its answer."""
        requests = captured.get()
        if requests is not None:
            requests.append(request)
            return httpx2.Response(200)
        clock = asyncio.get_running_loop().time
        asked_at = clock()
        try:
            answer = await self._sent(request)
        except (aiohttp.ClientError, OSError) as error:
            if not was_stale(error, clock() - asked_at):
                raise
            answer = await self._sent(request)
        waiting = unread.get()
        if waiting is not None and answer.status == 200:
            waiting.append(answer)
            return httpx2.Response(200)
        async with answer:
            shown = {name: answer.headers[name] for name in _SHOWN if name in answer.headers}
            return httpx2.Response(answer.status, headers=shown, content=await answer.read())

    async def _sent(self, request: httpx2.Request) -> aiohttp.ClientResponse:
        given = request.headers.raw
        headers = [(k.decode(), v.decode()) for k, v in given if k.lower() not in _OURS]
        headers += current_trace().items()
        return await self._connected().request(
            request.method,
            URL(str(request.url), encoded=True),
            headers=headers,
            data=await request.aread() or None,
            allow_redirects=False,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl),
                cookie_jar=aiohttp.DummyCookieJar(),
                # Only connecting is limited here; `paced` limits the answer.
                timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout_s),
                headers={"Accept-Encoding": "identity"},
                # aiohttp ignores ALL_PROXY, and HTTPS_PROXY=https://…: it would connect directly.
                proxy=self._proxy,
                trust_env=False,
            )
        return self._session


def _with_login(proxy: URL) -> URL:
    """Return the address of a proxy with its login of ~/.netrc, if it has none itself."""
    logins = netrc_from_env() if proxy.user is None else None
    found = logins.authenticators(proxy.host or "") if logins is not None else None
    return proxy.with_user(found[0]).with_password(found[2]) if found is not None else proxy
