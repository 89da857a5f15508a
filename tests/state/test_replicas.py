"""Two routers with one store: a conversation moves from one to the other."""

import json
import time

import pytest

from router.state import shared
from tests.support.backend_answers import models
from tests.support.replicas import HARD, SECRET, ask, looked, replicas, until_up, user
from tests.support.running_app import RunningApp, local_side, running_app
from tests.support.scripted import scripted
from tests.support.store import StoreServer

LOCAL = {"role": "assistant", "content": "Hello from the local model."}


async def test_a_conversation_keeps_its_side_on_another_router(store: StoreServer) -> None:
    first = [user("Hello")]
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    turn = {"role": "assistant", "content": None, "tool_calls": [call]}
    then = [*first, turn, {"role": "tool", "tool_call_id": "call_1", "content": "42"}]
    async with replicas(store) as (one, other), running_app() as alone:
        assert await ask(one, first, headers={"x-force-route": "cloud"}) == "cloud"
        assert await ask(alone, then) == "local"
        assert await ask(other, then) == "cloud"
        assert other.last.reason == "inherited"


async def test_a_private_conversation_stays_local_on_another_router(store: StoreServer) -> None:
    private = [user(f"What is {SECRET}?"), LOCAL, user(HARD)]
    cleared = [user("(removed)"), *private[1:]]
    async with replicas(store) as (one, other):
        assert await ask(one, private) == "local"
        assert await ask(other, [*cleared, LOCAL, user(HARD)]) == "local"
        assert other.last.private
        moved = [*cleared, LOCAL, user(HARD), LOCAL, user(f"{HARD} Again.")]
        assert await ask(one, moved[2:]) == "local"
        refused = await one.ask("", body={"messages": moved}, headers={"x-force-route": "cloud"})
        assert refused.status_code == 409
        assert "GitHub" in refused.text


async def test_private_marks_are_written_again_when_the_store_has_lost_them(
    store: StoreServer,
) -> None:
    async with replicas(store) as (one, other):
        asking = [user(f"What is {SECRET}?"), {"role": "assistant", "content": "No idea."}]
        assert await ask(one, [*asking, user(HARD)]) == "local"
        await looked(one)
        assert one.assembly.store is not None
        await one.assembly.store._client.flushall()
        await looked(one)
        then = [user("(removed)"), *asking[1:], user(HARD), user("Go on.")]
        assert await ask(other, then) == "local"
        assert other.last.private


async def test_a_finding_allowed_on_one_router_is_allowed_on_the_other(
    store: StoreServer,
) -> None:
    async with replicas(store) as routers:
        for number, (asked, allowing) in enumerate((routers, routers[::-1])):
            asking = [user(f"Case {number}: what is {SECRET}? {HARD}")]
            assert await ask(asked, asking) == "local"
            refused = await asked.ask(
                "", body={"messages": asking}, headers={"x-force-route": "cloud"}
            )
            alarm = refused.text.partition("finding ")[2][:8]
            answer = await allowing.http.post("/privacy/allow", json={"id": alarm})
            assert answer.status_code == 200, answer.text
            for router in routers:
                assert await ask(router, [*asking, LOCAL, user(HARD)]) == "cloud"
                assert not router.last.private


@pytest.mark.parametrize("alarm", ["00000000", "", "\ud800"])
async def test_an_unknown_alarm_cannot_be_allowed(store: StoreServer, alarm: str) -> None:
    async with replicas(store) as (one, _):
        body = json.dumps({"id": alarm})
        answer = await one.http.post("/privacy/allow", content=body)
        assert answer.status_code == 400


async def test_without_the_store_only_a_known_conversation_goes_to_the_cloud(
    store: StoreServer, caplog: pytest.LogCaptureFixture
) -> None:
    first, answer = [user(HARD)], {"role": "assistant", "content": "Let us begin."}
    then = [*first, answer, user(f"{HARD} Go on.")]
    async with replicas(store) as (one, other):
        assert await ask(one, first) == "cloud"
        supposed = {"messages": then, "local_model": "qwen", "cloud_model": "claude"}
        assert (await other.http.post("/classify", json=supposed)).status_code == 200
        store.kill()
        assert await ask(one, then) == "cloud", "its last turn was answered here"
        assert await ask(other, [user(f"{HARD} Please.")]) == "cloud", "it has no past"
        cut, long = then[1:], [*then[:2] * 250, then[2]]
        next_turn = [*then, answer, user(f"{HARD} Go on again.")]
        for messages in (then, next_turn, cut, long):
            assert await ask(other, messages) == "local", "its past is not known here"
            assert other.last.private
        refused = await other.ask("", body={"messages": then}, headers={"x-force-route": "cloud"})
        assert refused.status_code == 409
        assert "STATE_URL" in refused.text
        warnings = [line for line in caplog.messages if "shared store" in line]
        assert len(warnings) == 2, "one for each router"
        assert not any("opensesame" in line for line in warnings)


async def test_findings_made_without_the_store_are_shared_when_it_is_back(
    store: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "LOOK_S", 0.05)
    monkeypatch.setattr(shared, "MERGE_S", 0.3)
    kept = [user("The weather is fine in the north."), LOCAL, user(HARD)]
    said = {"role": "assistant", "content": "It is likely, but not in the west."}
    async with replicas(store) as (one, other):
        for router in (one, other):
            assert await ask(router, [user("Hello")]) == "local"
        store.kill()
        await until_up(one, up=False)
        assert await ask(one, [*kept, LOCAL, user(f"What is {SECRET}?")]) == "local"
        then = [*kept, LOCAL, user(HARD)]
        for _ in range(3):
            assert await ask(other, then) == "local", "that its last turn was answered here"
            then += [said, user(f"{HARD} And then?")]
        store.start()
        for router in (one, other):
            await until_up(router, up=True)
        assert await ask(other, [*kept, LOCAL, user(HARD)]) == "local"
        assert other.last.private
        answer = {"role": "assistant", "content": "Not as likely as it was yesterday."}
        elsewhere = [user("Is rain likely in the south?"), answer, user(f"Another one: {HARD}")]
        assert await ask(other, elsewhere) == "cloud", "the store is trusted again"


async def test_with_privacy_off_nothing_is_kept_local_for_want_of_the_store(
    store: StoreServer,
) -> None:
    then = [user(HARD), {"role": "assistant", "content": "Let us begin."}, user(f"{HARD} Go on.")]
    async with replicas(store, privacy="off") as (one, _):
        store.kill()
        assert await ask(one, then) == "cloud"


async def test_garbage_in_the_store_fails_no_request_and_lets_nothing_out(
    store: StoreServer,
) -> None:
    messages = [user(HARD), LOCAL, user(f"{HARD} Go on.")]
    async with replicas(store) as (one, other):
        assert await ask(one, messages) == "cloud"
        shared_store = one.assembly.store
        assert shared_store is not None
        await shared_store.written()
        async for key in shared_store._client.scan_iter("*conversation:*"):
            await shared_store._client.set(key, b"garbage")
        assert await ask(other, [*messages, LOCAL, user(HARD)]) == "local"
        assert other.last.private


async def test_the_other_router_knows_which_server_has_the_prompt_in_its_cache(
    store: StoreServer,
) -> None:
    async with scripted(local_side, models) as first, scripted(local_side, models) as second:
        servers = f"first={first.url}/v1;private=yes,second={second.url}/v1;private=yes"
        async with replicas(store, local_servers=servers) as (one, other):
            one.assembly.router.seats["first"].watch.breaker.failure(time.monotonic(), 600)
            said = [user("Translate this, please. " + "The weather is nice. " * 200)]

            async def backend(router: RunningApp, words: str) -> str:
                said.append(user(words))
                answer = await router.ask("", body={"messages": said})
                said.append(LOCAL)
                return answer.headers["x-router-backend"]

            assert await backend(one, "Into French.") == "second"
            assert await backend(other, "And into Dutch.") == "second"
            async with running_app(local_servers=servers) as alone:
                assert await backend(alone, "And into Danish.") == "first", "it is not told"
