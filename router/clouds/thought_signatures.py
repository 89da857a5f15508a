"""Store of opaque data that must return to the model that made it: thinking blocks, signatures.

Chat Completions has no field for such data, so it is kept by the id of its tool call and the exact
model. The store is bounded; without its data a model only loses its earlier thoughts.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

MAX_BYTES: Final = 64 * 2**20
"""Limit of the estimated size: some thousand tool calls with long thoughts."""


class Vault:
    """A bounded store in memory; the entry used longest ago makes room for a new one."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0
        self._entries: OrderedDict[tuple[str, str], tuple[Mapping[str, Any], int]] = OrderedDict()

    def put(self, call_id: str, model: str, extra: Mapping[str, Any]) -> None:
        """Store `extra` for a tool call of `model`; replace an older entry of the same call."""
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
