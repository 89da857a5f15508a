"""The HTTP beneath the google-genai SDK: aiohttp, and a way to keep an answer unread.

Import it only with the SDK: it needs httpx2, whose transport protocol is what the SDK speaks.
"""

import asyncio
from contextvars import ContextVar
from typing import Final

import aiohttp
import httpx2
from yarl import URL

from router.clouds.calls import was_stale

unread: Final[ContextVar[list[aiohttp.ClientResponse] | None]] = ContextVar("unread", default=None)
"""Where set, a successful answer is put here, and the SDK is shown an empty one.

The SDK then has nothing to parse, and whoever set it reads the answer and must close it.
"""

_OURS: Final = frozenset({b"host", b"content-length", b"connection", b"accept-encoding"})
"""Headers that aiohttp writes itself."""

_SHOWN: Final = ("content-type", "retry-after")


class Transport(httpx2.AsyncBaseTransport):
    """Sends what the SDK has made ready. Redirects are answers; nothing is tried twice, but over a
    connection that had been closed meanwhile."""

    def __init__(self, connect_timeout_s: float, may_use_proxy: bool = True) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._may_use_proxy = may_use_proxy
        self._ssl = httpx2.create_ssl_context()
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
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
        return await self._connected().request(
            request.method,
            URL(str(request.url), encoded=True),
            headers=[
                (k.decode(), v.decode()) for k, v in request.headers.raw if k.lower() not in _OURS
            ],
            data=await request.aread() or None,
            allow_redirects=False,
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl),
                cookie_jar=aiohttp.DummyCookieJar(),
                # Only connecting is limited here: how long an answer may take depends on which.
                timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout_s),
                headers={"Accept-Encoding": "identity"},
                trust_env=self._may_use_proxy,
            )
        return self._session
