"""Store of opaque data that must return to the model that made it: thinking blocks, signatures.

Chat Completions has no field for such data, so it is kept by the id of its tool call and the exact
model. The store is bounded; without its data a model only loses its earlier thoughts.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from router.request import ChatRequest
from router.state.sealed import SealedStore
from router.wire import sse

MAX_BYTES: Final = 64 * 2**20
"""Limit of the estimated size: some thousand tool calls with long thoughts."""
SHARED: Final = b"thought:"
SHARED_S: Final = 86_400
"""Seconds for which other routers can take a thought over."""


class Vault:
    """A bounded store in memory; the entry used longest ago makes room for a new one.

    With a `shared` store, entries are kept there too, for other routers to `fetch`.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, shared: SealedStore | None = None) -> None:
        self._shared = shared
        self._max_bytes = max_bytes
        self._held_bytes = 0
        self._entries: OrderedDict[tuple[str, str], tuple[Mapping[str, Any], int]] = OrderedDict()

    def put(self, call_id: str, model: str, extra: Mapping[str, Any]) -> None:
        """Store `extra` for a tool call of `model`; replace an older entry of the same call."""
        self._keep(call_id, model, extra)
        if self._shared is not None:
            self._shared.put(SHARED, _shared_id(call_id, model), sse.json_of(extra), SHARED_S)

    async def fetch(self, request: ChatRequest, model: str) -> None:
        """Take over the entries of other routers for the calls of a conversation."""
        if self._shared is None:
            return
        ids = [id for id in _call_ids(request) if (id, model) not in self._entries]
        found = await self._shared.get(SHARED, [_shared_id(id, model) for id in ids])
        for id, extra in zip(ids, found, strict=True):
            if extra is not None:
                self._keep(id, model, orjson.loads(extra))

    def _keep(self, call_id: str, model: str, extra: Mapping[str, Any]) -> None:
        key = (call_id, model)
        size = _size_bytes(extra) + len(call_id) + len(model)
        self._forget(key)
        if size > self._max_bytes:
            return
        self._entries[key] = (extra, size)
        self._held_bytes += size
        while self._held_bytes > self._max_bytes:
            self._forget(next(iter(self._entries)))

    def get(self, call_id: str, model: str) -> Mapping[str, Any] | None:
        """Return the data of a tool call, if this model made it and it is still stored."""
        key = (call_id, model)
        if (entry := self._entries.get(key)) is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def __len__(self) -> int:
        return len(self._entries)

    def _forget(self, key: tuple[str, str]) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self._held_bytes -= entry[1]


def _call_ids(request: ChatRequest) -> Iterable[str]:
    """Return the ids of the tool calls in a conversation, each once."""
    calls = (call for message in request.messages for call in message.get("tool_calls") or ())
    return dict.fromkeys(id for call in calls if isinstance(id := call.get("id"), str))


def _shared_id(call_id: str, model: str) -> str:
    return f"{model}\0{call_id}"


def _size_bytes(value: Any) -> int:
    """Return an estimate: the size of texts and bytes, and a constant for each object."""
    match value:
        case str() | bytes():
            return 64 + len(value)
        case Mapping():
            return 64 + sum(_size_bytes(k) + _size_bytes(v) for k, v in value.items())
        case list() | tuple():
            return 64 + sum(map(_size_bytes, value))
        case _:
            return 32
