"""Opaque backend data that must come back to the model that made it: thinking blocks, signatures.

Chat Completions has no place for such data, so it is kept here by the id of the tool call it came
with and the exact model. Bounded; what is lost costs a model its train of thought, nothing more.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

MAX_BYTES: Final = 64 * 2**20
"""Rough size of all that is kept: some thousand tool calls with long thoughts."""


class Vault:
    """A bounded store in memory; the entry used longest ago makes room for a new one."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0
        self._entries: OrderedDict[tuple[str, str], tuple[Mapping[str, Any], int]] = OrderedDict()

    def put(self, call_id: str, model: str, extra: Mapping[str, Any]) -> None:
        """Keep `extra` for a tool call of `model`; an older entry of the same call is replaced."""
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
        """What came with this tool call, if this very model made it and it is still here."""
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
    """Rough: what the text and bytes in it take, and a little for each thing that holds them."""
    match value:
        case str() | bytes():
            return 64 + len(value)
        case Mapping():
            return 64 + sum(_size_bytes(k) + _size_bytes(v) for k, v in value.items())
        case list() | tuple():
            return 64 + sum(map(_size_bytes, value))
        case _:
            return 32
