"""Stores the last responses in memory, for requests with `previous_response_id`."""

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from router.errors import RouterError
from router.events import Event
from router.request import ChatRequest
from router.wire import sse
from router.wire.responses import responses

MOST_RESPONSES: Final = 2000
MOST_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class _Kept:
    """The input and output that one response added to its conversation, as JSON."""

    items: bytes
    before: "_Kept | None"
    size_bytes: int
    """Size of the whole conversation up to here."""


class ResponsesStore:
    """Conversations by the id of their last response; the least recently used are dropped first.

    The turns of a conversation are stored once, however many of its responses are kept.
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
        turns = []
        while kept is not None:
            turns.append(orjson.loads(kept.items))
            kept = kept.before
        return [item for turn in reversed(turns) for item in turn]

    def keep(self, response_id: str, items: list[Any], previous: str | None) -> None:
        """Store what a response added; do nothing if the response before it is gone."""
        before = self._kept.get(previous) if previous else None
        if previous and before is None:
            return
        data = sse.json_of(items)
        size_bytes = len(data) + (before.size_bytes if before else 0)
        if size_bytes > self._most_bytes:
            return
        self._kept[response_id] = _Kept(data, before, size_bytes)
        self._size_bytes += size_bytes
        while len(self._kept) > self._most or self._size_bytes > self._most_bytes:
            _, gone = self._kept.popitem(last=False)
            self._size_bytes -= gone.size_bytes


class StoredResponses:
    """The Responses dialect with a memory: `router.wire.responses.responses` and a store."""

    ID_PREFIX = responses.ID_PREFIX
    KEEPALIVE = responses.KEEPALIVE

    def __init__(self, store: ResponsesStore | None = None) -> None:
        self._store = store or ResponsesStore()

    def parse(self, raw: bytes, headers: Mapping[str, str] | None = None) -> ChatRequest:
        return responses.parse(raw, headers, self._store.recall)

    def stream(
        self,
        events: AsyncIterator[Event],
        request: ChatRequest,
        model: str,
        answer_id: str,
        created: int,
    ) -> AsyncGenerator[bytes, None]:
        def keep(response: dict[str, Any]) -> None:
            self._keep(request, response)

        return responses.stream(events, request, model, answer_id, created, keep=keep)

    async def complete(
        self,
        events: AsyncIterator[Event],
        request: ChatRequest,
        model: str,
        answer_id: str,
        created: int,
    ) -> dict[str, Any]:
        response = await responses.complete(events, request, model, answer_id, created)
        self._keep(request, response)
        return response

    def error_body(self, error: RouterError) -> dict[str, Any]:
        return responses.error_body(error)

    def error_event(self, error: RouterError) -> bytes:
        return responses.error_event(error)

    def _keep(self, request: ChatRequest, response: dict[str, Any]) -> None:
        body = request.original or {}
        if body.get("store") is False:
            return
        items = [item for item, _ in responses.items_of(body)] + response["output"]
        self._store.keep(response["id"], items, body.get("previous_response_id"))


class CompactedResponses(StoredResponses):
    """The dialect of `/v1/responses/compact`: a conversation comes in, its summary goes out."""

    def parse(self, raw: bytes, headers: Mapping[str, str] | None = None) -> ChatRequest:
        return responses.summary_request(raw, self._store.recall)

    async def complete(
        self,
        events: AsyncIterator[Event],
        request: ChatRequest,
        model: str,
        answer_id: str,
        created: int,
    ) -> dict[str, Any]:
        response = await responses.complete(events, request, model, answer_id, created)
        return responses.compacted(response, request)
