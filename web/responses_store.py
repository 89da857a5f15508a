"""Stores the last responses, for requests with `previous_response_id`.

They are in memory and, if several routers share a store, there too.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from router.errors import RouterError
from router.events import Batch
from router.request import ChatRequest
from router.state.sealed import SealedStore
from router.wire import sse
from router.wire.encoded import EncodedStream
from router.wire.responses import responses

MOST_RESPONSES: Final = 2000
MOST_BYTES: Final = 64 * 2**20
SHARED: Final = b"response:"
SHARED_S: Final = 7 * 86_400
"""Seconds for which other routers can take a response over."""


@dataclass(slots=True)
class _Kept:
    """The input and output that one response added to its conversation, as JSON."""

    id: str
    items: bytes
    before: "_Kept | None"
    size_bytes: int
    """Size of the whole conversation up to here."""
    uses: int = 1
    """How many need it: its own id, and the turns that follow it."""


class ResponsesStore:
    """Conversations by the id of their last response; the least recently used are dropped first.

    The turns of a conversation are stored and counted once, however many of its responses are kept.
    """

    def __init__(self, most: int = MOST_RESPONSES, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._size_bytes = 0

    def recall(self, response_id: str) -> list[Any] | None:
        """Return all items of the conversation that ends with this response; None if it is gone."""
        kept: _Kept | None = self._kept.get(response_id)
        if kept is None:
            return None
        self._kept.move_to_end(response_id)
        turns = [orjson.loads(turn.items) for turn in _turns(kept)]
        return [item for turn in reversed(turns) for item in turn]

    def keep(
        self,
        response_id: str,
        items: list[Any],
        previous: str | None,
        shared: SealedStore | None = None,
    ) -> None:
        """Store what a response added; do nothing if the response before it is gone.

        `shared`: the store in which it is kept for other routers too.
        """
        before = self._kept.get(previous) if previous else None
        if previous and before is None:
            return
        data = sse.json_of(items)
        size_bytes = len(data) + (before.size_bytes if before else 0)
        if size_bytes > self._most_bytes:
            return
        self._keep(_Kept(response_id, data, before, size_bytes))
        if shared is not None:
            earlier = [turn.id for turn in _turns(before)]
            content = orjson.dumps((earlier, orjson.Fragment(data)))
            shared.put(SHARED, response_id, content, SHARED_S)

    async def fetch(self, shared: SealedStore | None, response_id: str) -> bool:
        """Take over a conversation from another router; return whether it was there."""
        if shared is None:
            return False
        (last,) = await shared.get(SHARED, [response_id])
        if last is None:
            return False
        earlier: list[str] = orjson.loads(last)[0]
        contents = [last, *await shared.get(SHARED, earlier)]
        before: str | None = None
        for id, content in reversed([*zip([response_id, *earlier], contents, strict=True)]):
            if content is not None and id not in self._kept:
                self.keep(id, orjson.loads(content)[1], before)
            before = id
        return response_id in self._kept

    def _keep(self, kept: _Kept) -> None:
        self._kept[kept.id] = kept
        self._size_bytes += len(kept.items)
        if kept.before is not None:
            kept.before.uses += 1
        while len(self._kept) > self._most or self._size_bytes > self._most_bytes:
            _, gone = self._kept.popitem(last=False)
            self._give_up(gone)

    def _give_up(self, kept: _Kept) -> None:
        """Count one use less. With a turn's last use it is gone, and one use of that before it."""
        turn: _Kept | None = kept
        while turn is not None:
            turn.uses -= 1
            if turn.uses:
                return
            self._size_bytes -= len(turn.items)
            turn = turn.before


def _turns(kept: _Kept | None) -> Iterator[_Kept]:
    """Yield the turns of a conversation, the last one first."""
    while kept is not None:
        yield kept
        kept = kept.before


class StoredResponses:
    """The Responses dialect with a memory: `router.wire.responses.responses` and a store."""

    ID_PREFIX = responses.ID_PREFIX
    KEEPALIVE = responses.KEEPALIVE

    def __init__(
        self,
        store: ResponsesStore | None = None,
        shared_for: Callable[[ChatRequest], SealedStore | None] = lambda request: None,
    ) -> None:
        """Take the stores. `shared_for` returns where other routers find a request's response."""
        self._store = store or ResponsesStore()
        self._shared_for = shared_for

    def parse(self, raw: bytes, headers: Mapping[str, str] | None = None) -> ChatRequest:
        return responses.parse(raw, headers, self._store.recall)

    def stream(
        self,
        batches: AsyncIterator[Batch],
        request: ChatRequest,
        model: str,
        answer_id: str,
        created: int,
    ) -> EncodedStream:
        async def keep(response: dict[str, Any]) -> None:
            await self._keep(request, response)

        return responses.stream(batches, request, model, answer_id, created, keep=keep)

    async def complete(
        self,
        batches: AsyncIterator[Batch],
        request: ChatRequest,
        model: str,
        answer_id: str,
        created: int,
    ) -> dict[str, Any]:
        response = await responses.complete(batches, request, model, answer_id, created)
        return await self._finished(request, response)

    def error_body(self, error: RouterError) -> dict[str, Any]:
        return responses.error_body(error)

    def error_event(self, error: RouterError) -> bytes:
        return responses.error_event(error)

    async def _finished(self, request: ChatRequest, response: dict[str, Any]) -> dict[str, Any]:
        """Store a whole response; return what the caller gets."""
        await self._keep(request, response)
        return response

    async def _keep(self, request: ChatRequest, response: dict[str, Any]) -> None:
        body = request.original or {}
        if body.get("store") is False:
            return
        items = [item for item, _ in responses.items_of(body)] + response["output"]
        shared = self._shared_for(request)
        self._store.keep(response["id"], items, body.get("previous_response_id"), shared)
        if shared is not None:
            await shared.written()  # the next request may come to another router at once


class CompactedResponses(StoredResponses):
    """The dialect of `/v1/responses/compact`: a conversation comes in, its summary goes out."""

    def parse(self, raw: bytes, headers: Mapping[str, str] | None = None) -> ChatRequest:
        return responses.summary_request(raw, self._store.recall)

    async def _finished(self, request: ChatRequest, response: dict[str, Any]) -> dict[str, Any]:
        return responses.compacted(response, request)
