"""The ASGI contract on one page, and what every door does with it: read a body, send an answer."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from typing import Any, Final, Protocol, TypeVar

import orjson

from router.deadlines import within
from router.errors import InvalidRequest, RouterError, TooLarge

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Result = TypeVar("Result")

CALLER_PAUSE_S: Final = 30.0
"""How long a caller may pause while it sends its request."""
JSON: Final = (b"content-type", b"application/json")
CONNECTION: Final = "router.connection"
"""Where the state of a request has its `Connection`."""


class Connection(Protocol):
    """What a caller is connected by. Waiting for `http.disconnect` would take a task a request."""

    def watch(self, on_disconnect: Callable[[], None]) -> None:
        """Call this, once, when the caller is gone."""

    def unwatch(self, on_disconnect: Callable[[], None]) -> None:
        """Call this no more."""

    def abort(self) -> None:
        """Hang up on the caller."""


class CallerLeft(Exception):
    """The caller hung up before it was answered."""


def to_the_end(receive: Receive) -> Receive:
    """For the app's lifespan: being cancelled, as by a second Ctrl-C, is an end in good order too.

    So the journal's last rows are written, and no model is left running.
    """

    async def receiving() -> Message:
        try:
            return await receive()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            return {"type": "lifespan.shutdown"}

    return receiving


def header(scope: Scope, name: bytes) -> str:
    """A request header's value; empty where there is none. `name` in lower case."""
    by_name = scope.get("router.headers")
    if by_name is None:
        by_name = scope["router.headers"] = dict(scope["headers"])
    value: bytes = by_name.get(name, b"")
    return value.decode("latin-1")


async def read_body(
    scope: Scope, receive: Receive, limit_bytes: int, pause_s: float = CALLER_PAUSE_S
) -> bytes:
    """The whole body. Refused as soon as it is known to be too large.

    Raises TooLarge, InvalidRequest (408) when the caller stops sending, CallerLeft.
    """
    announced = header(scope, b"content-length")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise _too_large(limit_bytes)
    pieces: list[bytes] = []
    size = 0
    while True:
        try:
            with within(pause_s):
                message = await receive()
        except TimeoutError:
            raise InvalidRequest(
                f"The body stopped coming for {pause_s:g} seconds.", status=408
            ) from None
        if message["type"] == "http.disconnect":
            raise CallerLeft
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        if not message.get("more_body"):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def unless_left(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of the work. Stops it and raises CallerLeft when the caller hangs up first."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_hung_up(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise CallerLeft
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large(limit_bytes: int) -> TooLarge:
    limit_mb = limit_bytes / 2**20
    return TooLarge(f"The body is larger than {limit_mb:g} MB (MAX_BODY_MB).")


async def send_whole(
    send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = (JSON,)
) -> None:
    """One answer in one piece."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def send_error(
    send: Send,
    error: RouterError,
    body: dict[str, Any],
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """A failure, in the shape of the caller's dialect.

    The openai and anthropic clients retry some statuses by themselves; whatever could be tried
    has been tried, so they are told not to.
    """
    extra: Headers = [JSON, *headers, (b"x-should-retry", b"false")]
    if error.retry_after_s is not None:
        extra.append((b"retry-after", str(max(1, round(error.retry_after_s))).encode()))
    if error.status in (408, 413):
        extra.append((b"connection", b"close"))
    await send_whole(send, error.status, orjson.dumps(body), extra)
