"""The shared store itself, with a server that is slow, refuses writes, loses data or is gone."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from router.state import shared
from router.state.shared import PREFIX, SharedStore
from tests.support.store import StoreServer


@pytest.fixture
async def one(store: StoreServer) -> AsyncIterator[SharedStore]:
    found = SharedStore(store.url)
    await found.start()
    yield found
    await found.aclose()


async def read(store: SharedStore, key: bytes) -> bytes | None:
    await store.written()
    values = await store.ask([key])
    assert values is not None
    return values[0]


async def test_many_askers_at_a_time_get_their_own_values(one: SharedStore) -> None:
    for number in range(300):
        one.put(b"key %d" % number, b"%d" % number, 60)
    await one.written()
    asked = [one.ask([b"key %d" % number, b"none"]) for number in range(300)]
    assert await asyncio.gather(*asked) == [[b"%d" % number, None] for number in range(300)]
    assert await one.ask([]) == []
    assert await one.read([]) == []


async def test_an_asker_that_leaves_disturbs_no_other(one: SharedStore) -> None:
    one.put(b"key", b"value", 60)
    await one.written()
    leaving, staying = one.ask([b"key"]), one.ask([b"key"])
    leaving.cancel()
    assert await staying == [b"value"]


async def test_every_value_expires(one: SharedStore) -> None:
    one.put(b"value", b"1", 60)
    one.add_member(b"set", b"0000", 60)
    one.put_field(b"hash", b"field", b"1", 60)
    await one.written()
    for key in (b"value", b"set", b"hash"):
        assert 0 < await one._client.ttl(PREFIX + key) <= 60


async def test_a_set_has_each_member_once(one: SharedStore) -> None:
    for member in (b"aab0", b"b0aa", b"aab0", b"0aab"):
        one.add_member(b"set", member, 60)
    assert await read(one, b"set") == b"aab0b0aa0aab"


async def test_only_new_leaves_what_is_there(one: SharedStore) -> None:
    one.put(b"key", b"first", 60, only_new=True)
    one.put(b"key", b"second", 60, only_new=True)
    assert await read(one, b"key") == b"first"
    one.drop(b"key")
    assert await read(one, b"key") is None


async def test_a_server_that_hangs_is_left_alone_after_a_moment(
    one: SharedStore, store: StoreServer
) -> None:
    store.pause()
    began = time.perf_counter()
    assert await one.ask([b"key"]) is None
    assert time.perf_counter() - began < 10 * shared.READ_LIMIT_S
    assert not one.up
    began = time.perf_counter()
    for _ in range(100):
        assert await one.ask([b"key"]) is None
        one.put(b"key", b"value", 60)
        await one.written()
    assert time.perf_counter() - began < shared.READ_LIMIT_S
    store.resume()
    await one.look()
    assert one.up
    assert await read(one, b"key") == b"value"


async def test_a_slow_write_is_waited_for(one: SharedStore, store: StoreServer) -> None:
    """Else the next turn of a private conversation could come to a router that reads no mark."""
    resumed: list[bool] = []

    def resume() -> None:
        store.resume()
        resumed.append(True)

    store.pause()
    asyncio.get_running_loop().call_later(3 * shared.READ_LIMIT_S, resume)
    one.put(b"key", b"value", 60)
    await one.written()
    assert resumed
    assert one.up
    assert await read(one, b"key") == b"value"


async def test_a_busy_loop_is_not_taken_for_a_slow_server(one: SharedStore) -> None:
    answer = one.ask([b"key"])
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(time.sleep, 2 * shared.READ_LIMIT_S)
    assert await answer == [None]


async def test_writes_wait_for_the_server_in_their_order_and_in_bounds(
    one: SharedStore, store: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "MOST_WAITING", 10)
    store.kill()
    assert await one.ask([b"x"]) is None
    for number in range(20):
        one.put(b"key %d" % (number % 15), b"%d" % number, 60)
    store.start()
    await one.look()
    kept = [await read(one, b"key %d" % number) for number in range(15)]
    assert kept == [
        b"15",
        b"16",
        b"17",
        b"18",
        b"19",
        *[None] * 5,
        *(b"%d" % n for n in range(10, 15)),
    ]
    monkeypatch.setattr(shared, "MOST_WAITING_BYTES", 1000)
    store.kill()
    assert await one.ask([b"x"]) is None
    for _ in range(10):
        one.put(b"key", b"x" * 300, 60)
    assert len(one._writes) == 3


async def test_a_write_that_was_under_way_is_sent_again(
    one: SharedStore, store: StoreServer
) -> None:
    store.kill()
    one.put(b"key", b"value", 60)
    await one.written()
    assert not one.up
    store.start()
    await one.look()
    assert await read(one, b"key") == b"value"


async def test_waiting_for_a_write_ends_when_it_is_there(one: SharedStore) -> None:
    began = time.perf_counter()
    for _ in range(20):
        one.put(b"key", b"value", 60)
        await one.written()
    assert time.perf_counter() - began < 10 * shared.READ_LIMIT_S


async def test_a_server_that_takes_no_writes_counts_as_down(
    one: SharedStore, caplog: pytest.LogCaptureFixture
) -> None:
    await one._client.config_set("maxmemory", "1")
    one.put(b"key", b"value", 60)
    await one.written()
    for _ in range(3):
        await one.look()
        assert not one.up
    assert len(caplog.messages) == 1
    await one._client.config_set("maxmemory", "0")
    await one.look()
    assert one.up
    assert not one.is_complete, "other routers may have writes that wait"


async def test_a_user_who_may_not_do_all_is_refused_once_and_not_again_and_again(
    one: SharedStore, caplog: pytest.LogCaptureFixture
) -> None:
    await one._client.execute_command("ACL", "SETUSER", "default", "-eval")
    for _ in range(3):
        await one.look()
        assert not one.up
    assert len(caplog.messages) == 1
    assert "eval" in one.trouble


async def test_data_is_written_again_when_the_server_has_lost_it(
    one: SharedStore, store: StoreServer
) -> None:
    renewed = []
    one.on_return("test", lambda: pytest.fail("this one was replaced"))
    one.on_return("test", lambda: renewed.append(1))
    for _ in range(2):
        await one.look()
        assert renewed == [1], "once, for what was known before there was a store"
    await one._client.flushall()
    await one.look()
    assert renewed == [1, 1]
    store.kill()
    store.start()
    await one.look()
    await one.look()
    assert renewed == [1, 1, 1]
