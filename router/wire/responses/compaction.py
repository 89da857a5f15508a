"""Summaries of conversations that Codex and other clients of OpenAI ask for.

A request asks for one by an item of type `compaction_trigger`; the answer is one item of type
`compaction`, which the client sends back in place of the turns before it. OpenAI encrypts its own
summaries. The router's are plain text with a mark in front, so that the privacy scan and every
model can read them. The mark says whether the conversation was private. If it was, a conversation
that continues from the summary is private too.
"""

from collections.abc import Mapping
from typing import Any, Final

from router.request import SUMMARY_HEADING

TRIGGER: Final = "compaction_trigger"
ITEM: Final = "compaction"
INSTRUCTION: Final = """\
Your context is nearly full. Write a summary from which another model can go on with this work \
without the conversation. Say what the user wants, in the user's own words where they matter; what \
was decided and why; what is done, with the names of files, functions and commands; what was found \
out or failed; and the next steps. Leave out what is settled and no longer needed. Answer with the \
summary only, and call no tool."""

_MARK: Final = "llm-router summary, version 1\n"
_PRIVATE_MARK: Final = "llm-router summary of a private conversation, version 1\n"


def asks_for_summary(body: Mapping[str, Any]) -> bool:
    """Return whether the input of a Responses body ends with a trigger."""
    items = body.get("input")
    last = items[-1] if isinstance(items, list) and items else None
    return isinstance(last, dict) and last.get("type") == TRIGGER


def item_of(summary: str, id: str, *, is_private: bool) -> dict[str, Any]:
    """Return the item that holds a summary."""
    mark = _PRIVATE_MARK if is_private else _MARK
    return {"id": id, "type": ITEM, "encrypted_content": mark + summary}


def private_summary_in(item: Any) -> str:
    """Return the summary of a private conversation; "" for any other item."""
    text = item.get("encrypted_content") if isinstance(item, dict) else None
    if not isinstance(text, str) or not text.startswith(_PRIVATE_MARK):
        return ""
    return text.removeprefix(_PRIVATE_MARK)


def summary_in(item: Mapping[str, Any]) -> str:
    """Return the text for a summary that the router made; "" for any other item."""
    text = item.get("encrypted_content")
    if item.get("type") != ITEM or not isinstance(text, str):
        return ""
    summary = private_summary_in(item)
    if not summary and text.startswith(_MARK):
        summary = text.removeprefix(_MARK)
    return summary and SUMMARY_HEADING + summary
