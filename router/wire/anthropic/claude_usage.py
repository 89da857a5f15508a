"""Claude's token counts as Usage."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from router.events import Usage
from router.wire.fields import count


def counted(counts: Mapping[str, Any], usage: Any) -> dict[str, Any]:
    """Return the counts so far, updated by the usage of one more event; null changes nothing."""
    more = usage if isinstance(usage, Mapping) else {}
    return {**counts, **{name: value for name, value in more.items() if value is not None}}


def usage_of(counts: Any) -> Usage | None:
    """Return Claude's token counts as Usage; None without them.

    Claude's input_tokens leave out cached tokens. The counts at the top are those of the answer;
    `iterations` also lists other work that is billed: compactions, attempts of a model that
    refused before a fallback answered, and advisors. If it is there, its sum counts; some of its
    entries name another model.
    """
    if not isinstance(counts, Mapping) or type(counts.get("output_tokens")) is not int:
        return None
    iterations = counts.get("iterations")
    entries = iterations if isinstance(iterations, list) else []
    billed = [one for one in entries if isinstance(one, Mapping)]
    thoughts = count(counts.get("output_tokens_details"), "thinking_tokens")
    total = _sum([_usage(one) for one in billed])
    answer = _usage(counts)
    if total.total_tokens < answer.total_tokens:  # missing, or without the answer itself
        return replace(answer, reasoning_tokens=thoughts)
    others = tuple(
        (one["model"], _usage(one)) for one in billed if isinstance(one.get("model"), str)
    )
    return replace(total, reasoning_tokens=thoughts, by_model=others)


def _usage(counts: Mapping[str, Any]) -> Usage:
    cached = count(counts, "cache_read_input_tokens")
    written = count(counts, "cache_creation_input_tokens")
    return Usage(
        prompt_tokens=count(counts, "input_tokens") + cached + written,
        completion_tokens=count(counts, "output_tokens"),
        cached_tokens=cached,
        cache_write_tokens=written,
    )


def _sum(usages: list[Usage]) -> Usage:
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
        cache_write_tokens=sum(usage.cache_write_tokens for usage in usages),
    )
