"""Random answers for property tests, what a caller should receive of them, and the order of
messages that strict chat templates require.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from router.events import (
    Event,
    Finish,
    FinishReason,
    Logprobs,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)

words = st.text(max_size=8) | st.sampled_from(['"', "\n\ndata: [DONE]\n\n", "\u2028", "\\", "😀"])
counts = st.integers(0, 10**7)
tokens = st.builds(TokenLogprob, words, st.floats(-9, 0))
usages = st.builds(Usage, counts, counts, counts, counts, counts)


@dataclass(slots=True)
class Heard:
    """An answer, joined from its events."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tokens: list[str] = field(default_factory=list)
    """Tokens with a log probability."""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    """id, name, arguments"""
    reason: FinishReason | None = None
    usage: Usage | None = None


def heard(events: list[Event]) -> Heard:
    whole = Heard()
    for event in events:
        match event:
            case TextDelta(text):
                whole.text += text
            case ReasoningDelta(text):
                whole.reasoning += text
            case RefusalDelta(text):
                whole.refusal += text
            case Logprobs(tokens):
                whole.tokens += [token.token for token in tokens]
            case ToolCallStart(index, id, name):
                assert index == len(whole.calls)
                whole.calls.append((id, name, ""))
            case ToolCallDelta(index, arguments):
                id, name, before = whole.calls[index]
                whole.calls[index] = (id, name, before + arguments)
            case Finish(reason, usage):
                assert whole.reason is None
                whole.reason, whole.usage = reason, usage
    return whole


arguments = st.dictionaries(st.text("ab", max_size=2), words | counts, max_size=2).map(
    lambda value: json.dumps(value, ensure_ascii=False)
)


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """Return a sequence of events that keeps the rules of `router.events`; calls may interleave."""
    events: list[Event] = []
    to_come: list[str] = []
    kinds = ["text", "logprobs", "reasoning", "refusal", "call", "more"]
    for kind in draw(st.lists(st.sampled_from(kinds))):
        match kind:
            case "text":
                events.append(TextDelta(draw(words)))
            case "logprobs":
                said = draw(st.builds(TokenLogprob, words, st.just(-1.0), st.tuples(tokens)))
                events.append(Logprobs((said, *draw(st.lists(tokens, max_size=1)))))
            case "reasoning":
                events.append(ReasoningDelta(draw(words)))
            case "refusal":
                events.append(RefusalDelta(draw(words)))
            case "call":
                index = len(to_come)
                name = draw(st.text("abc_", min_size=1, max_size=5))
                events.append(ToolCallStart(index, f"call_{index}", name))
                to_come.append(draw(arguments))
            case "more" if to_come:
                index = draw(st.integers(0, len(to_come) - 1))
                size = draw(st.integers(0, len(to_come[index])))
                events.append(ToolCallDelta(index, to_come[index][:size]))
                to_come[index] = to_come[index][size:]
    reason: FinishReason = draw(
        st.sampled_from(["tool_calls" if to_come else "stop", "length", "content_filter"])
    )
    if reason == "tool_calls":
        events += [ToolCallDelta(index, rest) for index, rest in enumerate(to_come)]
    return [*events, Finish(reason, draw(st.none() | usages))]


def assert_any_template_takes(messages: list[dict[str, Any]]) -> None:
    """Check: one system message, in front; turns alternate; results follow their calls."""
    roles = [message["role"] for message in messages]
    assert "system" not in roles[1:]
    assert "developer" not in roles
    waiting: set[str] = set()
    for before, message in zip([None, *messages], messages, strict=False):
        if message["role"] == "tool":
            assert message["tool_call_id"] in waiting
            waiting.remove(message["tool_call_id"])
            assert isinstance(message["content"], str)
        else:
            assert not waiting
            assert before is None or before["role"] != message["role"]
            waiting = {call["id"] for call in message.get("tool_calls", ())}
