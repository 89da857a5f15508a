"""Chooses among several local servers.

A server must be up, the request must fit its model, and a private request goes only to servers
that are marked private. Among those, a server whose prompt cache holds the beginning of the request
is preferred while its queue is not much longer than the shortest one. Otherwise the server with
the shortest expected wait until its first word is taken.

Servers do not tell what is in their prompt cache. So each prompt is cut into blocks. The digest of
a block covers all that comes before it: equal digests mean equal beginnings. The balancer remembers
which blocks it sent to which server, and forgets those that were unused for longest.
"""

import time
from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from math import inf
from typing import Final

import orjson

from router.deciding.facts import Ask, Side
from router.request import ChatRequest
from router.sides.pooled_server import (
    BLOCK_BYTES,
    BLOCK_TOKENS,
    BLOCKED_S,
    NO_TOOLS_S,
    UNFIT_S,
    WEAK_S,
    Server,
    ServerVisit,
    Visit,
)

MOST_BLOCKS: Final = 128
"""Blocks of a prompt that are compared. Of longer prompts only the beginning counts."""
LONGER_QUEUE: Final = 2
"""Requests by which the queue of a server with a warm cache may be longer than the shortest."""
WARM_PATIENCE: Final = 2.0
"""How many times as long as elsewhere the first word may take at a server with a warm cache."""
SPARES: Final = 2
"""Further servers that are asked when the first one fails."""


def blocks_of(request: ChatRequest) -> tuple[bytes, ...]:
    """Return a digest for each whole block of the prompt, the first one first.

    Tools come first, as in the prompts that servers make. The last part of a block is left out.
    """
    most = MOST_BLOCKS * BLOCK_BYTES
    pieces = [orjson.dumps(request.tools)] if request.tools else []
    size = len(pieces[0]) if pieces else 0
    for message in request.messages:
        if size >= most:
            break
        piece = orjson.dumps(message)
        pieces.append(piece)
        size += len(piece)
    text = memoryview(b"".join(pieces))
    running = blake2b(digest_size=8)
    blocks = []
    for end in range(BLOCK_BYTES, min(size, most) + 1, BLOCK_BYTES):
        running.update(text[end - BLOCK_BYTES : end])
        blocks.append(running.digest())
    return tuple(blocks)


class Balancer:
    """Ranks the local servers for a request, and remembers what each was sent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.servers: list[Server] = []
        self._by_name: dict[str, Server] = {}
        self.placed: Callable[[str, str, list[bytes]], None] | None = None
        """Is called with a server, its model and the blocks that are new in its prompt cache."""
        self._holders: dict[bytes, int] = {}
        """For each block the servers that hold it, as a bit set of `Server.bit`."""

    @property
    def private(self) -> list[bool]:
        """Return for each server whether it may get private requests."""
        return [server.private for server in self.servers]

    def add(self, name: str, *, private: bool = True, limit: int | None = None) -> None:
        """Add a server; `ranked` takes their snapshots in the order of these calls."""
        server = Server(name, len(self.servers), private=private, limit=limit)
        self.servers.append(server)
        self._by_name[name] = server

    def ranked(self, ask: Ask, sides: Sequence[Side], too_weak: Collection[str] = ()) -> list[int]:
        """Return the numbers of the best server and of its spares.

        Servers with a model of `too_weak` come after the others. The first number is the best
        server, even if it cannot answer now; the spares can. The list is empty if the request is
        private and no server may get it.
        """
        costs = self._costs(ask, sides, too_weak)
        depth, holders = self._credit(ask, costs)
        best_s = min(costs)
        if best_s == inf:
            return []
        first = costs.index(best_s)
        if depth and not holders & self.servers[first].bit:
            first = self._warm(first, holders, costs)
        ranked = [first]
        costs[first] = inf
        for _ in range(min(SPARES, len(costs) - 1)):
            cost_s = min(costs)
            if cost_s >= BLOCKED_S:
                break
            ranked.append(costs.index(cost_s))
            costs[ranked[-1]] = inf
        return ranked

    def unread_tokens(self, name: str, ask: Ask) -> int:
        """Return the tokens of the prompt that are not in the cache of a server."""
        held, known = self._by_name[name].blocks, 0
        for block in ask.blocks:
            if block not in held:
                break
            known += 1
        return max(1, ask.size_tokens - known * BLOCK_TOKENS)

    def begin(self, name: str, ask: Ask) -> Visit:
        """Note that a request goes to this server; its prompt is in the cache from now on."""
        server, unread = self._by_name[name], self.unread_tokens(name, ask)
        if self.placed is not None:
            new = [block for block in ask.blocks if block not in server.blocks]
            self.placed(name, server.model, new)
        self._hold(server, ask.blocks)
        return ServerVisit(server, unread, self.clock)

    def unknown(self, blocks: Sequence[bytes]) -> Sequence[bytes]:
        """Return the blocks that no server is known to hold."""
        return [block for block in blocks if block not in self._holders]

    def learn(self, name: str, model: str, blocks: Sequence[bytes]) -> None:
        """Note that another router has sent these blocks to a server, if its model is the same.

        A server that was not looked at yet has no model here.
        """
        server = self._by_name.get(name)
        if server is not None and server.model in ("", model):
            self._hold(server, blocks)

    def forget(self, server: Server) -> None:
        """Forget the prompt cache of a server that was restarted or has another model."""
        for block in server.blocks:
            self._drop(block, server.bit)
        server.blocks.clear()

    def _hold(self, server: Server, blocks: Sequence[bytes]) -> None:
        held, holders, bit = server.blocks, self._holders, server.bit
        for block in blocks:
            if block in held:
                held.move_to_end(block)
            else:
                held[block] = None
                holders[block] = holders.get(block, 0) | bit
        while len(held) > server.most_blocks:
            block, _ = held.popitem(last=False)
            self._drop(block, bit)

    def _drop(self, block: bytes, bit: int) -> None:
        left = self._holders[block] & ~bit
        if left:
            self._holders[block] = left
        else:
            del self._holders[block]

    def _costs(self, ask: Ask, sides: Sequence[Side], too_weak: Collection[str]) -> list[float]:
        """Return what each server would cost: the expected wait in seconds, plus its grade."""
        needed, tokens = ask.needed_tokens, ask.size_tokens
        special = ask.private or ask.has_images or ask.has_tools or ask.force_model
        costs = []
        for server, side in zip(self.servers, sides, strict=True):
            if side is not server.side and server.see(side):
                self.forget(server)
            cost = server.grade_s + server.wait_s + tokens * server.read_s
            if needed > server.room_tokens:
                cost += UNFIT_S
            if special:
                cost += _misfit_s(ask, server, side)
            if too_weak and server.model in too_weak:
                cost += WEAK_S
            costs.append(cost)
        return costs

    def _credit(self, ask: Ask, costs: list[float]) -> tuple[int, int]:
        """Subtract from `costs` the reading time that caches save.

        Returns the length of the longest match in blocks, and the servers that have it as bits.
        """
        holders, depth, deepest = -1, 0, 0
        for block in ask.blocks:
            having = holders & self._holders.get(block, 0)
            if not having:
                break
            if depth and having != holders:
                self._spare(holders & ~having, depth, costs)
            holders = deepest = having
            depth += 1
        if deepest:
            self._spare(deepest, depth, costs)
        return depth, deepest

    def _spare(self, bits: int, depth: int, costs: list[float]) -> None:
        saved = depth * BLOCK_TOKENS
        while bits:
            number = bits.bit_length() - 1
            costs[number] -= saved * self.servers[number].read_s
            bits ^= 1 << number

    def _warm(self, best: int, holders: int, costs: list[float]) -> int:
        """Return the best server with a warm cache, or `best` if waiting for it does not pay."""
        warm = -1
        while holders:
            number = holders.bit_length() - 1
            if warm < 0 or costs[number] < costs[warm]:
                warm = number
            holders ^= 1 << number
        queue = self.servers[warm].queue - self.servers[best].queue
        pays = costs[warm] <= max(WARM_PATIENCE * costs[best], 0.0)
        return warm if queue <= LONGER_QUEUE and pays else best


def _misfit_s(ask: Ask, server: Server, side: Side) -> float:
    model = side.model(ask.force_model)
    if ask.private and (not server.private or (model is not None and model.remote)):
        return inf
    if (ask.has_images and not server.sees) or (
        ask.force_model and side.model(ask.force_model) is None
    ):
        return UNFIT_S
    return NO_TOOLS_S if ask.has_tools and not server.has_tools else 0.0
