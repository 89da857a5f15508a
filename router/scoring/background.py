"""Recognises background requests of programs: titles, tags, commit messages, quota probes.

No person waits for them and any model is good enough, so they stay local, behind requests of
people. They are recognised by a few words at the beginning of the system prompt or of the last user
message, which the program always sends and a person hardly writes. Requests whose result must be
good, and for which a person waits, do not count: compacting a conversation (Claude Code, Codex),
merging several answers (Open WebUI), and the work of sub-agents.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

from router.request import ChatRequest

MOST_CHARS: Final = 4000
"""Characters of a text in which `besides` is looked for."""
MOST_SYSTEM_CHARS: Final = 1200
"""Characters of a system prompt in which `start` is looked for."""
MOST_PARTS: Final = 8
MOST_MESSAGES: Final = 4
"""A background request outside its conversation has at most this many messages."""

CAPTURED: Final = "captured 2026-11-22"
SOURCE: Final = "published source, 2026-11"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The words by which a client's background request is recognised."""

    kind: str
    client: str
    seen: str
    """How and when it was found: captured from the running client, or in its published source."""
    where: Literal["system", "user"]
    """Where `start` is: at the beginning of a paragraph of the system prompt, or of the last user
    message."""
    start: str
    besides: str = ""
    """Further text that must follow."""
    in_conversation: bool = False
    """The request is the conversation itself with one more message, and has its tools."""


FINGERPRINTS: Final = (
    Fingerprint(
        "title",
        "Claude Code 2.1.197",
        CAPTURED,
        "system",
        "Generate a concise, sentence-case title (3-7 words)",
        "coding session",
    ),
    Fingerprint(
        "title",
        "Claude Code 2.1.332",
        "captured 2026-11-30",
        "system",
        "You are naming a coding session so the user can pick it out of a long list of sessions.",
    ),
    Fingerprint(
        "suggestion",
        "Claude Code 2.1",
        "quoted in public projects, 2026",
        "user",
        "[SUGGESTION MODE: Suggest what the user might",
        in_conversation=True,
    ),
    Fingerprint(
        "topic",
        "Claude Code 1, 2.0",
        "quoted in public projects, 2025",
        "system",
        "Analyze if this message indicates a new conversation topic",
        "isNewTopic",
    ),
    Fingerprint(
        "title",
        "Claude Code 1, 2.0",
        "quoted in public projects, 2025",
        "user",
        "Please write a 5-10 word title for the following conversation:",
    ),
    Fingerprint(
        "title",
        "Codex CLI 0.169.0",
        CAPTURED,
        "user",
        "Generate a concise, single-line task title of at most",
        "\n\nUser prompt:\n",
    ),
    Fingerprint(
        "commit",
        "aider 0.86.2",
        CAPTURED,
        "system",
        "You are an expert software engineer that generates concise, one-line Git commit messages",
    ),
    Fingerprint(
        "summary",
        "aider 0.86.2, old part of the history, in the background",
        CAPTURED,
        "system",
        "*Briefly* summarize this partial conversation about programming.",
    ),
    Fingerprint(
        "title",
        "opencode 1.18.33",
        CAPTURED,
        "system",
        "You are a title generator. You output ONLY a thread title.",
    ),
    Fingerprint(
        "title", "gptme 0.35.1", CAPTURED, "system", "Generate concise conversation titles."
    ),
    Fingerprint(
        "title",
        "Open WebUI 0.12.4",
        CAPTURED,
        "user",
        "### Task:\nGenerate a concise title summarizing the chat history.",
        "<chat_history>",
    ),
    Fingerprint(
        "title",
        "Open WebUI 0.5, 0.6",
        SOURCE,
        "user",
        "### Task:\nGenerate a concise, 3-5 word title with an emoji",
        "<chat_history>",
    ),
    Fingerprint(
        "tags",
        "Open WebUI 0.12.4",
        CAPTURED,
        "user",
        "### Task:\nGenerate 1-3 broad tags categorizing the main themes",
        "<chat_history>",
    ),
    Fingerprint(
        "follow_ups",
        "Open WebUI 0.12.4",
        CAPTURED,
        "user",
        "### Task:\nPredict 3-5 useful messages this user might naturally send next",
        "<chat_history>",
    ),
    Fingerprint(
        "follow_ups",
        "Open WebUI 0.6",
        SOURCE,
        "user",
        "### Task:\nSuggest 3-5 relevant follow-up questions or prompts",
        "<chat_history>",
    ),
    Fingerprint(
        "queries",
        "Open WebUI 0.12.4",
        CAPTURED,
        "user",
        "### Task:\nAnalyze the chat history to determine the necessity of generating search",
        "<chat_history>",
    ),
    Fingerprint(
        "emoji",
        "Open WebUI 0.12.4",
        CAPTURED,
        "user",
        "Your task is to reflect the speaker's likely facial expression through a fitting emoji.",
    ),
    Fingerprint(
        "autocomplete",
        "Open WebUI 0.12.4",
        SOURCE,
        "user",
        "### Task:\nYou are an autocompletion system. Continue the text in `<text>`",
    ),
    Fingerprint(
        "title",
        "LibreChat 0.8",
        SOURCE,
        "user",
        "Provide a concise, 5-word-or-less title for the conversation, using",
        "return the title itself",
    ),
    Fingerprint(
        "title",
        "Continue 1, editor extension",
        SOURCE,
        "user",
        "Given the following",
        "please reply with a title for the chat that is 3-4 words",
    ),
    Fingerprint(
        "title", "goose 1", SOURCE, "system", "Reply with only a description in four words or less"
    ),
    Fingerprint(
        "title",
        "VS Code Copilot Chat",
        SOURCE,
        "system",
        "You are an expert in crafting pithy titles for chatbot conversations.",
    ),
    Fingerprint(
        "commit",
        "VS Code Copilot Chat",
        SOURCE,
        "system",
        "You are an AI programming assistant, helping a software developer to come with the best "
        "git commit message",
    ),
    Fingerprint(
        "title",
        "Zed",
        SOURCE,
        "user",
        "Generate a concise 3-7 word title for this conversation, omitting punctuation.",
        in_conversation=True,
    ),
    Fingerprint(
        "commit",
        "Zed",
        SOURCE,
        "user",
        "You are an expert at writing Git commits. Your job is to write a short clear commit",
    ),
    Fingerprint(
        "title",
        "Crush",
        SOURCE,
        "user",
        "Generate a concise title for the following content:\n\n",
        "<think>\n\n</think>",
    ),
    Fingerprint(
        "title",
        "LobeChat",
        SOURCE,
        "system",
        "You are a professional conversation summarizer. Generate a concise title",
    ),
    Fingerprint(
        "title",
        "Chatbox",
        SOURCE,
        "user",
        "Based on the chat history, give this conversation a name.\nKeep it short",
    ),
)

SAFETY_CHECKS: Final = ("You are a security monitor for autonomous AI coding agents.",)
"""Beginnings of system prompts that judge an agent's commands. The user relies on the answer, so
this is no background work, though Claude Code 2.1.332 calls it auxiliary (captured 2026-11-30)."""

_SYSTEM: Final = tuple(f for f in FINGERPRINTS if f.where == "system")
_USER: Final = tuple(f for f in FINGERPRINTS if f.where == "user")
_USER_STARTS: Final = tuple(f.start for f in _USER)


def background_kind(request: ChatRequest) -> str | None:
    """Return the kind of a background request ("title", "tags", "commit"…); None for others.

    "auxiliary": the client declares it as background work, without a kind.
    """
    if request.purpose == "background" and not _is_safety_check(request):
        return "auxiliary"
    if _is_quota_probe(request):
        return "quota"
    for text in _last_user_texts(request.messages):
        if text.startswith(_USER_STARTS):
            for print_ in _USER:
                if text.startswith(print_.start) and _fits(print_, text, request):
                    return print_.kind
    if request.tools or len(request.messages) > MOST_MESSAGES:
        return None
    for text in _system_texts(request.messages):
        head = "\n\n" + text[:MOST_SYSTEM_CHARS]
        for print_ in _SYSTEM:
            if f"\n\n{print_.start}" in head and _fits(print_, text, request):
                return print_.kind
    return None


def _is_safety_check(request: ChatRequest) -> bool:
    """Return whether the answer decides if an agent may carry out a command."""
    return any(text.startswith(SAFETY_CHECKS) for text in _system_texts(request.messages))


def _fits(print_: Fingerprint, text: str, request: ChatRequest) -> bool:
    if not print_.in_conversation and (request.tools or len(request.messages) > MOST_MESSAGES):
        return False
    return print_.besides in text[:MOST_CHARS] or print_.besides in text[-MOST_SYSTEM_CHARS:]


def _is_quota_probe(request: ChatRequest) -> bool:
    """Return whether Claude Code 1 or 2.0 asks for one token at its start to see its quota."""
    if request.max_tokens != 1 or len(request.messages) != 1:
        return False
    return next(_texts(request.messages[0]), "") in ("quota", "count")


def _last_user_texts(messages: list[dict[str, Any]]) -> Iterator[str]:
    """Return the texts of the last user message; none if other than system messages follow."""
    for message in messages[: -MOST_MESSAGES - 1 : -1]:
        if message["role"] == "user":
            return _texts(message)
        if message["role"] not in ("system", "developer"):
            break
    return iter(())


def _system_texts(messages: list[dict[str, Any]]) -> Iterator[str]:
    for message in messages[:MOST_MESSAGES]:
        if message["role"] in ("system", "developer"):
            yield from _texts(message)


def _texts(message: dict[str, Any]) -> Iterator[str]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in islice(content, MOST_PARTS):
            text = part.get("text")
            if isinstance(text, str):
                yield text
