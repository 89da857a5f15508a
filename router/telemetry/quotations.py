"""Finds words of a request in an error message, since some servers quote what they refuse."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

QUOTED_CHARS: Final = 16
"""Size of the pieces of a message that are looked for, at steps of half of it.

So 23 characters of a request are found wherever they stand, and 16 to 22 by chance.
"""
SHORT_CHARS: Final = 3
"""A text of WORDS is also recognised as a whole, from this length on."""
WORDS: Final = frozenset(
    {"arguments", "content", "input", "instructions", "prompt", "system", "text", "thinking"}
)
"""Fields that hold what was said, which may begin with anything."""
NO_WORDS: Final = frozenset(
    {"call_id", "data", "file_data", "id", "model", "name", "role", "tool_call_id", "tool_use_id"}
    | {"type"}
)
"""Fields of names and files, which a message may repeat."""

DATA_URL_HEAD_CHARS: Final = 200
"""Where ";base64," stands in a data URL. One without it holds a readable text."""


def quotes(message: str, *bodies: Mapping[str, Any]) -> bool:
    """Return whether an error message repeats some of a request, in any of its forms."""
    pieces = [message[at : at + QUOTED_CHARS] for at in range(0, len(message), QUOTED_CHARS // 2)]
    pieces = [piece for piece in pieces if len(piece) == QUOTED_CHARS]
    for field, raw in _texts(bodies):
        text = raw.strip()
        least = SHORT_CHARS if field in WORDS else QUOTED_CHARS
        if least <= len(text) < 2 * QUOTED_CHARS and text in message:
            return True
        if any(piece in text for piece in pieces):
            return True
    return False


def _texts(bodies: tuple[Mapping[str, Any], ...]) -> Iterator[tuple[str, str]]:
    """Yield the field and the value of each text, also of those in a tool call's arguments."""
    left: list[tuple[str, Any]] = [("", body) for body in bodies]
    while left:
        field, value = left.pop()
        match value:
            case str() if field in WORDS or not _is_file(value):
                yield field, value
                if field == "arguments":
                    left.append(("", _parsed(value)))
            case dict():
                left += [pair for pair in value.items() if not _is_name(*pair)]
            case list():
                left += [(field, item) for item in value]


def _is_file(value: str) -> bool:
    return value.startswith("data:") and ";base64," in value[:DATA_URL_HEAD_CHARS]


def _is_name(field: str, value: Any) -> bool:
    return field in NO_WORDS and isinstance(value, str)


def _parsed(arguments: str) -> Any:
    """Return arguments with their escapes resolved; None if they are no JSON."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return None
