"""Parts of the program that outlive a reading of the settings."""

from collections.abc import Callable
from typing import Any, TypeVar

Part = TypeVar("Part")


class Parts:
    """Keeps each part until the values that it is made of change.

    So a connection, a queue or a loaded model stays while its own settings are unchanged.
    """

    def __init__(self, before: "Parts | None" = None) -> None:
        self._before: dict[str, tuple[object, Any]] = before._made if before is not None else {}
        self._made: dict[str, tuple[object, Any]] = {}

    def get(self, name: str, made_of: object, make: Callable[[], Part]) -> Part:
        """Return the earlier part of this name if it was made of the same, else a new one."""
        known = self._before.get(name)
        made = known if known is not None and known[0] == made_of else (made_of, make())
        self._made[name] = made
        part: Part = made[1]
        return part

    def settle(self) -> None:
        """Forget the earlier parts, once every part that is needed was asked for."""
        self._before = {}
