"""One door: a dialect's POST route, from the caller's bytes to the last byte of the answer."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, Protocol

import orjson

from router.backend import Items, Relayed, Reply
from router.call import Call
from router.deadlines import ticker_of
from router.errors import RouterError
from router.events import Event
from router.request import ChatRequest, Dialect
from router.router import Router
from router.telemetry.ledger import Entry, Ledger
from router.wire import sse
from router.wire.chat import completions
from web.asgi import (
    CONNECTION,
    JSON,
    CallerLeft,
    Connection,
    Headers,
    Receive,
    Scope,
    Send,
    header,
    read_body,
    send_error,
    send_whole,
)

log = logging.getLogger("router")

EVENT_STREAM: Final[Headers] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


DRAIN_S: Final = 2.0
"""How long exchanges that a shutdown has cancelled may take to tell their callers."""
LAST_EVENTS: Final[Mapping[Dialect, tuple[bytes, ...]]] = {
    "chat": (b"data: [DONE]",),
    "messages": (b"event: message_stop",),
    "responses": (b"event: response.completed", b"event: response.incomplete"),
}
"""How the last event of a whole answer begins. Callers hang up when they have read it, which may
be before the backend ends its stream."""


class Wire(Protocol):
    """A dialect module: `router.wire.chat.completions`, `responses` or `messages`."""

    ID_PREFIX: str
    KEEPALIVE: bytes

    def parse(self, raw: bytes, headers: Mapping[str, str]) -> ChatRequest: ...
    def stream(
        self,
        events: AsyncIterator[Event],
        request: ChatRequest,
        model: str,
        answer_id: str,
        created: int,
    ) -> AsyncGenerator[bytes, None]: ...
    async def complete(
        self,
        events: AsyncIterator[Event],
        request: ChatRequest,
        model: str,
        answer_id: str,
        created: int,
    ) -> dict[str, Any]: ...
    def error_body(self, error: RouterError) -> dict[str, Any]: ...
    def error_event(self, error: RouterError) -> bytes: ...


class Door:
    """A dialect's route, as an ASGI app. Holds what all its exchanges share."""

    def __init__(
        self,
        wire: Wire,
        dialect: Dialect,
        router: Router,
        ledger: Ledger,
        *,
        max_body_bytes: int,
        caller_pause_s: float,
        keepalive_after_s: float,
        idle_timeout_s: float,
        redact: Callable[[str], str],
    ) -> None:
        self.wire = wire
        self.dialect = dialect
        self.router = router
        self.ledger = ledger
        self.max_body_bytes = max_body_bytes
        self.caller_pause_s = caller_pause_s
        self.keepalive_after_s = keepalive_after_s
        self.idle_timeout_s = idle_timeout_s
        self.redact = redact
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await Exchange(self, scope, receive, send, task).run()
        finally:
            self._running.discard(task)

    async def drained(self) -> None:
        """Let exchanges that the server has cancelled tell their callers so."""
        if self._running:
            await asyncio.wait(self._running, timeout=DRAIN_S)


class Exchange:
    """One request and its answer.

    Nothing is sent before a backend has begun to answer, unless a streaming caller has waited
    for `keepalive_after_s`: from then on comments keep its connection open, and what goes wrong
    is told in the stream. A caller that takes nothing for `idle_timeout_s` has left.
    """

    def __init__(
        self, door: Door, scope: Scope, receive: Receive, send: Send, task: asyncio.Task[None]
    ) -> None:
        """`task` is the one that runs this."""
        self._task = task
        self._door = door
        self._wire = door.wire
        self._scope = scope
        self._receive = receive
        self._send = send
        self._connection: Connection | None = scope.get("state", {}).get(CONNECTION)
        self._loop = asyncio.get_running_loop()
        self._entry = Entry(
            f"{door.wire.ID_PREFIX}{random.getrandbits(96):024x}",
            door.dialect,
            user_agent=header(scope, b"user-agent"),
        )
        self._call: Call | None = None
        self._left = False
        self._started = False
        self._ended = False
        self._failing = False
        self._told_all = False
        self._sent_at = 0.0
        self._ticker = ticker_of(self._loop)
        self.until = 0.0
        """When to look again whether the caller is left in silence."""
        self._pulse: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Answer, whatever happens."""
        try:
            await self._answer(await self._request())
        except CallerLeft:
            self._entry.left()
        except RouterError as error:
            await self._fail(error)
        except asyncio.CancelledError:
            self._task.uncancel()
            if self._left:
                if not self._told_all:
                    self._entry.left()
            else:
                await self._fail(RouterError("The server is shutting down.", status=503))
        except Exception:
            log.exception("a fault of ours in request %s", self._entry.id)
            await self._fail(RouterError("The router itself failed; its log says more."))
        finally:
            if self._connection is not None:
                self._connection.unwatch(self._leave)
            self._ticker.forget(self)
            self._door.ledger.end_soon(self._entry, self._call)

    async def _request(self) -> ChatRequest:
        """What the caller asks for; once it is here, hanging up ends the exchange."""
        door = self._door
        raw = await read_body(self._scope, self._receive, door.max_body_bytes, door.caller_pause_s)
        if self._connection is not None:
            self._connection.watch(self._leave)
        headers = {
            key.decode("latin-1"): value.decode("latin-1")
            for key, value in self._scope["headers"]
            if key.startswith(b"anthropic-")
        }
        return self._wire.parse(raw, headers)

    def _leave(self) -> None:
        """Stop everything that is done for a caller that is gone."""
        if not (self._left or self._ended or self._failing):
            self._left = True
            self._task.cancel()

    async def _answer(self, request: ChatRequest) -> None:
        door = self._door
        self._entry.asked(request)
        force = header(self._scope, b"x-force-route") or None
        decision = await door.router.decide(request, force)
        self._entry.decided(decision)
        async with door.router.call(request, decision) as call:
            self._call = call
            if request.stream:
                self._sent_at = self._loop.time()
                self.until = self._sent_at + door.keepalive_after_s
                self._ticker.watch(self)
            reply = await call.open()
            self._entry.opened()
            if request.stream:
                await self._stream(reply, request)
            else:
                await self._whole(reply, request)

    async def _stream(self, reply: Reply, request: ChatRequest) -> None:
        if self._pulse is not None:
            await self._pulse
        if self._started:
            await self._tell_of_fallback()
        else:
            await self._start(_dropped(reply, request), reply.model)
        last_events = LAST_EVENTS[self._door.dialect]
        async with aclosing(self._encoded(reply, request)) as chunks:
            async for chunk in chunks:
                self._sent_at = self._loop.time()
                if self._ended:  # read to its end, the backend's connection can be kept
                    continue
                self._told_all = last = _has_one_of(last_events, chunk)
                if last and self._pulse is not None:
                    await self._pulse
                await self._send(
                    {"type": "http.response.body", "body": chunk, "more_body": not last}
                )
                if last:
                    self._ended = True
                    self._ticker.forget(self)
        if not self._ended:
            await self._end()

    def _encoded(self, reply: Reply, request: ChatRequest) -> Items[bytes]:
        if isinstance(reply, Relayed):
            if reply.format == self._door.dialect:
                return reply.chunks
            events: Items[Event] = completions.decode(reply.chunks)
        else:
            events = reply.events
        entry = self._entry
        return self._wire.stream(
            entry.noting(events), request, reply.model, entry.id, int(entry.record.time)
        )

    async def _whole(self, reply: Reply, request: ChatRequest) -> None:
        if isinstance(reply, Relayed):
            body = b"".join([chunk async for chunk in reply.chunks])
            if reply.format != self._door.dialect:
                events = completions.decode_complete(orjson.loads(body))
                body = await self._completed(_each(events), request, reply.model)
        else:
            body = await self._completed(reply.events, request, reply.model)
        self._ended = True
        headers = [JSON, *self._decision_headers(_dropped(reply, request), reply.model)]
        await send_whole(self._send, 200, body, headers)

    async def _completed(
        self, events: AsyncIterator[Event], request: ChatRequest, model: str
    ) -> bytes:
        entry = self._entry
        body = await self._wire.complete(
            entry.noting(events), request, model, entry.id, int(entry.record.time)
        )
        return sse.json_of(body)

    async def _start(self, dropped: tuple[str, ...] = (), model: str = "") -> None:
        self._started = True
        headers = [*EVENT_STREAM, *self._decision_headers(dropped, model)]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _end(self) -> None:
        self._ended = True
        self._ticker.forget(self)
        if self._pulse is not None:
            await self._pulse
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _fail(self, error: RouterError) -> None:
        """Tell the caller what went wrong: by the status, or in the stream once it has begun."""
        self._failing = True
        self._ticker.forget(self)
        if self._pulse is not None:
            await self._pulse
        if self._ended:
            return
        if self._told_all:  # what is wrong now concerns nobody
            await self._end()
            return
        error.message = self._door.redact(error.message)
        self._entry.failed(error)
        if self._started:
            event = self._wire.error_event(error)
            await self._send({"type": "http.response.body", "body": event, "more_body": True})
            await self._end()
        else:
            self._ended = True
            headers = self._decision_headers()
            await send_error(self._send, error, self._wire.error_body(error), headers)

    def expire(self) -> None:
        """Look whether the caller has been left in silence, or takes nothing; look again later."""
        now = self._loop.time()
        silent_s = now - self._sent_at
        after_s = self._door.keepalive_after_s
        if self._told_all or (self._pulse is not None and not self._pulse.done()):
            if silent_s >= self._door.idle_timeout_s:
                self._leave()
                if self._connection is not None:
                    self._connection.abort()
                return
            silent_s = 0
        elif silent_s >= after_s:
            self._pulse = self._loop.create_task(self._beat())
            silent_s = 0
        self.until = now + after_s - silent_s
        self._ticker.watch(self)

    async def _beat(self) -> None:
        if self._told_all or self._ended:
            return
        if not self._started:
            await self._start()
        self._sent_at = self._loop.time()
        await self._send(
            {"type": "http.response.body", "body": self._wire.KEEPALIVE, "more_body": True}
        )

    async def _tell_of_fallback(self) -> None:
        """The headers have gone out naming another candidate: say who answers now."""
        call = self._call
        if call is not None and call.attempts:
            words = f"{call.candidate.target} {call.candidate.model} ({call.reason})"
            comment = f": answered by {words}\n\n".encode()
            await self._send({"type": "http.response.body", "body": comment, "more_body": True})

    def _decision_headers(self, dropped: tuple[str, ...] = (), model: str = "") -> Headers:
        headers: Headers = [(b"x-request-id", self._entry.id.encode())]
        decision = self._entry.decision
        if decision is None:
            return headers
        call = self._call
        candidate = call.candidate if call else decision.first
        headers += [
            (b"x-router-target", candidate.target.encode()),
            (b"x-router-model", _latin(model or candidate.model)),
            (b"x-router-score", f"{decision.score.total:.0f}".encode()),
            (b"x-router-reason", (call.reason if call else decision.reason).encode()),
        ]
        if dropped:
            headers.append((b"x-router-dropped", _latin(", ".join(dropped))))
        return headers


def _dropped(reply: Reply, request: ChatRequest) -> tuple[str, ...]:
    """What the caller asked for and nobody has done; a backend that got the original saw it all."""
    relayed = isinstance(reply, Relayed) and reply.format == request.dialect
    if relayed and request.original is not None:
        return reply.dropped
    return (*request.dropped, *reply.dropped)


def _has_one_of(events: tuple[bytes, ...], chunk: bytes) -> bool:
    """Does one of these begin in it? Data has no line breaks of its own, so this is exact."""
    for event in events:
        if event in chunk and (chunk.startswith(event) or b"\n" + event in chunk):
            return True
    return False


def _latin(text: str) -> bytes:
    """A header's value; what it cannot hold is replaced."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return "".join(c if c.isprintable() else "?" for c in text).encode("latin-1", "replace")


async def _each(events: list[Event]) -> AsyncGenerator[Event, None]:
    for event in events:
        yield event
