"""Stored responses and thoughts that follow a conversation to another router, sealed."""

from typing import Any

import orjson
import pytest

from router.state.sealed import SealedStore
from tests.support.replicas import HARD, SECRET, replicas, respond
from tests.support.running_app import RunningApp
from tests.support.scripted import Connection, Request
from tests.support.store import StoreServer

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
THOUGHT = {"type": "thinking", "thinking": "I must look first.", "signature": "c2lnbmVk"}
CALL = {"type": "tool_use", "id": "toolu_01AbCdEfGhIjKlMnOpQrStUv", "name": "look", "input": {}}
CLOUD = {"x-force-route": "cloud"}


async def in_the_store(router: RunningApp) -> bytes:
    """Return all keys and values."""
    store = router.assembly.store
    assert store is not None
    await store.written()
    keys = [key async for key in store._client.scan_iter()]
    return b"\n".join(keys + [value for value in await store._client.mget(keys) if value])


async def test_a_response_can_be_continued_on_another_router(store: StoreServer) -> None:
    async with replicas(store) as routers:
        previous = None
        for turn in range(6):
            answer = await respond(routers[turn % 2], f"Question {turn}: which city?", previous)
            assert answer.status_code == 200, answer.text
            previous = answer.json()["id"]
        shared = routers[0].assembly.shared
        assert shared is not None
        chain = await shared.sealed.get(b"response:", [previous or ""])
        assert chain[0] is not None
        assert len(orjson.loads(chain[0])[0]) == 5
        written = await in_the_store(routers[0])
        for secret in (b"which city", b"Gott", (previous or "").encode()):
            assert secret not in written


@pytest.mark.parametrize("is_trusted", [False, True])
async def test_a_private_response_goes_to_a_trusted_store_only(
    store: StoreServer, is_trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("config.is_this_machine", lambda url: False)
    async with replicas(store, state_trusted=is_trusted) as (one, other):
        clean = await respond(one, "Which city?")
        private = await respond(one, f"What is {SECRET}?", clean.json()["id"])
        assert one.last.private
        assert (await respond(one, HARD, private.json()["id"])).status_code == 200
        moved = await respond(other, HARD, private.json()["id"])
        assert moved.status_code == (200 if is_trusted else 400), moved.text
        assert other.last.private or not is_trusted
        assert (await respond(other, HARD, clean.json()["id"])).status_code == 200
        assert other.last.private, "one of its messages is part of a private conversation"


async def test_an_unknown_response_is_an_error_that_says_so(store: StoreServer) -> None:
    async with replicas(store) as (one, _):
        answer = await respond(one, "Hello", "resp_000000000000000000000000")
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "previous_response_not_found"
        store.kill()
        assert (await respond(one, "Hello", "resp_0")).status_code == 400


async def test_claudes_thoughts_come_back_through_another_router(store: StoreServer) -> None:
    sent: list[Any] = []

    async def claude(connection: Connection, request: Request) -> None:
        sent.append(request.json)
        message = {"id": "msg", "type": "message", "role": "assistant", "model": "claude"}
        usage = {"input_tokens": 7, "output_tokens": 5}
        ending = {"content": [THOUGHT, CALL], "stop_reason": "tool_use", "usage": usage}
        await connection.answer(orjson.dumps(message | ending))

    asking: dict[str, Any] = {"role": "user", "content": HARD}
    async with replicas(store, cloud=claude) as (one, other):
        for router in (one, other):
            body: dict[str, Any] = {"messages": [asking], "tools": [TOOL]}
            answer = await one.ask("", body=body, headers=CLOUD)
            turn = answer.json()["choices"][0]["message"]
            result = {"role": "tool", "tool_call_id": turn["tool_calls"][0]["id"], "content": "42"}
            body["messages"] += [turn, result]
            assert (await router.ask("", body=body, headers=CLOUD)).status_code == 200
        assert [one["messages"][1]["content"][0] for one in sent[1::2]] == [THOUGHT, THOUGHT]
        assert b"look first" not in await in_the_store(one)


async def test_a_content_that_was_changed_in_the_store_is_none(store: StoreServer) -> None:
    async with replicas(store) as (one, _):
        parts = one.assembly
        assert parts.store is not None
        sealed = SealedStore(parts.store)
        sealed.put(b"kind:", "id", b"content", 60)
        await parts.store.written()
        (key,) = [key async for key in parts.store._client.scan_iter("*kind:*")]
        assert await sealed.get(b"kind:", ["id", "other"]) == [b"content", None]
        for garbage in (b"", b"short", bytes(64)):
            await parts.store._client.set(key, garbage)
            assert await sealed.get(b"kind:", ["id"]) == [None]
