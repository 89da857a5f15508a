"""Tool calls out of the pieces that chat servers send: told apart, named once, each with an id."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from router.errors import BackendBroken
from router.events import Event, ToolCallDelta, ToolCallStart


@dataclass(slots=True)
class _Call:
    """A tool call as far as it has come. Nothing is said of it until its name is known."""

    index: int
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        try:
            orjson.loads("".join(self.pieces))
        except orjson.JSONDecodeError:
            return False
        return True


class ToolCalls:
    """The tool calls of one answer, read from `tool_calls` of its deltas or its message.

    Servers leave out the index or the id, give every call index 0, send a call whole or in
    pieces, repeat its name with each piece, or send its arguments as an object.
    """

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def read(self, piece: Mapping[str, Any]) -> Iterator[Event]:
        function = piece.get("function") or {}
        id, name = str(piece.get("id") or ""), str(function.get("name") or "")
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):
            arguments = orjson.dumps(arguments).decode()
        call = self._call_of(piece.get("index"), id, name)
        call.id = call.id or id
        if name and not call.name:
            call.name = name
            call.id = call.id or f"call_{uuid.uuid4().hex[:24]}"
            yield ToolCallStart(call.index, call.id, name)
            if call.pieces:
                yield ToolCallDelta(call.index, "".join(call.pieces))
        if arguments:
            call.pieces.append(arguments)
            if call.name:
                yield ToolCallDelta(call.index, arguments)

    def end(self) -> Iterator[Event]:
        """What is still to be said: a call without arguments has the arguments {}."""
        for call in self._calls:
            if not call.name:
                raise BackendBroken(
                    f"{self._backend} called a tool without naming it.", backend=self._backend
                )
            if not call.pieces:
                yield ToolCallDelta(call.index, "{}")

    def _call_of(self, index: Any, id: str, name: str) -> _Call:
        """The call that a piece belongs to: an id says it best, then the index, then the order."""
        for call in reversed(self._calls):
            if id and call.id == id:
                return call
        numbered = isinstance(index, int)
        known = self._by_index.get(index) if numbered else None
        if not numbered and self._calls:
            known = self._calls[-1]
        if known is not None and not _begins_another(known, id, name):
            return known
        call = _Call(len(self._calls))
        self._calls.append(call)
        if numbered:
            self._by_index[index] = call
        return call


def _begins_another(known: _Call, id: str, name: str) -> bool:
    """Does a piece start another call, though it comes in the place of a known one?

    A name alone may be the known one repeated, unless that call is whole already.
    """
    if not name or not known.name:
        return False
    return bool(id) or name != known.name or known.whole
