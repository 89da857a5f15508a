"""One request and its answer, from the caller's bytes to the last byte of the answer."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, Generic, Protocol

import orjson

from router.backend import Item, Items, Relayed, Reply, Translated
from router.deadlines import Interruptible
from router.errors import InvalidRequest, RouterError, UnknownResponse
from router.events import Batch, Sink
from router.request import ChatRequest, Dialect
from router.router import Router
from router.telemetry.flow import AnswerFlow
from router.telemetry.ledger import Entry, Ledger
from router.wire import sse
from router.wire.chat import completions
from router.wire.encoded import EncodedStream
from router.wire.fields import parse_body
from web.asgi import (
    CONNECTION,
    JSON_HEADERS,
    OUTLET,
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
    trace_of,
)
from web.headers import decision_headers
from web.hints import purpose_of
from web.ids import new_id
from web.keepalive import KeepAlive
from web.keys import member_of, name_of

log = logging.getLogger("router")

EVENT_STREAM: Final[Headers] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
LAST_EVENTS: Final[Mapping[Dialect, tuple[bytes, ...]]] = {
    "chat": (b"data: [DONE]",),
    "messages": (b"event: message_stop",),
    "responses": (b"event: response.completed", b"event: response.incomplete"),
}
"""The first bytes of the event that completes an answer. Callers hang up when they have read it,
which may be before the backend ends its stream."""


class Wire(Protocol):
    """A dialect module: `router.wire.chat.completions`, `messages`, or StoredResponses."""

    ID_PREFIX: str
    KEEPALIVE: bytes

    def parse(self, raw: bytes, headers: Mapping[str, str]) -> ChatRequest: ...
    def stream(
        self,
        batches: AsyncIterator[Batch],
        request: ChatRequest,
        model: str,
        answer_id: str,
        created: int,
    ) -> EncodedStream: ...
    async def complete(
        self,
        batches: AsyncIterator[Batch],
        request: ChatRequest,
        model: str,
        answer_id: str,
        created: int,
    ) -> dict[str, Any]: ...
    def error_body(self, error: RouterError) -> dict[str, Any]: ...
    def error_event(self, error: RouterError) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Service:
    """The parts and limits that all exchanges of an endpoint share."""

    wire: Wire
    dialect: Dialect
    router: Router
    ledger: Ledger
    redact: Callable[[str], str]
    max_body_bytes: int
    caller_pause_s: float
    keepalive_after_s: float
    idle_timeout_s: float
    fetch_response: Callable[[str], Awaitable[bool]]
    """Takes a response over from another router; returns whether it was there."""


class State(Enum):
    """The state of an exchange. `Exchange` lists the transitions."""

    READING = "reading"
    DECIDING = "deciding"
    WAITING = "waiting"
    STREAMING = "streaming"
    ENDED = "ended"
    LEFT = "left"


class Exchange:
    """One request and its answer, as a state machine.

    | from                        | to        | when                                            |
    |-----------------------------|-----------|-------------------------------------------------|
    | READING                     | DECIDING  | the body has arrived and was parsed             |
    | DECIDING                    | WAITING   | the router has decided; candidates are asked    |
    | WAITING                     | STREAMING | a stream's head is sent, for its first event or |
    |                             |           | for a keep-alive comment                        |
    | WAITING                     | ENDED     | a whole answer is sent                          |
    | STREAMING                   | ENDED     | the event that completes the answer is sent     |
    | READING, DECIDING, WAITING  | ENDED     | a failure is sent as a status and a body        |
    | STREAMING                   | ENDED     | a failure is sent as an event                   |
    | any but ENDED               | LEFT      | the caller hung up, or has stopped reading      |

    LEFT cancels all work for the caller at once. ENDED is entered before the last bytes are sent:
    a caller that hangs up when it has read them has not left, and a backend that fails or goes on
    after them changes nothing.
    """

    def __init__(
        self,
        service: Service,
        scope: Scope,
        receive: Receive,
        send: Send,
        task: asyncio.Task[None],
    ) -> None:
        """Begin in READING. `task`: the task that will call `run`."""
        self.state = State.READING
        self._service = service
        self._wire = service.wire
        self._scope = scope
        self._receive = receive
        self._send = send
        self._connection: Connection | None = scope.get("state", {}).get(CONNECTION)
        self._outlet: Sink[bytes] | None = scope.get("state", {}).get(OUTLET)
        self._task = task
        self._loop = task.get_loop()
        self._work = Interruptible(task)
        self._keepalive: KeepAlive | None = None
        self._error_event: Callable[[RouterError], bytes] = service.wire.error_event
        # The request's id is listed by /decisions. The answer's is not: it opens a conversation
        # to `previous_response_id`, so it must not be guessable or visible to others.
        self._answer_id = f"{service.wire.ID_PREFIX}{new_id()}"
        entry = Entry(
            f"req_{new_id()}",
            service.dialect,
            user_agent=header(scope, b"user-agent"),
            caller=name_of(scope),
        )
        service.ledger.trace(entry, trace_of(scope))
        self._flow = AnswerFlow(service.router, service.ledger, entry)

    async def run(self) -> None:
        """Answer the request, or report the failure, and record it."""
        try:
            request = await self._read()
            with self._work:
                if self._connection is not None and not self._connection.watch(self._leave):
                    raise CallerLeft
                await self._answer(request)
        except CallerLeft:
            self.state = State.LEFT
        except RouterError as error:
            await self._fail(error)
        except asyncio.CancelledError:
            await self._fail(RouterError("The server is shutting down.", status=503))
        except Exception:
            log.exception("internal error in request %s", self._flow.entry.id)
            await self._fail(RouterError("The router itself failed. See the log of the server."))
        finally:
            if self._connection is not None:
                self._connection.unwatch(self._leave)
            if self._keepalive is not None:
                self._keepalive.stop()
                self._keepalive = None  # breaks a reference cycle that holds the whole request
            if self.state is State.LEFT:
                self._flow.entry.left()
            self._flow.end_soon()

    async def _read(self) -> ChatRequest:
        service = self._service
        raw = await read_body(
            self._scope,
            self._receive,
            service.max_body_bytes,
            service.caller_pause_s,
            self._task,
        )
        headers = {
            key.decode("latin-1"): value.decode("latin-1")
            for key, value in self._scope["headers"]
            if key.startswith(b"anthropic-")
        }
        try:
            request = await self._parsed(raw, headers)
        except InvalidRequest:
            with suppress(InvalidRequest):
                self._flow.entry.read(parse_body(raw))
            raise
        if (purpose := purpose_of(self._scope)) is not None:
            request = replace(request, purpose=purpose)
        self.state = State.DECIDING
        return request

    async def _parsed(self, raw: bytes, headers: Mapping[str, str]) -> ChatRequest:
        try:
            return self._wire.parse(raw, headers)
        except UnknownResponse as unknown:
            if not await self._service.fetch_response(unknown.response_id):
                raise
            return self._wire.parse(raw, headers)

    async def _answer(self, request: ChatRequest) -> None:
        force = header(self._scope, b"x-force-route") or None
        async with await self._flow.decide(request, force, member_of(self._scope)) as call:
            if call.decision.private is not None:
                request = replace(request, is_private=True)
            self.state = State.WAITING
            if request.stream:
                keepalive = self._keepalive = KeepAlive(
                    self._comment,
                    self._hang_up,
                    after_s=self._service.keepalive_after_s,
                    stall_s=self._service.idle_timeout_s,
                )
                await self._stream(await self._flow.open(), request, keepalive)
            else:
                await self._whole(await self._flow.open(), request)

    async def _stream(self, reply: Reply, request: ChatRequest, keepalive: KeepAlive) -> None:
        if self.state is State.STREAMING:
            await keepalive.settle()
            await self._name_fallback()
        else:
            await self._start(reply)
        last_events = LAST_EVENTS[self._service.dialect]
        send, time = self._send, self._loop.time
        async with aclosing(self._encoded(reply, request, keepalive)) as chunks:
            async for chunk in chunks:
                keepalive.sent_at = time()
                if _has_one_of(last_events, chunk):
                    await self._send_last(chunk, keepalive)
                    async for _ in chunks:
                        pass  # a backend's connection can be kept once it is read to its end
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await self._send_last(b"", keepalive)

    def _encoded(
        self, reply: Reply, request: ChatRequest, keepalive: KeepAlive
    ) -> Items[bytes] | EncodedStream:
        """Return the reply as bytes of the caller's dialect, relayed unchanged where possible.

        Words that come while the task waits for them are sent without waking it.
        """
        outlet = self._outlet
        if isinstance(reply, Relayed) and reply.format == self._service.dialect:
            if reply.forward_to is not None and outlet is not None:
                reply.forward_to(_CallerSink(outlet, keepalive, bytes))
            return reply.chunks
        stream = self._wire.stream(
            self._flow.events(reply), request, reply.model, self._answer_id, self._created
        )
        if stream.fail is not None:
            self._error_event = stream.fail
        if isinstance(reply, Translated) and reply.forward_to is not None and outlet is not None:
            reply.forward_to(_CallerSink(outlet, keepalive, stream.encode))
        return stream

    async def _whole(self, reply: Reply, request: ChatRequest) -> None:
        if isinstance(reply, Relayed):
            body = b"".join([chunk async for chunk in reply.chunks])
            if reply.format != self._service.dialect:
                events = completions.decode_complete(orjson.loads(body))
                body = await self._completed(sse.once(events), request, reply.model)
        else:
            body = await self._completed(reply.events, request, reply.model)
        self.state = State.ENDED
        headers = [*JSON_HEADERS, *decision_headers(self._flow, reply)]
        await send_whole(self._send, 200, body, headers)

    async def _completed(
        self, batches: AsyncIterator[Batch], request: ChatRequest, model: str
    ) -> bytes:
        noted = self._flow.entry.noting(batches)
        body = await self._wire.complete(noted, request, model, self._answer_id, self._created)
        return sse.json_of(body)

    @property
    def _created(self) -> int:
        return int(self._flow.entry.record.time)

    async def _start(self, reply: Reply | None = None) -> None:
        """Send a stream's head; without a reply it names the candidate that is asked now."""
        self.state = State.STREAMING
        headers = [*EVENT_STREAM, *decision_headers(self._flow, reply)]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _send_last(self, chunk: bytes, keepalive: KeepAlive) -> None:
        self.state = State.ENDED
        await keepalive.finish()
        await self._send({"type": "http.response.body", "body": chunk, "more_body": False})
        keepalive.stop()

    async def _fail(self, error: RouterError) -> None:
        """Send a failure: as a status, or as an event once the stream has begun."""
        state = self.state
        if state in (State.ENDED, State.LEFT):
            return
        self.state = State.ENDED
        error.message = self._service.redact(error.message)
        error.request_id = self._flow.entry.id
        self._flow.entry.failed(error)
        if state is State.STREAMING:
            assert self._keepalive is not None
            self._keepalive.sent_at = self._loop.time()
            await self._send_last(self._error_event(error), self._keepalive)
        else:
            headers = decision_headers(self._flow)
            await send_error(self._send, error, self._wire.error_body(error), headers)

    def _leave(self) -> None:
        """Cancel all work for a caller that is gone."""
        if self.state not in (State.ENDED, State.LEFT):
            self.state = State.LEFT
            self._work.interrupt(CallerLeft())

    def _hang_up(self) -> None:
        """Close the connection to a caller that has stopped reading."""
        if self._connection is not None:
            self._connection.abort()  # before the task ends, or uvicorn logs an error
        self._leave()

    async def _comment(self) -> None:
        """Send a keep-alive comment, and the head before the first one."""
        if self.state is State.WAITING:
            await self._start()
        if self.state is State.STREAMING:
            assert self._keepalive is not None
            self._keepalive.sent_at = self._loop.time()
            await self._send(
                {"type": "http.response.body", "body": self._wire.KEEPALIVE, "more_body": True}
            )

    async def _name_fallback(self) -> None:
        """Name the answering candidate in a comment, if the head has already named another one."""
        call = self._flow.call
        if call is not None and call.attempts:
            answering = f"{call.candidate.target} {call.candidate.model} ({call.reason})"
            comment = f": answered by {answering}\n\n".encode()
            await self._send({"type": "http.response.body", "body": comment, "more_body": True})


class _CallerSink(Generic[Item]):
    """Sends items to the caller, without the exchange's task."""

    def __init__(
        self, outlet: Sink[bytes], keepalive: KeepAlive, encode: Callable[[Item], bytes]
    ) -> None:
        self.is_ready = outlet.is_ready
        self._send = outlet.send
        self._keepalive = keepalive
        self._encode: Callable[[Item], bytes] = encode
        self._time = asyncio.get_running_loop().time

    def send(self, item: Item) -> None:
        if piece := self._encode(item):  # an empty chunk would end the body
            self._send(piece)
            self._keepalive.sent_at = self._time()


def _has_one_of(events: tuple[bytes, ...], chunk: bytes) -> bool:
    """Return whether one of these events begins in the chunk.

    Data has no line breaks of its own, so checking the start of each line is exact.
    """
    for event in events:
        if event in chunk and (chunk.startswith(event) or b"\n" + event in chunk):
            return True
    return False
