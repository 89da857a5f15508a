"""Tool calls out of the pieces that chat servers send: separated, named once, each with an id."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from router.errors import BackendBroken
from router.events import Event, ToolCallDelta, ToolCallStart
from router.wire.tool_arguments import ArgumentsReader


@dataclass(slots=True)
class _PartialCall:
    """A tool call as far as it has come. No event is made before its name is known."""

    index: int
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    reader: ArgumentsReader = field(default_factory=ArgumentsReader)

    @property
    def is_whole(self) -> bool:
        """Return whether the arguments so far are valid JSON."""
        if not self.pieces or self.pieces[-1].rstrip()[-1:] not in ("}", "l"):  # an object or null
            return False
        try:
            orjson.loads("".join(self.pieces))
        except orjson.JSONDecodeError:
            return False
        return True


class ToolCalls:
    """Reads the tool calls of one answer from `tool_calls` of its deltas or its message.

    Servers leave out the index or the id, give every call index 0, send a call whole or in
    pieces, repeat its name with each piece, or send its arguments as an object.
    """

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._calls: list[_PartialCall] = []
        self._by_index: dict[int, _PartialCall] = {}
        self._by_id: dict[str, _PartialCall] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    @property
    def are_whole(self) -> bool:
        """Return whether every call has a name and arguments that are valid JSON."""
        return all(call.name and call.is_whole for call in self._calls)

    def read(self, piece: Mapping[str, Any]) -> Iterator[Event]:
        """Yield the events of one element of `tool_calls`."""
        function = piece.get("function") or {}
        id, name = str(piece.get("id") or ""), str(function.get("name") or "")
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):
            arguments = orjson.dumps(arguments).decode()
        call = self._call_of(piece.get("index"), id, name)
        if id and not call.id:
            self._give_id(call, id)
        if name and not call.name:
            call.name = name
            if not call.id:
                self._give_id(call, f"call_{uuid.uuid4().hex[:24]}")
            yield ToolCallStart(call.index, call.id, name)
            arguments, call.pieces = "".join([*call.pieces, arguments]), []
        if arguments:
            call.pieces.append(arguments)
            if call.name and (ready := call.reader.feed(arguments)):
                yield ToolCallDelta(call.index, ready)

    def end(self) -> Iterator[Event]:
        """Yield `{}` for each call that came without arguments. Raises BackendBroken."""
        for call in self._calls:
            if not call.name:
                raise BackendBroken(
                    f"{self._backend} called a tool without naming it.", backend=self._backend
                )
            if rest := call.reader.end():
                yield ToolCallDelta(call.index, rest)

    def _give_id(self, call: _PartialCall, id: str) -> None:
        call.id = id
        self._by_id[id] = call

    def _call_of(self, index: Any, id: str, name: str) -> _PartialCall:
        """Return the call that a piece belongs to: by its id, else its index, else the order."""
        if id in self._by_id:
            return self._by_id[id]
        numbered = isinstance(index, int)
        known = self._by_index.get(index) if numbered else None
        if not numbered and self._calls:
            known = self._calls[-1]
        if known is not None and not _begins_another(known, id, name):
            return known
        call = _PartialCall(len(self._calls))
        self._calls.append(call)
        if numbered:
            self._by_index[index] = call
        return call


def _begins_another(known: _PartialCall, id: str, name: str) -> bool:
    """Return whether a piece starts a new call, though it comes in the place of a known one.

    A name alone may be the known one repeated, unless that call is whole already.
    """
    if not name or not known.name:
        return False
    return bool(id) or name != known.name or known.is_whole
