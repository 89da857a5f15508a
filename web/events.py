"""`GET /events`: new decisions and changed states as server-sent events, in place of polling.

    event: sides      data: what /health returns; at the beginning, and after each change
    event: decision   data: one entry of /decisions, when its request has ended
    event: missed     data: {}; the listener was too slow, so it should read /decisions again

Comments keep a quiet stream open. The streams end when the server begins to stop.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any, Final

import orjson
from fastapi.responses import Response

from router.deadlines import within
from router.errors import RouterError
from router.parts.assembly import Assembly
from router.telemetry.record import Record
from router.telemetry.stats import decision_json
from web import views
from web.asgi import CONNECTION, CallerLeft, Receive, Scope, Send, unless_left
from web.readiness import Readiness

LOOK_S: Final = 1.0
"""Seconds between two checks of the sides and the server's state, while there are listeners."""
HEARTBEAT_S: Final = 15.0
STALL_S: Final = 30.0
"""Seconds without reading after which a listener's connection is closed."""
MOST_LISTENERS: Final = 64
MOST_WAITING: Final = 200
"""Most events that wait for one listener; with more, one `missed` replaces them."""
RETRY: Final = b"retry: 5000\n\n"
HEARTBEAT: Final = b": \n\n"
MISSED: Final = b"event: missed\ndata: {}\n\n"
_CHANGING: Final = frozenset({"latency_ms", "seen_s_ago"})
"""Fields of a side that differ in each check. A change of these alone is not published."""


class Listener:
    """One caller's events, until it has read them."""

    def __init__(self) -> None:
        self._events: deque[bytes] = deque()
        self._news = asyncio.Event()
        self.ended = False

    def put(self, event: bytes) -> None:
        """Add an event; never waits."""
        if len(self._events) >= MOST_WAITING:
            self._events.clear()
            event = MISSED
        self._events.append(event)
        self._news.set()

    def end(self) -> None:
        """End the stream after the events that wait."""
        self.ended = True
        self._news.set()

    async def take(self) -> bytes:
        """Return the events since the last call; wait for one, or return a heartbeat."""
        try:
            with within(HEARTBEAT_S):
                await self._news.wait()
        except TimeoutError:
            return HEARTBEAT
        self._news.clear()
        taken = b"".join(self._events)
        self._events.clear()
        return taken


class Feed:
    """Sends the events to all listeners. Without listeners it costs requests nothing."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._parts: Assembly
        """The parts whose sides are watched; set by `follow`."""
        self._listeners: set[Listener] = set()
        self._watching: asyncio.Task[None] | None = None
        self._seen: Any = None
        """The sides as they were last published, without the fields that always change."""

    def follow(self, parts: Assembly) -> None:
        """Publish the sides and the decisions of these parts from now on.

        All streams end, so that listeners must send a key of the new settings. Requests that still
        run with earlier settings are published too.
        """
        self._parts = parts
        parts.ledger.on_record = self._publish_decision
        self.end()

    async def stream(self) -> "EventStream":
        """Return the answer to a new listener. Raises RouterError if there are too many."""
        if self._readiness.state == "stopping":
            raise RouterError("The server is shutting down.", status=503)
        first = _event("sides", await self._health())
        if len(self._listeners) >= MOST_LISTENERS:
            raise RouterError(f"{MOST_LISTENERS} streams of events are open already.", status=503)
        return EventStream(self, first)

    def join(self, listener: Listener) -> None:
        """Give a listener all further events."""
        if not self._listeners:
            self._watching = asyncio.create_task(self._watch())
        self._listeners.add(listener)

    def leave(self, listener: Listener) -> None:
        """Give a listener no more events."""
        self._listeners.discard(listener)
        if not self._listeners and self._watching is not None:
            self._watching.cancel()

    def end(self) -> None:
        """End all streams."""
        for listener in self._listeners:
            listener.end()

    def _publish_decision(self, record: Record) -> None:
        if self._listeners:
            self._publish(_event("decision", decision_json(record)))

    def _publish(self, event: bytes) -> None:
        for listener in self._listeners:
            listener.put(event)

    async def _health(self) -> views.Json:
        return await views.health(self._parts.router, self._parts.store)

    async def _watch(self) -> None:
        while self._readiness.state != "stopping":
            health = await self._health()
            seen = _lasting(health)
            if self._seen is not None and seen != self._seen:
                self._publish(_event("sides", health))
            self._seen = seen
            await asyncio.sleep(LOOK_S)
        self.end()


class EventStream(Response):
    """The answer to one listener."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed, first: bytes) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._feed = feed
        self._first = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the caller leaves or the server stops."""
        listener = Listener()
        self._feed.join(listener)
        try:
            with suppress(CallerLeft):
                await unless_left(receive, self._run(listener, send))
        except TimeoutError:
            connection = scope.get("state", {}).get(CONNECTION)
            if connection is not None:
                connection.abort()
        finally:
            self._feed.leave(listener)

    async def _run(self, listener: Listener, send: Send) -> None:
        """Send events until the listener ends. Raises TimeoutError if the caller does not read."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        body = RETRY + self._first
        while True:
            with within(STALL_S):
                await send({"type": "http.response.body", "body": body, "more_body": True})
            if listener.ended:
                break
            body = await listener.take()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))


def _lasting(value: Any) -> Any:
    """Return the sides without the fields that differ in each check."""
    if not isinstance(value, dict):
        return value
    return {name: _lasting(of) for name, of in value.items() if name not in _CHANGING}
