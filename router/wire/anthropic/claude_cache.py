"""Marks in a request up to which Claude may cache the prompt.

By default Claude marks the end of the prompt itself (`cache_control` of the request), so that the
next turn finds this one. Callers may mark a part of a message: with Claude's `cache_control`, or
with OpenAI's `prompt_cache_breakpoint`, whose lifetime is at least half an hour.
Source: Anthropic API reference, "Prompt caching"; OpenAI API reference, "Prompt caching".
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

Block = dict[str, Any]

MOST_MARKS: Final = 4
"""Limit of one request, including the automatic mark."""
_SHORT: Final[Block] = {"type": "ephemeral"}
_LONG: Final[Block] = {"type": "ephemeral", "ttl": "1h"}
"""Claude caches a prompt for five minutes or for an hour."""


def mark_of(part: Mapping[str, Any]) -> Block | None:
    """Return the mark that a part of a message or a tool asks for."""
    if isinstance(mark := part.get("cache_control"), dict):
        return mark
    return _LONG if isinstance(part.get("prompt_cache_breakpoint"), dict) else None


def automatic_mark(body: Mapping[str, Any], blocks: Iterable[Block]) -> Block | None:
    """Return the mark of the whole request; None if the caller sets its own or wants none.

    `blocks`: all blocks that may carry a mark, in the order of the prompt. If there are too many
    marks, the earliest are removed.
    """
    marked = [block for block in blocks if "cache_control" in block]
    options = body.get("prompt_cache_options")
    options = options if isinstance(options, dict) else {}
    callers = any(block["cache_control"] is not _LONG for block in marked)
    automatic = None
    if options.get("mode") != "explicit" and not callers:
        automatic = _LONG if options.get("ttl") else _SHORT
    most = MOST_MARKS - (automatic is not None)
    for block in marked[: max(0, len(marked) - most)]:
        del block["cache_control"]
    return automatic
