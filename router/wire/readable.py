"""Collects the readable texts in parts of a request whose type is unknown."""

from typing import Any, Final

_READABLE: Final = frozenset(
    {"title", "url", "source", "text", "content", "stdout", "stderr", "tool_name", "summary"}
    | {"output", "message"}
)
"""Fields with text that a model can use, in parts of any type."""
_UNREADABLE: Final = frozenset({"cache_control", "input", "citations"})


def texts_in(value: Any) -> list[str]:
    """Return the readable texts of a part, in order: search results, output of code…"""
    if isinstance(value, list):
        return [text for item in value for text in texts_in(item)]
    if not isinstance(value, dict):
        return []
    texts: list[str] = []
    for key, field in value.items():
        if isinstance(field, str):
            texts += [field] if field and key in _READABLE else []
        elif key not in _UNREADABLE:
            texts += texts_in(field)
    return texts
