"""The bounded store of opaque data that must return to the model that made it."""

from collections.abc import Sequence
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from router.clouds.thought_signatures import Vault
from router.request import ChatRequest
from router.state.sealed import SealedStore


def thought(size: int) -> dict[str, Any]:
    return {"before": [{"type": "thinking", "thinking": "x" * size, "signature": "s"}]}


def test_stored_data_comes_back_to_the_same_model_only() -> None:
    vault = Vault()
    vault.put("call_1", "claude-a", thought(1))
    assert vault.get("call_1", "claude-a") == thought(1)
    assert vault.get("call_1", "claude-b") is None
    assert vault.get("call_2", "claude-a") is None


def test_bytes_are_kept_as_they_are() -> None:
    vault = Vault()
    vault.put("call_1", "gemini-x", {"signature": b"\x00\xff"})
    assert vault.get("call_1", "gemini-x") == {"signature": b"\x00\xff"}


def test_two_models_may_have_the_same_call() -> None:
    vault = Vault()
    vault.put("call_1", "a", thought(1))
    vault.put("call_1", "b", thought(2))
    assert vault.get("call_1", "a") == thought(1)
    assert vault.get("call_1", "b") == thought(2)


def test_a_newer_thought_replaces_an_older_one() -> None:
    vault = Vault()
    vault.put("call_1", "a", thought(1))
    vault.put("call_1", "a", thought(2))
    assert vault.get("call_1", "a") == thought(2)
    assert len(vault) == 1


def test_the_one_used_longest_ago_makes_room() -> None:
    vault = Vault(max_bytes=6_000)
    for i in range(3):
        vault.put(str(i), "a", thought(1_000))
    assert vault.get("0", "a")  # used now
    vault.put("3", "a", thought(1_000))
    assert [vault.get(str(i), "a") is not None for i in range(4)] == [True, False, True, True]


def test_data_that_is_larger_than_the_store_is_not_kept_and_displaces_nothing() -> None:
    vault = Vault(max_bytes=5_000)
    vault.put("0", "a", thought(1_000))
    vault.put("1", "a", thought(10_000))
    assert vault.get("0", "a")
    assert vault.get("1", "a") is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3_000)), max_size=40))
def test_it_never_holds_more_than_it_may(puts: list[tuple[str, int]]) -> None:
    vault = Vault(max_bytes=8_000)
    last: dict[str, int] = {}
    for call_id, size in puts:
        vault.put(call_id, "a", thought(size))
        last[call_id] = size
    held = {name: extra for name in last if (extra := vault.get(name, "a"))}
    assert all(extra == thought(last[name]) for name, extra in held.items())
    assert sum(last[name] for name in held) <= 8_000
    if puts:
        assert puts[-1][0] in held


class Shelf:
    """What routers share, in memory."""

    def __init__(self) -> None:
        self.contents: dict[tuple[bytes, str], bytes] = {}
        self.asked: list[str] = []

    def put(self, kind: bytes, id: str, content: bytes, ttl_s: int) -> None:
        self.contents[kind, id] = content

    async def get(self, kind: bytes, ids: Sequence[str]) -> list[bytes | None]:
        self.asked += ids
        return [self.contents.get((kind, id)) for id in ids]


CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CALLING = ChatRequest({"messages": [{"role": "assistant", "tool_calls": [CALL]}]})


async def test_another_router_takes_over_the_thoughts_of_the_same_model_only() -> None:
    shelf = cast(SealedStore, Shelf())
    Vault(shared=shelf).put("call_1", "a", thought(1))
    other = Vault(shared=shelf)
    await other.fetch(CALLING, "b")
    assert other.get("call_1", "b") is None
    await other.fetch(CALLING, "a")
    assert other.get("call_1", "a") == thought(1)


async def test_a_thought_that_is_here_is_not_fetched() -> None:
    shelf = Shelf()
    vault = Vault(shared=cast(SealedStore, shelf))
    vault.put("call_1", "a", thought(1))
    await vault.fetch(CALLING, "a")
    assert shelf.asked == []
