"""Exchanges knowledge of conversations with other routers, through the store that they share.

Before a decision the store is asked for facts that another router may have added: the side of the
last answer, private marks, the server that has the prompt in its cache. They go into the memories
of this process, from which the decision is made as always. If the store does not answer, this
router goes on without them.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import orjson

from router.backend import Target
from router.request import ChatRequest
from router.sides.conversations import (
    Conversations,
    Marks,
    Memory,
    answered_before,
    prefixes_and_marks_of,
)
from router.sides.pool import Balancer
from router.state.shared import Store, Values
from router.state.shared_marks import SharedMarks

log = logging.getLogger("router")

MOST_PREFIXES: Final = 32
"""The last messages of a conversation with which an earlier request of it may have ended."""
CONVERSATION_S: Final = 86_400
"""How long the side of a conversation is kept."""
BLOCK_S: Final = 1800
"""How long a prompt is expected in a server's cache."""
MOST_KNOWN: Final = 10_000
CONVERSATION: Final = b"conversation:"
BLOCK: Final = b"block:"


@dataclass(slots=True)
class Past:
    """The digests that identify a request; not changed once it is made."""

    prefixes: Sequence[bytes]
    """Of its conversation: conversations.prefixes_of()."""
    blocks: Sequence[bytes] = ()
    """The beginning of its prompt: pool.blocks_of(). Empty with a single local server."""
    marks: Marks | None = None
    """Of its messages; None where they were not needed yet."""
    is_sure: bool = True
    """Whether all findings of other routers in it are known."""


@dataclass(slots=True)
class Inquiry:
    """A question to the store, on behalf of a request; not changed once it is made."""

    values: Awaitable[Values | None]
    past: Past
    prefixes: Sequence[bytes]
    blocks: Sequence[bytes]
    was_complete: bool
    """Whether the store had everything that other routers have written."""


class KnownRequests:
    """Requests that surely no other router had found private.

    Each is known by its end, the last of its prefixes. The oldest are forgotten.
    """

    def __init__(self) -> None:
        self._ends: OrderedDict[bytes, None] = OrderedDict()

    def add(self, end: bytes) -> None:
        self._ends[end] = None
        if len(self._ends) > MOST_KNOWN:
            self._ends.popitem(last=False)

    def __contains__(self, end: bytes | None) -> bool:
        return end in self._ends


class Replicas:
    """Reads from the store, and writes to it, what routers know of conversations."""

    def __init__(
        self,
        store: Store,
        conversations: Conversations,
        marks: SharedMarks | None,
        balancer: Balancer | None,
        known: KnownRequests,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the store, and the memory of this process.

        `marks`: None with PRIVACY=off. `known`: requests that were known so far. `clock`: seconds
        that all routers count alike.
        """
        self._store = store
        self._conversations = conversations
        self.marks = marks
        self._balancer = balancer
        self._clock = clock
        self._known = known

    async def ask(self, request: ChatRequest, blocks: Sequence[bytes]) -> Inquiry:
        """Ask the store for other routers' knowledge; pass the result to `learn`.

        `blocks`: the beginning of the prompt.
        """
        prefixes, marks = prefixes_and_marks_of(request)
        past = Past(prefixes, blocks, marks)
        last = prefixes[-MOST_PREFIXES:]
        blocks = self._balancer.unknown(blocks) if self._balancer is not None else ()
        keys = [CONVERSATION + prefix for prefix in last] + [BLOCK + block for block in blocks]
        if self.marks is not None:
            keys += self.marks.keys(marks.all)
        inquiry = Inquiry(self._store.ask(keys), past, last, blocks, self._store.is_complete)
        await asyncio.sleep(0)  # lets the question leave before the request is scored
        return inquiry

    async def learn(self, inquiry: Inquiry) -> Past:
        """Take over the answer of the store."""
        values = await inquiry.values
        is_sure = inquiry.was_complete and values is not None
        try:
            await self._take_over(inquiry, values or [])
        except (LookupError, TypeError, ValueError):
            is_sure = False
            log.exception("internal error: the shared store has what no router writes")
        return replace(inquiry.past, is_sure=is_sure)

    def may_be_private(self, request: ChatRequest, past: Past) -> bool:
        """Return whether another router may have found the conversation private.

        In its first turn a conversation has no past. One whose last turn was decided here, and was
        sure then, is known, whether the store answers or not.
        """
        is_first = all(message["role"] != "assistant" for message in request.messages)
        return not (past.is_sure or is_first or answered_before(request) in self._known)

    def know(self, past: Past) -> None:
        """Note a request that was decided, and of which `may_be_private` was false."""
        if past.prefixes:
            self._known.add(past.prefixes[-1])

    def was_unsure(self, prefixes: Sequence[bytes]) -> bool:
        """Return whether `may_be_private` was true of a request, or it is forgotten."""
        return not prefixes or prefixes[-1] not in self._known

    def remember(self, prefixes: Sequence[bytes], memory: Memory) -> None:
        """Write which side has just answered a conversation."""
        if prefixes:
            row = (memory.target, memory.escalated, memory.model, self._clock())
            self._store.put(CONVERSATION + prefixes[-1], orjson.dumps(row), CONVERSATION_S)

    def placed(self, server: str, model: str, blocks: list[bytes]) -> None:
        """Write which server has the beginning of a prompt in its cache."""
        where = orjson.dumps((server, model))
        for block in blocks:
            self._store.put(BLOCK + block, where, BLOCK_S)

    async def allow(self, alarm: str) -> bool:
        """Allow the finding of another router's alarm; False if there is no such alarm."""
        return self.marks is not None and await self.marks.allow(alarm)

    async def written(self) -> None:
        """Wait until the other routers can know what this one does, or the store has failed."""
        await self._store.written()

    async def _take_over(self, inquiry: Inquiry, values: Values) -> None:
        of_prefixes = len(inquiry.prefixes)
        of_blocks = of_prefixes + len(inquiry.blocks)
        for prefix, value in zip(inquiry.prefixes, values, strict=False):
            if value is not None:
                self._conversations.learn(prefix, self._memory(value))
        self._learn_blocks(inquiry.blocks, values[of_prefixes:of_blocks])
        marks = inquiry.past.marks
        if self.marks is not None and marks is not None and values:
            await self.marks.learn(marks.all, values[of_blocks:])

    def _memory(self, value: bytes) -> Memory:
        row: tuple[Target, bool, str, float] = orjson.loads(value)
        target, escalated, model, at = row
        age_s = max(0.0, self._clock() - at)
        return self._conversations.memory(target, escalated=escalated, model=model, age_s=age_s)

    def _learn_blocks(self, blocks: Sequence[bytes], values: Values) -> None:
        held: dict[bytes, list[bytes]] = {}
        for block, value in zip(blocks, values, strict=False):
            if value is not None:
                held.setdefault(value, []).append(block)
        for value, of_server in held.items():
            server, model = orjson.loads(value)
            if self._balancer is not None:
                self._balancer.learn(server, model, of_server)
