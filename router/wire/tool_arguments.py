"""Arguments of tool calls as the pieces of a stream, joined to valid JSON."""

from typing import Final

_NULL: Final = "null"


class ArgumentsReader:
    """Passes the pieces of one call's arguments on.

    Models that call a tool without arguments send nothing, blanks or `null`: all mean `{}`.
    Such pieces wait until something else follows or the call ends.
    """

    __slots__ = ("_has_passed", "_held")

    def __init__(self) -> None:
        self._held = ""
        self._has_passed = False

    def feed(self, piece: str) -> str:
        """Return what can be passed on once this piece is here."""
        if self._has_passed:
            return piece
        self._held += piece
        if _NULL.startswith(self._held.strip()):
            return ""
        self._has_passed = True
        held, self._held = self._held, ""
        return held

    def end(self) -> str:
        """Return what is left at the end of the call: `{}` if there were no arguments.

        Blanks, or the start of `null` in a call that was cut off, are left out.
        """
        if self._has_passed:
            return ""
        self._has_passed = True
        return "{}"
