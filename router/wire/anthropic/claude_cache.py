"""Where Claude is told that a prompt may be read from its cache.

By default it marks the end of the prompt by itself (`cache_control` of the request), so that the
next turn finds this one. Callers may set marks of their own on a part of a message: Claude's
`cache_control`, or OpenAI's `prompt_cache_breakpoint`, whose lifetime is at least half an hour.
Source: Anthropic API reference, "Prompt caching"; OpenAI API reference, "Prompt caching".
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

Block = dict[str, Any]

MOST_MARKS: Final = 4
"""In one request, the automatic one included; one more is refused."""
_SHORT: Final[Block] = {"type": "ephemeral"}
_LONG: Final[Block] = {"type": "ephemeral", "ttl": "1h"}
"""Claude keeps a prompt for five minutes or for an hour."""


def mark_of(part: Mapping[str, Any]) -> Block | None:
    """The mark that a part of a message or a tool asks for."""
    if isinstance(mark := part.get("cache_control"), dict):
        return mark
    return _LONG if isinstance(part.get("prompt_cache_breakpoint"), dict) else None


def automatic_mark(body: Mapping[str, Any], blocks: Iterable[Block]) -> Block | None:
    """The mark of the whole request: none where the caller sets its own or wants none.

    `blocks`: all that may carry one, in the order of the prompt; the earliest are taken off
    where there are too many.
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
