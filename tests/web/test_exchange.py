"""The states of an exchange, as an ASGI server drives it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from config import load_settings
from router.build import assemble
from router.parts.assembly import Assembly
from router.telemetry.record import Record
from router.wire import sse
from tests.support.backend_answers import local_answer, models
from tests.support.scripted import Connection, Request, Script, scripted
from tests.support.waiting import settled
from web.app import create_app
from web.asgi import CONNECTION
from web.exchange import Exchange, State

HI = [{"role": "user", "content": "Hi"}]
ENDPOINTS: dict[str, tuple[dict[str, Any], bytes]] = {
    "/v1/chat/completions": ({"messages": HI}, b"data: [DONE]"),
    "/v1/responses": ({"input": "Hi"}, b"event: response.completed"),
    "/v1/messages": ({"messages": HI, "max_tokens": 9}, b"event: message_stop"),
}
CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
EVERY_ENDPOINT = pytest.mark.parametrize("path", ENDPOINTS)
READ, DECIDED, BEGUN, ENDED, LEFT = (
    State.DECIDING,
    State.WAITING,
    State.STREAMING,
    State.ENDED,
    State.LEFT,
)


async def answering(connection: Connection, request: Request) -> None:
    body, kind = local_answer(request, calls=False)
    await (connection.stream(body) if kind == "sse" else connection.answer(body))


async def stopping_half_way(connection: Connection, request: Request) -> None:
    body = local_answer(request, calls=False)[0]
    await connection.begin_stream()
    await connection.chunk(body[: body.index(b"Gott")].rpartition(b"\n\n")[0] + b"\n\n")
    await connection.silence()


async def breaking_half_way(connection: Connection, request: Request) -> None:
    body = local_answer(request, calls=False)[0]
    await connection.begin_stream()
    await connection.chunk(body[: body.index(b"Gott")].rpartition(b"\n\n")[0] + b"\n\n")
    await asyncio.sleep(0.05)  # a reset discards what has not been read
    connection.reset()


async def breaking_after_the_last_event(connection: Connection, request: Request) -> None:
    await connection.begin_stream()
    await connection.chunk(local_answer(request, calls=False)[0])
    await asyncio.sleep(0.05)
    connection.reset()


async def refusing(connection: Connection, request: Request) -> None:
    error = {"error": {"message": "No.", "type": "invalid_request_error"}}
    await connection.answer(orjson.dumps(error), 400)


async def hesitating(connection: Connection, request: Request) -> None:
    await asyncio.sleep(0.3)
    await answering(connection, request)


async def silent(connection: Connection, request: Request) -> None:
    await connection.silence()


class Visit:
    """A caller that hangs up as soon as it has been sent some bytes; `sent` is what it got."""

    def __init__(self, path: str, body: Any, until: bytes = b"never", stream: bool = True) -> None:
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [(b"host", b"localhost")],
            "query_string": b"",
            "state": {CONNECTION: self},
        }
        self.on_disconnect: Callable[[], None] | None = None
        self.aborted = self.gone = False
        self._body = orjson.dumps(body | {"stream": stream, "model": "local"})
        self._until = until
        self.sent = b""
        self.headers: dict[bytes, bytes] = {}

    def watch(self, on_disconnect: Callable[[], None]) -> bool:
        self.on_disconnect = on_disconnect
        return not self.gone

    def unwatch(self, on_disconnect: Callable[[], None]) -> None:
        assert self.on_disconnect in (on_disconnect, None)
        self.on_disconnect = None

    def abort(self) -> None:
        self.aborted = True

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def send(self, message: Any) -> None:
        self.headers |= dict(message.get("headers", ()))
        self.sent += message.get("body", b"")
        if self._until in self.sent and self.on_disconnect is not None:
            disconnect = self.on_disconnect
            disconnect()
            disconnect()  # a second call must do no harm
            await asyncio.sleep(0)  # the cancellation arrives here, if there is one


@asynccontextmanager
async def server(script: Script, **settings: Any) -> AsyncIterator[tuple[Any, Assembly]]:
    """The app in front of one local backend that runs this script."""
    async with scripted(script, models) as local:
        assembly = assemble(
            load_settings(
                _env_file=None,
                local_base_url=f"{local.url}/v1",
                local_model="local-model",
                embedded_model="off",
                journal_path="off",
                **settings,
            )
        )
        try:
            yield create_app(assembly.settings, assembly), assembly
        finally:
            await assembly.aclose()


def only_record(assembly: Assembly) -> Record:
    (record,) = assembly.ledger.journal.recent()
    return record


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[State]:
    """The states that exchanges have entered, in order."""
    entered: list[State] = []

    def enter(exchange: Exchange, name: str, value: Any) -> None:
        if name == "state" and entered[-1:] != [value]:
            entered.append(value)
        object.__setattr__(exchange, name, value)

    monkeypatch.setattr(Exchange, "__setattr__", enter)
    return entered


@EVERY_ENDPOINT
@pytest.mark.parametrize("early", [False, True], ids=["at the end", "before the end"])
async def test_a_caller_that_hangs_up_before_the_last_event_has_left(
    path: str, early: bool
) -> None:
    body, last = ENDPOINTS[path]
    visit = Visit(path, body, b"It prints" if early else last)
    async with server(stopping_half_way if early else answering) as (app, assembly):
        await app(visit.scope, visit.receive, visit.send)
        assert only_record(assembly).outcome == ("left" if early else "done")
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        assert visit.on_disconnect is None


@pytest.mark.parametrize(
    ("script", "body", "stream", "until", "expected"),
    [
        (answering, {"messages": HI}, True, b"never", [READ, DECIDED, BEGUN, ENDED]),
        (answering, {"messages": HI}, False, b"never", [READ, DECIDED, ENDED]),
        (answering, {"messages": []}, True, b"never", [ENDED]),
        (answering, {"messages": HI, "model": 5}, True, b"never", [ENDED]),
        (refusing, {"messages": HI}, True, b"never", [READ, DECIDED, ENDED]),
        (refusing, {"messages": HI}, False, b"never", [READ, DECIDED, ENDED]),
        (breaking_half_way, {"messages": HI}, True, b"never", [READ, DECIDED, BEGUN, ENDED]),
        (stopping_half_way, {"messages": HI}, True, b"It prints", [READ, DECIDED, BEGUN, LEFT]),
        (hesitating, {"messages": HI}, True, b"never", [READ, DECIDED, BEGUN, ENDED]),
        (silent, {"messages": HI}, True, b": ", [READ, DECIDED, BEGUN, LEFT]),
        (answering, {"messages": HI}, True, b"[DONE]", [READ, DECIDED, BEGUN, ENDED]),
    ],
)
async def test_an_exchange_enters_its_states_in_order(
    script: Script,
    body: Any,
    stream: bool,
    until: bytes,
    expected: list[State],
    states: list[State],
) -> None:
    """`hesitating` and `silent` outlast the keep-alive time, so a comment begins their stream."""
    visit = Visit(CHAT, body, until, stream)
    if "model" in body:
        visit._body = orjson.dumps(body)
    async with server(script, keepalive_after_s=0.1) as (app, _):
        await app(visit.scope, visit.receive, visit.send)
    first, *entered = states
    assert first is State.READING
    assert entered == expected


async def test_a_caller_that_left_before_it_was_watched_asks_nobody() -> None:
    visit = Visit(CHAT, ENDPOINTS[CHAT][0])
    visit.gone = True
    async with server(answering) as (app, assembly):
        await app(visit.scope, visit.receive, visit.send)
        assert only_record(assembly).outcome == "left"
    assert visit.sent == b""


@EVERY_ENDPOINT
async def test_a_failure_after_the_last_event_changes_nothing(path: str) -> None:
    body, last = ENDPOINTS[path]
    visit = Visit(path, body)
    async with server(breaking_after_the_last_event) as (app, assembly):
        await app(visit.scope, visit.receive, visit.send)
        assert only_record(assembly).outcome == "done"
    assert visit.sent.count(last) == 1
    assert b"event: error" not in visit.sent
    assert b'{"error"' not in visit.sent


@EVERY_ENDPOINT
async def test_a_failure_before_the_last_event_is_the_last_event(path: str) -> None:
    body, last = ENDPOINTS[path]
    visit = Visit(path, body)
    async with server(breaking_half_way) as (app, assembly):
        await app(visit.scope, visit.receive, visit.send)
        assert only_record(assembly).outcome == "failed"
    assert last not in visit.sent
    assert b'"error"' in visit.sent.rstrip().rpartition(b"\n\n")[2]


async def test_codex_learns_that_a_response_failed_and_its_events_are_numbered() -> None:
    visit = Visit(RESPONSES, ENDPOINTS[RESPONSES][0])
    async with server(breaking_half_way) as (app, _):
        await app(visit.scope, visit.receive, visit.send)
    events = [orjson.loads(data) for data in sse.data_of(visit.sent)]
    assert [event["type"] for event in events[-2:]] == ["response.failed", "error"]
    assert [event["sequence_number"] for event in events] == [*range(len(events))]


@EVERY_ENDPOINT
async def test_proxies_are_asked_not_to_buffer_or_store_a_stream(path: str) -> None:
    visit = Visit(path, ENDPOINTS[path][0])
    async with server(answering) as (app, _):
        await app(visit.scope, visit.receive, visit.send)
    assert visit.headers[b"x-accel-buffering"] == b"no"
    assert visit.headers[b"cache-control"] == b"no-cache"
    assert visit.headers[b"content-type"].startswith(b"text/event-stream")


class Stalled(Visit):
    """A caller whose connection takes no more bytes after the head."""

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "http.response.body":
            await settled(lambda: self.aborted, "the connection stayed open", 10)


@pytest.mark.parametrize("script", [answering, breaking_half_way, silent])
async def test_a_caller_that_stops_reading_is_hung_up_on(script: Script) -> None:
    visit = Stalled(CHAT, ENDPOINTS[CHAT][0])
    limits: Any = {"keepalive_after_s": 0.1, "idle_timeout_s": 0.3}
    async with server(script, **limits) as (app, assembly), asyncio.timeout(5):
        await app(visit.scope, visit.receive, visit.send)
        assert visit.aborted
        assert only_record(assembly).outcome in ("left", "done", "failed")
