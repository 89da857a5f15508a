"""GET /events: decisions and changed states as they happen, bounded, until the server stops."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from router.backend import Status
from router.telemetry.record import Record
from router.telemetry.stats import decision_json
from tests.support.running_app import RunningApp, local_side, on_a_socket, running_app
from tests.support.scripted import Connection, Request
from tests.support.waiting import settled
from web import describe, events, views
from web.app import create_app
from web.events import HEARTBEAT, MISSED, Feed, Listener
from web.readiness import Readiness

Event = tuple[str, Any]


@asynccontextmanager
async def listening(url: str, **options: Any) -> AsyncIterator[AsyncIterator[Event]]:
    """Yield the events of a stream, comments left out."""
    async with (
        httpx2.AsyncClient(base_url=url, timeout=10, trust_env=False) as http,
        http.stream("GET", "/events", **options) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        yield _events(answer)


async def _events(answer: httpx2.Response) -> AsyncIterator[Event]:
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def next_of(heard: AsyncIterator[Event], name: str) -> Any:
    """Return the data of the next event of this name."""
    async with asyncio.timeout(10):
        async for found, data in heard:
            if found == name:
                return data
    raise AssertionError("the stream has ended")


def feed_of(h: RunningApp) -> Feed:
    feed = Feed(Readiness())
    feed.follow(h.assembly)
    return feed


async def test_it_begins_with_the_sides_and_goes_on_with_decisions() -> None:
    async with (
        running_app() as h,
        on_a_socket(h.app) as url,
        listening(url) as heard,
    ):
        name, health = await anext(heard)
        assert name == "sides"
        assert health.keys() == (await h.http.get("/health")).json().keys()
        answer = await h.ask("Is a tomato a fruit?")
        decision = await next_of(heard, "decision")
        assert decision["id"] == answer.headers["x-request-id"]
        (listed,) = (await h.http.get("/decisions")).json()["decisions"]
        assert decision == listed
        assert decision["prompt"] is None


async def test_a_changed_state_is_sent_and_an_unchanged_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "LOOK_S", 0.02)
    async with (
        running_app(status_ttl_s=0.01) as h,
        on_a_socket(h.app) as url,
        listening(url) as heard,
    ):
        assert (await next_of(heard, "sides"))["local"]["up"]
        backend = h.assembly.router.local.backend
        looks = 0

        async def ready() -> Status:
            nonlocal looks
            looks += 1
            return replace(status, latency_ms=float(looks))

        async def down() -> Status:
            return replace(status, state="down", detail="It is gone.")

        status = await backend.probe()
        monkeypatch.setattr(backend, "probe", ready)
        await settled(lambda: looks > 3, "the sides are not looked at")
        monkeypatch.setattr(backend, "probe", down)
        changed = await next_of(heard, "sides")
        assert not changed["local"]["up"]
        assert changed["headline"]["level"] == "warning"


async def test_the_documented_events_are_the_real_ones() -> None:
    entry = describe.examples()["/events"]
    shown = [line.removeprefix("event: ") for line in entry["text"].split("\n") if "event" in line]
    async with (
        running_app() as h,
        on_a_socket(h.app) as url,
        listening(url) as heard,
    ):
        first, _ = await anext(heard)
        await h.ask("hi")
        await next_of(heard, "decision")
        schema = (await h.http.get("/openapi.json")).json()
    assert shown == [first, "decision"]
    assert "`curl -N`" in schema["paths"]["/events"]["get"]["description"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"host": "evil.example"}, 403),
        ({"origin": "https://evil.example"}, 403),
    ],
)
async def test_it_needs_what_the_other_figures_need(headers: dict[str, str], status: int) -> None:
    async with running_app(router_api_key="open sesame") as h:
        for path in ("/events", "/decisions"):
            assert (await h.http.get(path, headers=headers)).status_code == status


async def test_the_key_opens_it() -> None:
    headers = {"authorization": "Bearer open sesame"}
    async with (
        running_app(router_api_key="open sesame") as h,
        on_a_socket(h.app) as url,
        listening(url, headers=headers) as heard,
    ):
        assert (await anext(heard))[0] == "sides"


async def test_a_head_request_ends() -> None:
    async with (
        running_app() as h,
        on_a_socket(h.app) as url,
        httpx2.AsyncClient(base_url=url, timeout=5, trust_env=False) as http,
    ):
        answer = await http.head("/events")
        assert (answer.status_code, answer.content) == (200, b"")
        assert (await http.get("/ready")).status_code == 200


async def test_a_listener_that_does_not_read_gets_one_note_instead() -> None:
    listener = Listener()
    for number in range(events.MOST_WAITING):
        listener.put(b"%d\n" % number)
    assert (await listener.take()).count(b"\n") == events.MOST_WAITING
    for _ in range(10 * events.MOST_WAITING + 1):
        listener.put(b"event")
    taken = await listener.take()
    assert taken.startswith(MISSED)
    assert len(taken) <= events.MOST_WAITING * len(MISSED)


async def test_a_quiet_stream_has_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    assert await Listener().take() == HEARTBEAT


async def test_a_listener_that_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STALL_S", 0.1)
    async with running_app() as h:
        feed = feed_of(h)
        closed: list[bool] = []

        class Connection:
            def abort(self) -> None:
                closed.append(True)

        async def stuck(message: Any) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()

        async def silent() -> Any:
            await asyncio.Event().wait()

        scope = {"state": {"router.connection": Connection()}}
        async with asyncio.timeout(10):
            await (await feed.stream())(scope, silent, stuck)
        assert closed == [True]


async def test_only_so_many_may_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_LISTENERS", 1)
    async with running_app() as h, on_a_socket(h.app) as url, listening(url) as heard:
        await anext(heard)
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
            answer = await http.get("/events")
        assert answer.status_code == 503
        assert "1 streams" in answer.json()["error"]["message"]


async def test_nothing_is_done_for_a_request_while_nobody_listens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Record] = []

    def noted(record: Record) -> dict[str, Any]:
        made.append(record)
        return decision_json(record)

    monkeypatch.setattr(events, "decision_json", noted)
    async with running_app() as h:
        feed = feed_of(h)
        listener = Listener()
        for step in (lambda _: None, feed.join, feed.leave):
            step(listener)
            await h.ask("hi")
            assert h.last  # written by now
    assert len(made) == 1


async def test_the_streams_end_when_the_server_begins_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "LOOK_S", 0.02)
    state = Readiness()
    async with running_app() as h:
        app = create_app(h.assembly.settings, h.assembly, readiness=state)
        async with on_a_socket(app) as url:
            async with listening(url) as heard:
                await anext(heard)
                state.stop()
                async with asyncio.timeout(5):
                    assert [event async for event in heard] == []
            async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
                assert (await http.get("/events")).status_code == 503


async def test_five_listeners_at_once_do_not_pass_a_limit_of_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "MOST_LISTENERS", 2)
    looked = asyncio.Event()
    health: Callable[..., Awaitable[dict[str, Any]]] = views.health

    async def slow_health(*parts: Any) -> dict[str, Any]:
        await looked.wait()
        return await health(*parts)

    monkeypatch.setattr(views, "health", slow_health)
    async with (
        running_app() as h,
        on_a_socket(h.app) as url,
        httpx2.AsyncClient(base_url=url, timeout=10, trust_env=False) as http,
    ):
        requests = [http.build_request("GET", "/events") for _ in range(5)]
        sending = [asyncio.create_task(http.send(one, stream=True)) for one in requests]
        await asyncio.sleep(0.1)
        looked.set()
        answers = await asyncio.gather(*sending)
        statuses = sorted(answer.status_code for answer in answers)
        for answer in answers:
            await answer.aclose()
    assert statuses == [200, 200, 503, 503, 503]


async def test_a_request_that_outlives_its_settings_reaches_the_listeners_of_the_next() -> None:
    go_on = asyncio.Event()

    async def slow(connection: Connection, request: Request) -> None:
        await go_on.wait()
        await local_side(connection, request)

    async with running_app(slow) as h, on_a_socket(h.app) as url:
        async with listening(url) as early:
            await anext(early)
            asked = asyncio.create_task(h.ask("hi"))
            old = h.assembly.router
            await settled(lambda: bool(old.local.slots and old.local.slots.busy), "not asked")
            assert (await h.http.post("/settings/reload")).status_code == 200
            async with asyncio.timeout(5):
                assert [event async for event in early] == []
        async with listening(url) as late:
            await anext(late)
            go_on.set()
            decision = await next_of(late, "decision")
        assert decision["id"] == (await asked).headers["x-request-id"]


async def test_a_record_reaches_every_listener() -> None:
    async with running_app() as h:
        feed = feed_of(h)
        listeners = [Listener(), Listener()]
        for listener in listeners:
            feed.join(listener)
        assert h.assembly.ledger.on_record is not None
        h.assembly.ledger.on_record(Record("req_1", 1.0))
        for listener in listeners:
            assert b'"id":"req_1"' in await listener.take()
            feed.leave(listener)
