"""Budgets and breakers that hold for several routers together."""

import time
from datetime import datetime, timedelta

import pytest

from router.errors import BackendBusy
from router.state import team
from router.state.shared import SharedStore
from router.telemetry.record import Record
from router.telemetry.shared_spending import SharedSpending
from tests.support.replicas import HARD, looked, replicas, until_up
from tests.support.running_app import RunningApp, refusing
from tests.support.store import StoreServer

CLOUD = {"x-force-route": "cloud"}
PRICE = '{"claude-sonnet-4-6": {"input": 1000, "output": 1000}}'


def record(usd: float, caller: str = "") -> Record:
    return Record("req", time.time(), "chat", caller=caller, cost_usd=usd)


async def test_the_costs_of_one_router_count_for_the_budget_of_the_other(
    store: StoreServer,
) -> None:
    options = {"cloud_budget_usd_per_day": 0.01, "prices": PRICE}
    async with replicas(store, **options) as (one, other):
        assert (await one.ask(HARD)).headers["x-router-target"] == "cloud"
        assert one.last.cost_usd
        await looked(one, other)
        assert (await other.ask(HARD)).headers["x-router-target"] == "local"
        assert other.last.reason == "budget"


async def test_a_members_budget_is_one_for_all_routers(store: StoreServer) -> None:
    file = store.folder / "keys.json"
    keys = {
        name: team.add(file, name, budget_usd_per_day=0.01, sides=team.SIDES)
        for name in ("ana", "ben")
    }
    async with replicas(store, router_keys_file=str(file), prices=PRICE) as (one, other):

        async def status(router: RunningApp, name: str) -> int:
            bearer = {"authorization": f"Bearer {keys[name]}"}
            return (await router.ask(HARD, headers=bearer | CLOUD)).status_code

        assert await status(one, "ana") == 200
        assert one.last.caller == "ana"
        await looked(one, other)
        assert await status(other, "ana") == 429
        assert await status(other, "ben") == 200


async def test_amounts_count_once_whatever_happens_to_the_store(store: StoreServer) -> None:
    now = time.time()
    stores = [SharedStore(store.url) for _ in range(2)]
    one, other = (SharedSpending(each, lambda: now) for each in stores)
    for each in stores:
        await each.start()
    for usd in (1, 2):
        one.add(record(usd, "ana"))
        other.add(record(10 * usd, "ben"))

    async def looked() -> None:
        for each in stores * 2:
            await each.written()
            await each.look()

    await looked()
    assert one.today_usd() == other.today_usd() == 33
    assert one.today_usd("ana") == other.today_usd("ana") == 3
    assert one.today_usd("nobody") == 0
    store.kill()
    one.add(record(1, "ana"))
    assert one.today_usd() == 34, "others as last seen, and its own"
    store.start()
    await stores[0].look()
    assert one.today_usd() == 34, "the other one has not written yet"
    await looked()
    assert one.today_usd() == other.today_usd() == 34
    stores.append(SharedStore(store.url))
    new = SharedSpending(stores[-1], lambda: now)
    await stores[-1].start()
    assert new.today_usd() == 34, "the others have written again"
    now += timedelta(days=1).total_seconds()
    assert one.today_usd() == other.today_usd() == 0
    for each in stores:
        await each.aclose()


async def test_the_journals_figure_counts_if_it_is_larger_than_the_stores(
    store: StoreServer,
) -> None:
    async with replicas(store, cloud_budget_usd_per_day=5) as (one, other):
        one.assembly.ledger.journal.add(record(6))
        assert (await one.ask(HARD)).headers["x-router-target"] == "local"
        assert one.last.reason == "budget"
        assert (await other.ask(HARD)).headers["x-router-target"] == "cloud"


async def test_a_cloud_that_fails_for_one_router_is_left_alone_by_the_other(
    store: StoreServer,
) -> None:
    async with replicas(store, anthropic_base_url="http://127.0.0.1:9") as (one, other):
        here, there = (each.assembly.router.seats["claude"].watch for each in (one, other))
        here.failed(BackendBusy("Overloaded", backend="claude", retry_after_s=60))
        assert not there.blocked
        await looked(one, other)
        assert there.breaker_state == "open"
        assert (await other.ask(HARD)).headers["x-router-target"] == "local"
        here.answered()
        there.breaker.success()
        await looked(one, other)
        assert not there.blocked, "the store says no more that it fails"


async def test_a_router_does_not_take_its_own_pause_for_that_of_another(
    store: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replicas(store, anthropic_base_url="http://127.0.0.1:9") as (one, other):
        here, there = (each.assembly.router.seats["claude"].watch for each in (one, other))
        here.failed(BackendBusy("Overloaded", backend="claude", retry_after_s=60))
        await looked(one, other)
        monkeypatch.setattr(one.assembly.store, "drop", lambda key: None)  # not written yet
        here.answered()
        await looked(one, other)
        assert not here.blocked
        assert there.blocked


async def test_a_local_server_on_each_machine_has_a_breaker_of_its_own(
    store: StoreServer,
) -> None:
    async with replicas(store, local=refusing(500, "Broken"), anthropic_api_key=None) as both:
        await both[0].ask("Hello")
        assert both[0].assembly.router.local.watch.blocked
        await looked(*both)
        assert not both[1].assembly.router.local.watch.blocked


async def test_health_shows_the_store_without_its_password(
    store: StoreServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("router.state.shared.LOOK_S", 0.05)
    async with replicas(store) as (one, _):
        shown = (await one.http.get("/health")).json()["store"]
        assert shown == {
            "up": True,
            "address": f"valkey://127.0.0.1:{store.port}/0",
            "detail": "",
        }
        store.kill()
        await until_up(one, up=False)
        text = (await one.http.get("/health")).text
        assert "cannot be used" in text
        assert (await one.http.get("/ready")).status_code == 200, "the router answers without it"
        for where in (text, (await one.http.get("/info")).text, caplog.text):
            assert "opensesame" not in where


async def test_the_day_of_an_amount_is_the_local_one(store: StoreServer) -> None:
    noon = datetime(2026, 7, 1, 12).timestamp()
    spending = SharedSpending(SharedStore(store.url), lambda: noon)
    spending.add(record(1))
    assert spending._day == b"spent:2026-07-01"
