"""A dialect's POST route as an ASGI app."""

import asyncio
from typing import Final

from router.errors import InvalidRequest, MethodNotAllowed, RouterError
from web.asgi import Headers, Receive, Scope, Send, header, send_error
from web.exchange import Exchange, Service

DRAIN_S: Final = 2.0
"""Time limit for cancelled exchanges to send their last error at a shutdown."""


class Endpoint:
    """Runs an exchange for each request."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await self._refuse(scope, send)
            return
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await Exchange(self._service, scope, receive, send, task).run()
        finally:
            self._running.discard(task)

    async def _refuse(self, scope: Scope, send: Send) -> None:
        """Send 405; or 426 to a client that asks for a WebSocket, which makes it use POST."""
        error: RouterError = MethodNotAllowed(f"{scope['path']} takes POST, not {scope['method']}.")
        headers: Headers = [(b"allow", b"POST")]
        if header(scope, b"upgrade").lower() == "websocket":
            problem = f"{scope['path']} has no WebSocket. Send a POST; `stream` makes it stream."
            error = InvalidRequest(problem, code="upgrade_required", status=426)
            headers = [(b"upgrade", b"HTTP/1.1")]
        await send_error(send, error, self._service.wire.error_body(error), headers)

    async def drain(self) -> None:
        """Wait until exchanges that the server has cancelled have sent their last error."""
        if self._running:
            await asyncio.wait(self._running, timeout=DRAIN_S)
