"""Recorded Claude streams, and the events that each must decode to."""

from router.events import (
    Event,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from tests.support import paths

RECORDINGS = paths.RECORDINGS / "claude"
FIRST_THOUGHTS = [
    {
        "type": "thinking",
        "thinking": "Two and two is four.",
        "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h",
    },
    {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix"},
    {"type": "text", "text": "Let me check."},
    {"type": "thinking", "thinking": "", "signature": "Sig2"},
    {"type": "text", "text": "Calling now."},
]
BRIEF = Usage(25, 2)
SAID: dict[str, list[Event]] = {
    "text": [TextDelta("Grüß"), TextDelta(" Gott 👋"), Finish("stop", Usage(25, 15))],
    "empty": [Finish("stop", Usage(25, 1))],
    "stop_sequence": [TextDelta("one two"), Finish("stop", Usage(25, 3))],
    "max_tokens": [TextDelta("Once upon"), Finish("length", BRIEF)],
    "context_window": [TextDelta("Once upon"), Finish("length", BRIEF)],
    "cached": [
        TextDelta("Again."),
        Finish("stop", Usage(2307, 40, 2000, cache_write_tokens=300, reasoning_tokens=30)),
    ],
    "tool_calls": [
        TextDelta("Okay, "),
        TextDelta("let me look."),
        ToolCallStart(
            0,
            "toolu_01T1x1fJ34qAmk2tNTrN7Up6",
            "get_weather",
            {"before": [{"type": "text", "text": "Okay, let me look."}]},
        ),
        ToolCallDelta(0, '{"location":'),
        ToolCallDelta(0, ' "San Fra'),
        ToolCallDelta(0, 'ncisco, \\"CA\\""}'),
        ToolCallStart(1, "toolu_02", "now"),
        ToolCallDelta(1, "{}"),
        ToolCallStart(2, "toolu_03", "whole"),
        ToolCallDelta(2, '{"unit":"°C","n":[1,2]}'),
        Finish("tool_calls", Usage(472, 89)),
    ],
    "thinking": [
        ReasoningDelta("Two and two"),
        ReasoningDelta(" is four."),
        TextDelta("Let me check."),
        TextDelta("\n\n"),
        TextDelta("Calling now."),
        ToolCallStart(0, "toolu_a", "add", {"before": FIRST_THOUGHTS}),
        ToolCallDelta(0, '{"a": 2}'),
        ToolCallStart(1, "toolu_b", "add"),
        ToolCallDelta(1, '{"a": 3}'),
        Finish("tool_calls", Usage(25, 89, reasoning_tokens=21)),
    ],
    "refusal": [
        TextDelta("I could"),
        RefusalDelta("This could help make something harmful."),
        Finish("content_filter", Usage(25, 3)),
    ],
    "refusal_unexplained": [
        RefusalDelta("Claude declined to answer."),
        Finish("content_filter", Usage(25, 1)),
    ],
    "pause": [TextDelta("Searching"), Finish("stop", Usage(25, 3))],
    "citations": [
        TextDelta("The sky is blue."),
        TextDelta(" [Sky, p. 3-4] [document, p. 1] [Notes] [Blue](https://example.com/blue) [kb]"),
        TextDelta(" Always."),
        Finish("stop", Usage(25, 9)),
    ],
    "unknown": [TextDelta("Done."), Finish("stop", Usage(25, 9))],
    "llama_cpp_tool_call": [
        ToolCallStart(0, "vMWkHUCf8L36Rwyg6w4QOGVDKwjAxexa", "get_weather"),
        *(ToolCallDelta(0, piece) for piece in ("{", '"', "city", '":', ' "', "Paris", '"', "}")),
        Finish("tool_calls", Usage(315, 31)),
    ],
    "windows_lines": [TextDelta("a\n\nb"), Finish("stop", BRIEF)],
}
FAILING = {"overloaded": [TextDelta("Half")], "overloaded_at_once": []}


def recorded(name: str) -> bytes:
    return (RECORDINGS / f"{name}.sse").read_bytes()
