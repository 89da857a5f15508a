"""Checks host, origin and key of each request. The routes behind the gate trust a request.

A web page of another origin can neither read nor trigger anything. The Host must be a name of this
server, because DNS rebinding makes a foreign name point here, or the address that the caller has
connected to. The Origin, where a browser sends one, must be this server's own or listed in
CORS_ORIGINS.
"""

import logging
import re
from collections.abc import Collection, Mapping
from typing import Final

from router.errors import Forbidden, InvalidRequest, RouterError, Unauthorized
from web.asgi import (
    NOSNIFF,
    App,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    header,
    headers_of,
    send_error,
)
from web.dialect import error_body
from web.keys import Keys

log = logging.getLogger("router")

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
LONGEST_PATH: Final = 80
"""Characters of a path in the log."""
METHODS: Final = b"GET, HEAD, POST, OPTIONS"
SHORT_PATHS: Final = frozenset(
    {"chat/completions", "completions", "embeddings", "messages", "models", "responses"}
)
"""First words of paths that some clients request without `/v1`."""
HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^:\[\]]*)(?::[0-9]{0,5})?")
ONCE: Final = (b"host", b"origin", b"authorization", b"x-api-key", b"x-force-route")
"""Headers that the router acts on. A repeated one could be read differently by another program."""
SECURITY_HEADERS: Final = (NOSNIFF, (b"content-security-policy", b"frame-ancestors 'none'"))
"""Added to answers of the app. Its pages set their own."""


class Gate:
    """Checks a request, then hands it to the endpoint of its path, or to the app.

    `endpoints` own their paths and answer without the app's machinery.
    """

    def __init__(
        self,
        app: App,
        endpoints: Mapping[str, App],
        *,
        keys: Keys,
        allowed_hosts: Collection[str],
        cors_origins: Collection[str],
    ) -> None:
        self._app = app
        self._endpoints = endpoints
        self._keys = keys
        self._hosts = LOOPBACK_NAMES | {_bracketed(host.lower()) for host in allowed_hosts}
        self._last_host: str | None = None
        """The last accepted Host; most requests have the same."""
        self._origins = frozenset(origin.rstrip("/").lower() for origin in cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] = _full_path(scope["path"])
        origin = header(scope, b"origin")
        try:
            if len(headers_of(scope)) < len(scope["headers"]):
                _check_repeated(scope)
            self._check_host(scope)
            self._check_origin(scope, origin)
            if origin and self._is_preflight(scope):
                await self._answer_preflight(scope, send, origin)
                return
            self._keys.check(scope, path)
        except RouterError as error:
            if isinstance(error, Unauthorized):
                log.info("refused a request for %r: %s", path[:LONGEST_PATH], error.message)
            await send_error(send, error, error_body(error, scope))
            return
        if origin.lower() in self._origins:
            send = _with_headers(send, _cors_headers(origin))
        if scope["method"] == "OPTIONS":
            await _send_no_content(send, [(b"allow", METHODS)])
            return
        if scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        endpoint = self._endpoints.get(path)
        if endpoint is not None:
            await endpoint(scope, receive, send)
        else:
            await self._app(scope, receive, _with_headers(send, SECURITY_HEADERS))

    def _check_host(self, scope: Scope) -> None:
        host = header(scope, b"host").lower()
        if host == self._last_host:
            return
        match = HOST.fullmatch(host)
        if match is None:
            raise InvalidRequest(
                f"The Host header {host[:200]!r} is not a name with an optional port."
            )
        if match["name"] == _own_address(scope):
            return
        if match["name"] not in self._hosts:
            raise Forbidden(
                f"This server has no name {match['name'][:200]!r}. If it should have it, add it to"
                " ALLOWED_HOSTS."
            )
        self._last_host = host

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
        await _send_no_content(send, headers)


def _own_address(scope: Scope) -> str:
    """Return the address that the caller has connected to, as a Host header has it.

    Probes of Kubernetes and Prometheus send it as Host. A foreign page cannot: a browser sends the
    name in the address of the page.
    """
    address = scope.get("server")
    return _bracketed(address[0]) if address else ""


def _check_repeated(scope: Scope) -> None:
    """Raise InvalidRequest if a header that must be unique comes twice."""
    names = [name for name, _ in scope["headers"]]
    for name in ONCE:
        if names.count(name) > 1:
            title = name.decode().title()
            raise InvalidRequest(f"The request has more than one {title} header. Send one.")


def _bracketed(host: str) -> str:
    """Return a host as a Host header has it: IPv6 addresses stand in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


async def _send_no_content(send: Send, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _full_path(path: str) -> str:
    """Return the path with `/v1`: clients differ in whether their base address ends in it."""
    rest = path.strip("/").removeprefix("v1/").removeprefix("v1/")
    head = rest if rest == "chat/completions" else rest.split("/", 1)[0]
    return f"/v1/{rest}" if head in SHORT_PATHS else path


def _cors_headers(origin: str) -> Headers:
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", b"*"),
        (b"vary", b"Origin"),
    ]


def _with_headers(send: Send, extra: Collection[tuple[bytes, bytes]]) -> Send:
    """Return a `send` that adds headers that an answer does not have yet."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            there = {name for name, _ in headers}
            headers += [one for one in extra if one[0] not in there]
            message = {**message, "headers": headers}
        await send(message)

    return sending


def _without_body(send: Send) -> Send:
    """Return a `send` for HEAD: everything but the body, which ends with its first piece."""
    ended = False

    async def sending(message: Message) -> None:
        nonlocal ended
        if message["type"] == "http.response.body":
            message = {**message, "body": b"", "more_body": False}
        if not ended:
            ended = message["type"] == "http.response.body"
            await send(message)

    return sending
