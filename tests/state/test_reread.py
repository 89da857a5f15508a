"""Settings that are read again while routers share a store."""

from typing import Any

import pytest

from router.errors import BackendBusy
from router.parts.assembly import Assembly
from tests.support.replicas import HARD, SECRET, ask, looked, replicas, respond, user
from tests.support.running_app import RunningApp, running_app
from tests.support.store import StoreServer, store_server
from tests.support.waiting import settled

LOCAL = {"role": "assistant", "content": "Hello from the local model."}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
LOOP = [
    user("Hello"),
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "42"},
]
PRIVATE = [user(f"What is {SECRET}?"), LOCAL, user(HARD)]
CLEARED = [user("(removed)"), *PRIVATE[1:], LOCAL, user(HARD)]
"""The private conversation, without what made it private."""


async def reread(router: RunningApp, **changes: Any) -> None:
    """Change settings, have them read again, and wait until the earlier ones are closed."""
    router.source.overrides = {**router.source.overrides, **changes}
    assert (await router.app.reread()).error == ""
    await settled(lambda: not router.app.earlier, "earlier settings are still in use", 10)


async def test_conversations_marks_and_responses_are_kept(store: StoreServer) -> None:
    answer = {"role": "assistant", "content": "Let us begin with a definition."}
    known = [user(f"Let us begin: {HARD}"), answer, user(f"{HARD} Go on.")]
    async with replicas(store) as (one, other):
        before = one.assembly
        assert await ask(one, LOOP[:1], headers={"x-force-route": "cloud"}) == "cloud"
        assert await ask(one, known[:1]) == "cloud"
        assert await ask(other, PRIVATE) == "local"
        response = (await respond(one, "Which city?")).json()["id"]
        await reread(one, max_local_tokens=5000)
        assert one.assembly is not before
        assert one.assembly.store is before.store
        for router in (one, other):
            assert await ask(router, LOOP) == "cloud"
            assert router.last.reason == "inherited"
            assert await ask(router, CLEARED) == "local"
            assert router.last.private
            assert (await respond(router, "And then?", response)).status_code == 200
        store.kill()
        assert await ask(one, known) == "cloud", "it was sure of the last turn"


async def test_a_finding_that_another_router_has_allowed_stays_allowed(store: StoreServer) -> None:
    asking = [user(f"What is {SECRET}? {HARD}")]
    async with replicas(store) as (one, other):
        assert await ask(one, asking) == "local"
        body = {"messages": asking}
        refused = await one.ask("", body=body, headers={"x-force-route": "cloud"})
        alarm = refused.text.partition("finding ")[2][:8]
        assert (await other.http.post("/privacy/allow", json={"id": alarm})).status_code == 200
        for router in (one, other):
            assert await ask(router, asking) == "cloud"
            await reread(router, private_patterns="sapphire")
            assert await ask(router, [*asking, LOCAL, user(HARD)]) == "cloud"


async def test_the_breakers_of_all_clouds_are_shared_after_it(store: StoreServer) -> None:
    options = {
        "anthropic_base_url": "http://127.0.0.1:9",
        "cloud_fallback": "openai",
        "openai_api_key": "sk-unused",
        "openai_model": "gpt-test",
    }
    async with replicas(store, **options) as (one, other):
        for router in (one, other):
            await reread(router, anthropic_api_key="sk-ant-another")
        for name in ("claude", "openai"):
            here, there = (each.assembly.router.seats[name].watch for each in (one, other))
            here.failed(BackendBusy("Overloaded", backend=name, retry_after_s=60))
            await looked(one, other)
            assert there.blocked


async def test_costs_before_it_count_on_both_routers(store: StoreServer) -> None:
    prices = '{"claude-sonnet-4-6": {"input": 1000, "output": 1000}}'
    async with replicas(store, prices=prices, cloud_budget_usd_per_day=0.01) as (one, other):
        assert await ask(one, [user(HARD)]) == "cloud"
        assert one.last.cost_usd
        for router in (one, other):
            await reread(router, max_local_tokens=5000)
        await looked(one, other)
        for router in (one, other):
            assert await ask(router, [user(HARD)]) == "local"
            assert router.last.reason == "budget"


@pytest.mark.parametrize("url", [None, "valkey://127.0.0.1:9"], ids=["no store", "another"])
async def test_settings_that_cannot_be_prepared_leave_the_store_connected(
    url: str | None, store: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(self: Assembly) -> None:
        raise OSError("no more file descriptors")

    async with replicas(store, anthropic_base_url="http://127.0.0.1:9") as (one, other):
        with monkeypatch.context() as patch:
            patch.setattr(Assembly, "prepare", fails)
            with pytest.raises(OSError, match="file descriptors"):
                await reread(one, state_url=url)
        assert await ask(one, PRIVATE) == "local"
        here, there = (each.assembly.router.seats["claude"].watch for each in (one, other))
        here.failed(BackendBusy("Overloaded", backend="claude", retry_after_s=60))
        await looked(one, other)
        assert there.blocked
        assert await ask(other, CLEARED) == "local"
        assert other.last.private


async def test_another_address_counts_from_the_next_request_on(store: StoreServer) -> None:
    (store.folder / "new").mkdir()
    with store_server(store.folder / "new") as new:
        async with running_app() as one, running_app(state_url=new.url) as other:
            await other.assembly.connect()
            assert await ask(one, PRIVATE) == "local"
            for url in (store.url, new.url):
                await reread(one, state_url=url)
            await looked(one)
            assert await ask(other, CLEARED) == "local"
            assert other.last.private
            shared = one.assembly.store
            assert shared is not None
            await reread(one, state_url=None)
            told = shared._added
            assert await ask(one, [*CLEARED, LOCAL, user(f"Again: {SECRET}")]) == "local"
            assert (await one.http.get("/health")).json()["store"] is None
            assert shared._added == told, "the old store is left alone"
