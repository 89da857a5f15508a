"""Private marks in the store, without routers around them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from router.state.private_marks import PrivateMarks
from router.state.shared import SharedStore
from router.state.shared_marks import SharedMarks
from tests.support.store import StoreServer

DIGEST, OTHER = b"d" * 16, b"o" * 16


@dataclass
class Node:
    """The store and the marks of one router."""

    store: SharedStore
    marks: PrivateMarks
    shared: SharedMarks

    async def learn(self, *digests: bytes) -> None:
        values = await self.store.ask(self.shared.keys(digests))
        assert values is not None
        await self.shared.learn(digests, values)


@pytest.fixture
async def nodes(store: StoreServer) -> AsyncIterator[list[Node]]:
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(3):
            one, marks = SharedStore(store.url), PrivateMarks()
            stack.push_async_callback(one.aclose)
            shared = marks.listener = SharedMarks(one, marks)
            one.on_return("marks", shared.renew)
            found.append(Node(one, marks, shared))
            await one.start()
        yield found


async def test_a_mark_comes_with_its_rule(nodes: list[Node]) -> None:
    one, other, _ = nodes
    alarm = one.marks.raise_alarm([DIGEST], "finding", "GitHub token")
    await one.store.written()
    await other.learn(DIGEST, OTHER)
    assert other.marks.alarms([DIGEST]) == [alarm.id]
    assert other.marks.alarms([OTHER]) == []
    assert other.marks.rule(alarm.id) == "GitHub token"


async def test_two_routers_marks_of_one_message_are_both_kept(nodes: list[Node]) -> None:
    one, other, third = nodes
    alarms = [each.marks.raise_alarm([DIGEST], each.store.address, "rule") for each in nodes[:2]]
    await one.store.written()
    await other.store.written()
    await third.learn(DIGEST)
    assert set(third.marks.alarms([DIGEST])) == {alarm.id for alarm in alarms}


async def test_a_router_that_writes_again_takes_nothing_back_that_was_allowed(
    nodes: list[Node],
) -> None:
    one, other, third = nodes
    alarm = one.marks.raise_alarm([DIGEST], "finding", "rule")
    await one.store.written()
    assert await other.shared.allow(alarm.id)
    await other.store.written()
    one.shared.renew()
    await one.store.written()
    for each in (third, one):
        await each.learn(DIGEST)
        assert each.marks.alarms([DIGEST]) == []
        assert each.marks.allowed([DIGEST]) == {"finding"}


async def test_marks_are_written_again_when_the_store_has_lost_them(nodes: list[Node]) -> None:
    one, _, third = nodes
    alarm = one.marks.raise_alarm([DIGEST], "finding", "rule")
    await one.store.written()
    await one.store._client.flushall()
    await one.store.look()
    await one.store.written()
    await third.learn(DIGEST)
    assert third.marks.alarms([DIGEST]) == [alarm.id]
    assert third.marks.rule(alarm.id) == "rule"


async def test_marks_go_to_the_store_in_use_while_another_is_prepared(nodes: list[Node]) -> None:
    one, other, _ = nodes
    SharedMarks(SharedStore("valkey://127.0.0.1:9"), one.marks)
    alarm = one.marks.raise_alarm([DIGEST], "finding", "rule")
    await one.store.written()
    await other.learn(DIGEST)
    assert other.marks.alarms([DIGEST]) == [alarm.id]
