"""The ASGI contract on one page, and what every route does with it: read a body, send an answer."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from typing import Any, Final, Protocol, TypeVar

import orjson

from router.deadlines import within
from router.errors import InvalidRequest, RouterError, TooLarge
from router.http.trace_context import NO_TRACE, Trace, valid_trace
from web.content_encoding import decoded

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Result = TypeVar("Result")

CALLER_PAUSE_S: Final = 30.0
"""Longest pause of a caller while it sends its request."""
NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
JSON_HEADERS: Final = ((b"content-type", b"application/json"), NOSNIFF)
CONNECTION: Final = "router.connection"
"""The key of the `Connection` in a request's state."""
OUTLET: Final = "router.outlet"
"""The key of the `Sink[bytes]` to the caller in a request's state."""


class Connection(Protocol):
    """The connection to a caller. Waiting for `http.disconnect` would take a task per request."""

    def watch(self, on_disconnect: Callable[[], None]) -> bool:
        """Call `on_disconnect`, once, when the caller is gone; return whether it is still there."""

    def unwatch(self, on_disconnect: Callable[[], None]) -> None:
        """Stop calling it."""

    def abort(self) -> None:
        """Close the connection without sending what is left."""


class CallerLeft(Exception):
    """The caller hung up before it was answered."""


def header(scope: Scope, name: bytes) -> str:
    """Return a request header's value, empty if there is none; of a repeated one the last value.

    `name` is in lower case.
    """
    value: bytes = headers_of(scope).get(name, b"")
    return value.decode("latin-1")


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """Return the request's headers by their names in lower case; of a repeated one the last."""
    by_name: dict[bytes, bytes] | None = scope.get("router.headers")
    if by_name is None:
        by_name = scope["router.headers"] = dict(scope["headers"])
    return by_name


def trace_of(scope: Scope) -> Trace:
    """Return the trace that the caller has sent."""
    if not (parent := header(scope, b"traceparent")):
        return NO_TRACE
    states = [value for name, value in scope["headers"] if name == b"tracestate"]
    return valid_trace(parent, b",".join(states).decode("latin-1"))


async def read_body(
    scope: Scope,
    receive: Receive,
    limit_bytes: int,
    pause_s: float = CALLER_PAUSE_S,
    task: asyncio.Task[Any] | None = None,
) -> bytes:
    """Return the whole body, decompressed; refuse one as soon as it is known to be too large.

    `task`: the current one, where the caller knows it.

    Raises TooLarge, CallerLeft, and InvalidRequest: 408 when the caller stops sending, 415 for an
    unknown Content-Encoding, 400 for a body that does not match it.
    """
    announced = header(scope, b"content-length")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise _too_large(limit_bytes)
    pieces: list[bytes] = []
    size = 0
    while True:
        try:
            with within(pause_s, task):
                message = await receive()
        except TimeoutError:
            raise InvalidRequest(
                f"No more of the body came within {pause_s:g} seconds.", status=408
            ) from None
        if message["type"] == "http.disconnect":
            raise CallerLeft
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        if not message.get("more_body"):
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            encoding = header(scope, b"content-encoding")
            return await decoded(body, encoding, limit_bytes) if encoding else body


async def unless_left(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of the work.

    Cancels it and raises CallerLeft when the caller hangs up first.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise CallerLeft
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large(limit_bytes: int) -> TooLarge:
    limit_mb = limit_bytes / 2**20
    return TooLarge(f"The body is larger than {limit_mb:g} MB. MAX_BODY_MB sets the limit.")


async def send_whole(
    send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = JSON_HEADERS
) -> None:
    """Send an answer in one piece."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def send_error(
    send: Send,
    error: RouterError,
    body: dict[str, Any],
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Send a failure with its status; `body` is in the shape of the caller's dialect."""
    await send_whole(send, error.status, orjson.dumps(body), [*headers, *error_headers(error)])


def error_headers(error: RouterError) -> Headers:
    """Return the headers of a failure.

    The openai and anthropic clients retry some statuses by themselves. The router has already
    tried every candidate, so these headers ask them not to.
    """
    headers: Headers = [*JSON_HEADERS, (b"x-should-retry", b"false")]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, round(error.retry_after_s))).encode()))
    if error.status in (408, 413):
        headers.append((b"connection", b"close"))
    return headers
