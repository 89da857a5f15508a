"""Readiness for a load balancer while a server starts, runs and stops."""

import signal
import time
from typing import Any

import pytest
import uvicorn

from tests.support.running_app import lifespan, running_app
from tests.support.waiting import settled
from web.app import create_app
from web.readiness import Readiness
from web.serve import Server


def test_a_process_never_becomes_ready_again() -> None:
    process = Readiness()
    seen = [str(process.state)]
    steps = (process.starting, process.ready, process.stop, process.starting, process.ready)
    for step in steps:
        step()
        seen.append(process.state)
    assert seen == ["ready", "starting", "ready", "stopping", "stopping", "stopping"]


@pytest.mark.parametrize(
    ("change", "status", "name"),
    [(None, 200, "ready"), ("starting", 503, "starting"), ("stop", 503, "stopping")],
)
async def test_ready_is_a_status_that_needs_no_key(
    change: str | None, status: int, name: str
) -> None:
    async with running_app(router_api_key="a-key") as running:
        state = Readiness()
        if change:
            getattr(state, change)()
        app = create_app(running.assembly.settings, running.assembly, readiness=state)
        running.http._transport.app = app  # type: ignore[attr-defined]
        answer = await running.http.get("/ready")
    assert answer.status_code == status
    assert answer.json() == {"ready": status == 200, "state": name}


async def test_a_lifespan_is_ready_after_the_first_look_at_the_sides() -> None:
    async with running_app() as running:
        state = Readiness()
        app = create_app(running.assembly.settings, running.assembly, readiness=state)
        async with lifespan(app):
            assert state.state == "starting"
            await settled(lambda: state.state == "ready", "the server did not become ready", 10)


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """Answer nothing."""


@pytest.mark.parametrize(
    ("signals", "waits"),
    [
        ([signal.SIGTERM], True),
        ([signal.SIGINT], False),
        ([signal.SIGTERM, signal.SIGTERM], False),
        ([signal.SIGTERM, signal.SIGINT], False),
    ],
)
async def test_requests_are_still_taken_for_a_while_after_sigterm_only(
    monkeypatch: pytest.MonkeyPatch, signals: list[int], waits: bool
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    state = Readiness()
    server = Server(uvicorn.Config(nothing, log_config=None), state, delay_s=5)
    assert not await server.on_tick(1)
    for one in signals:
        server.handle_exit(one, None)
    assert state.state == "stopping"
    assert await server.on_tick(2) is not waits
    now += 5
    assert await server.on_tick(3)
