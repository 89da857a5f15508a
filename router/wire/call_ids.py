"""Ids of the tool calls in a conversation: made unique, and matched with their results.

Both classes take time in proportion to the number of calls, whatever ids the caller sends.
"""

from collections import deque


class UniqueIds:
    """Gives out ids that differ; some servers start at call_0 in every answer."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next_number: dict[str, int] = {}

    def make(self, wanted: str) -> str:
        """Return the wanted id if it is free, else the id with a number behind it."""
        made, number = wanted, self._next_number.get(wanted, 2)
        while made in self._taken:
            made = f"{wanted}_{number}"
            number += 1
        self._next_number[wanted] = number
        self._taken.add(made)
        return made


class OpenCalls:
    """The tool calls of one step that wait for their results, in order."""

    def __init__(self) -> None:
        self._order: deque[str] = deque()
        self._by_caller: dict[str, deque[str]] = {}
        self._open: set[str] = set()

    def add(self, caller_id: str, id: str) -> None:
        """Add a call. `caller_id` may be empty or that of an earlier call; `id` is unique."""
        self._order.append(id)
        self._by_caller.setdefault(caller_id, deque()).append(id)
        self._open.add(id)

    def take(self, caller_id: object) -> str | None:
        """Return the unique id of the call that a result answers, and close the call.

        A result without an id answers the first open call. None if there is no such call.
        """
        named = self._by_caller.get(caller_id) if isinstance(caller_id, str) else None
        for waiting in (named, None if caller_id else self._order):
            while waiting:
                if (id := waiting.popleft()) in self._open:
                    self._open.remove(id)
                    return id
        return None
