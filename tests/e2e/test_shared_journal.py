"""Two routers with one journal in PostgreSQL: it dies, hangs, or a router is killed under load."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.chaos.sides import LOCAL, models
from tests.support.postgres import PASSWORD, Postgres
from tests.support.processes import Server, free_port, in_thread, server
from tests.support.scripted import scripted

WAITS_S = 1.0
"""Longest answer on a busy machine; a request that waited for the database would take longer."""
SENDERS = 8


@asynccontextmanager
async def routers(checkout: Path, count: int, **settings: object) -> AsyncIterator[list[Server]]:
    async with AsyncExitStack() as stack:
        local = await stack.enter_async_context(scripted(LOCAL.well, models))
        found = []
        for _ in range(count):
            starting = server(
                checkout,
                local_base_url=f"{local.url}/v1",
                embedded_model="off",
                anthropic_api_key="",
                **settings,
            )
            found.append(await stack.enter_async_context(in_thread(starting)))
        yield found


async def ask(http: httpx2.AsyncClient, router: Server) -> str:
    """Ask once; return the request's id."""
    body = {"model": "local", "messages": [{"role": "user", "content": "Hello"}]}
    response = await http.post(f"{router.url}/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return response.headers["x-request-id"]


async def get(http: httpx2.AsyncClient, router: Server, path: str) -> Any:
    return (await http.get(f"{router.url}{path}")).json()


async def until(http: httpx2.AsyncClient, router: Server, requests: int) -> None:
    """Wait until a router's figures count so many requests."""
    for _ in range(300):
        stats = await get(http, router, "/stats?days=1")
        if stats["requests"] == requests and not stats["journal"]["trouble"]:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{stats['requests']} of {requests} rows arrived")


@dataclass
class Load:
    """Requests that SENDERS send to routers until `stop` is set."""

    http: httpx2.AsyncClient
    routers: list[Server]
    slowest_s: float = 0.0
    ended: dict[str, float] = field(default_factory=dict)
    """When each request was answered, by its id."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._send(number)) for number in range(SENDERS)]
        try:
            yield
        finally:
            self.stop.set()
            await asyncio.gather(*tasks)

    async def _send(self, number: int) -> None:
        router = self.routers[number % len(self.routers)]
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                id = await ask(self.http, router)
            except httpx2.TransportError:
                await asyncio.to_thread(router.process.wait, 5)  # only a killed one may fail
                return
            now = time.monotonic()
            self.slowest_s = max(self.slowest_s, now - began)
            self.ended[id] = now
            await asyncio.sleep(0.02)


@asynccontextmanager
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=60, trust_env=False) as http:
        yield http


async def test_two_routers_show_one_journal(checkout: Path, database: str) -> None:
    async with routers(checkout, 2, journal_url=database) as (one, other), client() as http:
        asked = [await ask(http, router) for router in (one, other, other)]
        for router in (one, other):
            await until(http, router, 3)
            decisions = (await get(http, router, "/decisions"))["decisions"]
            assert [d["id"] for d in decisions] == asked[::-1]
            names = [d["replica"].rpartition(":")[2] for d in decisions]
            assert names == [r.url.rpartition(":")[2] for r in (other, other, one)]
        said = {"request_id": asked[0], "feedback": "bad"}
        assert (await http.post(f"{other.url}/feedback", json=said)).status_code == 200
        await until(http, other, 3)
        for router in (one, other):
            assert (await get(http, router, "/stats?days=1"))["totals"]["bad"] == 1


@pytest.mark.parametrize("fault", ["is killed", "hangs"])
async def test_no_request_fails_or_waits_when_the_database(
    fault: str, checkout: Path, postgres: Postgres, database: str
) -> None:
    async with routers(checkout, 2, journal_url=database) as both, client() as http:
        load = Load(http, both)
        async with load.running():
            await asyncio.sleep(0.5)
            if fault == "hangs":
                postgres.freeze()
                await asyncio.sleep(3)
                postgres.thaw()
            else:
                postgres.kill()
                await asyncio.sleep(3)
                await asyncio.to_thread(postgres.start)
            await asyncio.sleep(0.5)
        assert load.slowest_s < WAITS_S or os.getloadavg()[0] > 4
        assert len(load.ended) > 100
        for router in both:
            await until(http, router, len(load.ended))
        for router in both:
            log = router.log.read_text()
            assert log.count("cannot be written") == log.count("is written again") <= 1
            assert PASSWORD not in log


async def test_a_router_starts_and_answers_without_its_database(
    checkout: Path, postgres: Postgres
) -> None:
    url = postgres.address().replace(str(postgres.port), str(free_port()))
    async with routers(checkout, 1, journal_url=url) as (router,), client() as http:
        await ask(http, router)
        health, stats = await get(http, router, "/health"), await get(http, router, "/stats")
        shown = [str(health), str(stats), router.log.read_text()]
        assert "JOURNAL_URL" in stats["journal"]["trouble"]
        assert not any("s3cr3t" in text for text in shown)


async def test_kill_9_of_a_router_under_load_loses_at_most_200_ms_of_rows(
    checkout: Path, database: str
) -> None:
    async with routers(checkout, 2, journal_url=database) as (one, other), client() as http:
        load = Load(http, [one])
        async with load.running():
            await asyncio.sleep(1.5)
            one.process.kill()
            died = time.monotonic()
        await ask(http, other)
        kept = {d["id"] for d in (await get(http, other, "/decisions?limit=500"))["decisions"]}
        answered = sorted(load.ended.items(), key=lambda item: item[1])[-400:]
        lost = [died - ended for id, ended in answered if id not in kept]
        assert max(lost, default=0) < 0.2 or os.getloadavg()[0] > 4
        assert len(kept) > 50
