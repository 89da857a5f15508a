"""The gate: who may come in, and by which path. Everything behind it trusts the request.

A browser page on another origin can neither read nor trigger anything: the Host must be a name of
ours (DNS rebinding makes a foreign name point here) and the Origin, where a browser sends one,
must be our own or one that CORS_ORIGINS opens.
"""

import hmac
from collections.abc import Collection, Mapping
from typing import Final

from router.errors import Forbidden, RouterError, Unauthorized
from web.asgi import App, Headers, Message, Receive, Scope, Send, header, send_error, to_the_end
from web.dialect import error_body

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
OPEN_PATHS: Final = frozenset({"/", "/health"})
"""What may be seen without ROUTER_API_KEY."""
METHODS: Final = b"GET, HEAD, POST, OPTIONS"
SHORT_PATHS: Final = frozenset(
    {"chat/completions", "completions", "embeddings", "messages", "models", "responses"}
)
"""First words of paths that some clients ask for without `/v1`."""


class Gate:
    """Checks a request, then hands it to its door, or to the app that has the other routes.

    `doors` are the routes in a hurry: they are served without the app's machinery.
    """

    def __init__(
        self,
        app: App,
        doors: Mapping[str, App],
        *,
        api_key: str | None,
        allowed_hosts: Collection[str],
        cors_origins: Collection[str],
    ) -> None:
        self._app = app
        self._doors = doors
        self._api_key = api_key.encode() if api_key else None
        self._hosts = LOOPBACK_NAMES | {host.lower() for host in allowed_hosts}
        self._origins = frozenset(origin.rstrip("/").lower() for origin in cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, to_the_end(receive), send)
            return
        path = scope["path"] = _full_path(scope["path"])
        origin = header(scope, b"origin")
        try:
            self._check_host(scope)
            self._check_origin(scope, origin)
            if origin and self._is_preflight(scope):
                await self._answer_preflight(scope, send, origin)
                return
            self._check_key(scope, path)
        except RouterError as error:
            await send_error(send, error, error_body(error, scope))
            return
        if origin.lower() in self._origins:
            send = _with_headers(send, _cors_headers(origin))
        if scope["method"] == "OPTIONS":
            await _say_no_more(send, [(b"allow", METHODS)])
            return
        if scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        door = self._doors.get(path) if scope["method"] == "POST" else None
        await (door or self._app)(scope, receive, send)

    def _check_host(self, scope: Scope) -> None:
        host = header(scope, b"host").lower()
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if name not in self._hosts:
            raise Forbidden(
                f"This server does not go by the name {name!r}. If it should, add the name to"
                " ALLOWED_HOSTS."
            )

    def _check_origin(self, scope: Scope, origin: str) -> None:
        if not origin:
            if header(scope, b"sec-fetch-site") == "cross-site" and scope["method"] != "GET":
                raise Forbidden("A page of another site may not use this server.")
            return
        own = origin.lower().partition("://")[2] == header(scope, b"host").lower()
        if not own and origin.lower() not in self._origins:
            raise Forbidden(
                f"Pages from {origin[:200]!r} may not use this server. If they should, add the"
                " origin to CORS_ORIGINS."
            )

    def _check_key(self, scope: Scope, path: str) -> None:
        if self._api_key is None or path in OPEN_PATHS:
            return
        sent = header(scope, b"authorization")
        key = sent[7:] if sent[:7].lower() == "bearer " else header(scope, b"x-api-key")
        if not hmac.compare_digest(key.strip().encode("latin-1"), self._api_key):
            raise Unauthorized(
                "Send this server's ROUTER_API_KEY as `Authorization: Bearer …`."
                if not key
                else "This is not the server's ROUTER_API_KEY."
            )

    def _is_preflight(self, scope: Scope) -> bool:
        return scope["method"] == "OPTIONS" and bool(
            header(scope, b"access-control-request-method")
        )

    async def _answer_preflight(self, scope: Scope, send: Send, origin: str) -> None:
        wanted = header(scope, b"access-control-request-headers")
        headers: Headers = [
            *_cors_headers(origin),
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", wanted.encode("latin-1") or b"*"),
            (b"access-control-max-age", b"600"),
        ]
        await _say_no_more(send, headers)


async def _say_no_more(send: Send, headers: Headers) -> None:
    """204: yes, and there is nothing to read."""
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _full_path(path: str) -> str:
    """Clients differ in whether their base address ends in /v1; all ways lead in."""
    rest = path.strip("/").removeprefix("v1/").removeprefix("v1/")
    head = rest if rest == "chat/completions" else rest.split("/", 1)[0]
    return f"/v1/{rest}" if head in SHORT_PATHS else path


def _cors_headers(origin: str) -> Headers:
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", b"*"),
        (b"vary", b"Origin"),
    ]


def _with_headers(send: Send, extra: Headers) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await send(message)

    return sending


def _without_body(send: Send) -> Send:
    """For HEAD: all that GET answers but the body itself."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return sending
