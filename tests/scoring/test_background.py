import timeit
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
import pytest

from router.request import ChatRequest
from router.scoring.background import FINGERPRINTS, Fingerprint, background_kind
from router.wire.anthropic import messages
from router.wire.chat import completions
from router.wire.responses import responses
from tests.support.clients import RECORDINGS, recorded

PARSERS: dict[str, Callable[[bytes], ChatRequest]] = {
    "/v1/chat/completions": completions.parse,
    "/v1/responses": responses.parse,
    "/v1/messages": messages.parse,
}
# A person waits for these, and the rest of the work depends on them.
COMPACTIONS = {"claude-code-compact", "codex-compact"}


def chat(*texts: str, system: str | None = None, **fields: Any) -> ChatRequest:
    """A conversation in which user and assistant take turns."""
    said = [
        {"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(texts)
    ]
    head = [] if system is None else [{"role": "system", "content": system}]
    return ChatRequest({"messages": [*head, *said], **fields})


TOOL = {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDINGS.glob("*.json")))
def test_recorded_background_requests_are_recognised(name: str) -> None:
    recording = recorded(name)
    path = recording["path"].partition("?")[0]
    if path not in PARSERS:
        pytest.skip("a path without a parser of its own")
    request = PARSERS[path](orjson.dumps(recording["body"]))
    expected = None if name in COMPACTIONS else recording["background"]
    assert background_kind(request) == expected


@pytest.mark.parametrize("print_", FINGERPRINTS, ids=lambda p: f"{p.client} {p.kind}")
def test_each_fingerprint_is_recognised(print_: Fingerprint) -> None:
    prompt = f"{print_.start} and so on.\n{print_.besides}\nHere it is."
    if print_.where == "system":
        assert background_kind(chat("words", system=prompt)) == print_.kind
        assert background_kind(chat("words", system=f"You are X.\n\n{prompt}")) == print_.kind
        assert background_kind(chat("words", system=prompt, tools=[TOOL])) is None
    else:
        parts = [{"type": "text", "text": "<note>"}, {"type": "text", "text": prompt}]
        in_parts = ChatRequest({"messages": [{"role": "user", "content": parts}]})
        assert background_kind(chat(prompt)) == print_.kind
        assert background_kind(in_parts) == print_.kind


@pytest.mark.parametrize("print_", FINGERPRINTS, ids=lambda p: f"{p.client} {p.kind}")
def test_a_person_who_quotes_one_of_these_is_a_person(print_: Fingerprint) -> None:
    quote = f'What does "{print_.start} {print_.besides}" mean, and why does it not work?'
    assert background_kind(chat(quote)) is None
    assert background_kind(chat("hi", "hello", quote, system="You are helpful.")) is None
    if print_.where == "system":
        assert background_kind(chat(f"{print_.start} {print_.besides}")) is None
        later = f"You are helpful. {'Be kind. ' * 300}\n\n{print_.start} {print_.besides}"
        assert background_kind(chat("hi", system=later)) is None


@pytest.mark.parametrize(
    "print_", [p for p in FINGERPRINTS if p.where == "user"], ids=lambda p: p.client
)
def test_only_the_last_words_count_and_only_without_tools(print_: Fingerprint) -> None:
    prompt = f"{print_.start} and so on. {print_.besides}"
    assert background_kind(chat(prompt, "An answer", "thanks, and now?")) is None
    assert (background_kind(chat(prompt, tools=[TOOL])) is not None) == print_.in_conversation
    long = chat("a", "b", "c", "d", prompt)
    assert (background_kind(long) is not None) == print_.in_conversation
    result = {"role": "tool", "tool_call_id": "1", "content": "ok"}
    assert background_kind(ChatRequest({"messages": [*chat(prompt).messages, result]})) is None


@pytest.mark.parametrize(
    "text",
    [
        "write a title for my essay",
        "Generate a title for this conversation",
        "Generate a concise title for the following content:\n\nThe quick brown fox",
        "Generate a concise title summarizing the chat history.",
        "Give me a 3-7 word title for this conversation",
        "write a commit message for this diff:\n```diff\n+x\n```",
        "You are an expert at writing Git commits, I hear. Is that so?",
        "Suggest 3-5 relevant follow-up questions for my interview",
        "### Task:\nSort this list\n### Guidelines:\n- ascending",
        "### Task:\nGenerate a concise title summarizing the chat history of our town",
        "Generate tags for this blog post",
        "Summarize this conversation",
        "quota",
        "What is my quota?",
        "Analyze if this message indicates a new conversation topic: hello",
        "Based on the chat history, give this conversation a name.",
        "Please write a title for the following conversation",
        "",
        " ",
    ],
)
def test_people_ask_for_such_things_too(text: str) -> None:
    assert background_kind(chat(text)) is None
    assert background_kind(chat("hi", "hello", text, system="You are helpful.")) is None
    assert background_kind(chat(text, max_tokens=200)) is None


def probe(limit: str, tokens: int) -> dict[str, Any]:
    return {limit: tokens}


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("word", ["quota", "count"])
def test_a_quota_probe_is_one_word_for_one_token(limit: str, word: str) -> None:
    assert background_kind(chat(word, **probe(limit, 1))) == "quota"
    in_parts = [{"role": "user", "content": [{"type": "text", "text": word}]}]
    assert background_kind(ChatRequest({"messages": in_parts, limit: 1})) == "quota"
    assert background_kind(chat(word, **probe(limit, 2))) is None
    assert background_kind(chat(f"my {word}", **probe(limit, 1))) is None


@pytest.mark.parametrize(
    "content",
    [None, "", [], [{"type": "image_url"}], [{"type": "text", "text": None}], [{"type": "text"}]],
)
@pytest.mark.parametrize("role", ["user", "system", "assistant", "tool"])
def test_messages_without_text_are_no_trouble(content: Any, role: str) -> None:
    assert background_kind(ChatRequest({"messages": [{"role": role, "content": content}]})) is None


def test_it_takes_microseconds_whatever_the_size() -> None:
    human = "Please explain. " * 100_000
    turns = ["question", "answer"] * 500
    requests = (
        chat(human),
        chat(*turns, human, system=human, tools=[TOOL]),
        chat("hi", system=human),
        chat(*turns, "hi", system=human),
        chat(FINGERPRINTS[-1].start),
    )
    for request in requests:
        rounds = timeit.repeat(partial(background_kind, request), number=100, repeat=5)
        assert min(rounds) / 100 < 100e-6


SAFETY_CHECK = "You are a security monitor for autonomous AI coding agents.\n\n## Context"


@pytest.mark.parametrize(
    ("system", "kind"),
    [
        (None, "auxiliary"),
        ("You answer questions about a web page.", "auxiliary"),
        (f"{FINGERPRINTS[0].start} of a {FINGERPRINTS[0].besides}", "auxiliary"),
        (SAFETY_CHECK, None),
    ],
)
def test_what_a_client_calls_auxiliary_is_background_but_no_safety_check(
    system: str | None, kind: str | None
) -> None:
    request = replace(chat("Judge this.", system=system), purpose="background")
    assert background_kind(request) == kind
