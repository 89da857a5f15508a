"""A chat request as a Messages request: each row of the mapping, and conversations of any shape."""

import base64
import re
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import BackendUnfit, InvalidRequest
from router.request import ChatRequest
from router.wire import claude
from router.wire.claude_model import Abilities, abilities
from router.wire.claude_turns import CONTINUE, NO_RESULT, START
from tests.claude_rules import assert_acceptable

MODEL = "claude-sonnet-5-5"
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlE"
    "QVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PDF = base64.b64encode(b"%PDF-1.4 nothing").decode()
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
ALL = Abilities(
    max_tokens=64_000,
    images=True,
    pdfs=True,
    structured=True,
    efforts=("low", "medium", "high", "max"),
    adaptive_thinking=True,
    thinking_off=True,
)
ALWAYS_THINKING = Abilities(
    efforts=("low", "medium", "high", "xhigh", "max"),
    adaptive_thinking=True,
    thinking_off=False,
    forced_choice=False,
    structured=True,
)


BETWEEN_TOOLS = replace(ALWAYS_THINKING, between_tools=True)


def request(*messages: Any, **fields: Any) -> ChatRequest:
    body = {"model": "auto", "messages": list(messages) or [user("Hi")], **fields}
    return ChatRequest.parse(orjson.dumps(body))


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any = None, *calls: Any, **fields: Any) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": content,
        **({"tool_calls": calls} if calls else {}),
        **fields,
    }


def system(content: Any, role: str = "system") -> dict[str, Any]:
    return {"role": role, "content": content}


def call(id: Any, name: str = "weather", arguments: Any = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(id: Any, content: Any = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def text(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text} for text in texts]


def encoded(asked: ChatRequest, **options: Any) -> dict[str, Any]:
    before = orjson.dumps(asked.body)
    params = claude.encode(asked, MODEL, **{"max_tokens": 8192, **options}).params
    assert orjson.dumps(asked.body) == before  # the caller's body is never changed
    assert_acceptable(params)
    return params


def turns(*messages: Any, **options: Any) -> list[tuple[str, Any]]:
    params = encoded(request(*messages), **options)
    return [(turn["role"], turn["content"]) for turn in params["messages"]]


def dropped(**fields: Any) -> tuple[str, ...]:
    return claude.encode(request(**fields), MODEL, max_tokens=1).dropped


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    allowed = {"mode": mode, "tools": [named(name) for name in names]}
    return {"type": "allowed_tools", "allowed_tools": allowed}


# Conversations

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
USE = {"type": "tool_use", "id": "a", "name": "weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "a", "content": "ok"}
CONVERSATIONS: dict[str, tuple[list[Any], list[tuple[str, Any]]]] = {
    "one question": ([user("Hi")], [("user", text("Hi"))]),
    "parts": (
        [user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])],
        [("user", text("a", "b"))],
    ),
    "empty text is left out": (
        [user([{"type": "text", "text": ""}, {"type": "text", "text": " \n"}]), user("a")],
        [("user", text("a"))],
    ),
    "consecutive turns are one": (
        [user("a"), user("b"), assistant("c"), assistant("d"), user("e")],
        [("user", text("a", "b")), ("assistant", text("c", "d")), ("user", text("e"))],
    ),
    "an empty turn is none": (
        [user("a"), assistant(""), assistant(None), user("b")],
        [("user", text("a", "b"))],
    ),
    "the assistant begins": (
        [assistant("Welcome."), user("a")],
        [("user", text(START)), ("assistant", text("Welcome.")), ("user", text("a"))],
    ),
    "the assistant ends": (
        [user("a"), assistant("b")],
        [("user", text("a")), ("assistant", text("b")), ("user", text(CONTINUE))],
    ),
    "later system messages stay in their place": (
        [user("a"), system("Be brief."), assistant("b"), system("No.", "developer"), user("c")],
        [
            ("user", text("a", "<system>\nBe brief.\n</system>")),
            ("assistant", text("b")),
            ("user", text("<system>\nNo.\n</system>", "c")),
        ],
    ),
    "a refusal is what was said": (
        [user("a"), assistant(None, refusal="I won't."), user("b")],
        [("user", text("a")), ("assistant", text("I won't.")), ("user", text("b"))],
    ),
    "text next to a call": (
        [user("a"), assistant("b", call("a", arguments='{"city":"Ulm"}')), result("a")],
        [
            ("user", text("a")),
            ("assistant", [*text("b"), USE | {"input": {"city": "Ulm"}}]),
            ("user", [RESULT]),
        ],
    ),
    "all results of a step in one turn, in the order of the calls, ahead of text": (
        [
            user("q"),
            assistant(None, call("a"), call("b"), call("c")),
            result("c", "3"),
            user("and now?"),
            result("a", "1"),
            result("b", ""),
        ],
        [
            ("user", text("q")),
            ("assistant", [USE, USE | {"id": "b"}, USE | {"id": "c"}]),
            (
                "user",
                [
                    RESULT | {"content": "1"},
                    {"type": "tool_result", "tool_use_id": "b"},
                    RESULT | {"tool_use_id": "c", "content": "3"},
                    *text("and now?"),
                ],
            ),
        ],
    ),
    "a call without a result gets one": (
        [user("q"), assistant(None, call("a"), call("b")), result("a"), assistant("x"), user("y")],
        [
            ("user", text("q")),
            ("assistant", [USE, USE | {"id": "b"}]),
            (
                "user",
                [RESULT, RESULT | {"tool_use_id": "b", "content": NO_RESULT, "is_error": True}],
            ),
            ("assistant", text("x")),
            ("user", text("y")),
        ],
    ),
    "calls at the very end": (
        [user("q"), assistant(None, call("a"))],
        [
            ("user", text("q")),
            ("assistant", [USE]),
            ("user", [RESULT | {"content": NO_RESULT, "is_error": True}]),
        ],
    ),
    "a result without a call is told as text": (
        [user("q"), result("gone", "42"), result(None, "43")],
        [
            (
                "user",
                text(
                    "q",
                    "Result of the tool call gone:",
                    "42",
                    "Result of the tool call None:",
                    "43",
                ),
            )
        ],
    ),
    "a result that comes too late is told as text": (
        [user("q"), assistant(None, call("a")), user("w"), assistant("x"), result("a", "late")],
        [
            ("user", text("q")),
            ("assistant", [USE]),
            ("user", [RESULT | {"content": NO_RESULT, "is_error": True}, *text("w")]),
            ("assistant", text("x")),
            ("user", text("Result of the tool call a:", "late")),
        ],
    ),
    "the second result of one call is told as text": (
        [user("q"), assistant(None, call("a")), result("a"), result("a", "again")],
        [
            ("user", text("q")),
            ("assistant", [USE]),
            ("user", [RESULT, *text("Result of the tool call a:", "again")]),
        ],
    ),
    "a result that does not say of which call": (
        [user("q"), assistant(None, call("a")), {"role": "tool", "content": "ok"}],
        [("user", text("q")), ("assistant", [USE]), ("user", [RESULT])],
    ),
    "a step in two assistant messages": (
        [
            user("q"),
            assistant(None, call("a")),
            assistant("hm", call("b")),
            result("b"),
            result("a"),
        ],
        [
            ("user", text("q")),
            ("assistant", [*text("hm"), USE, USE | {"id": "b"}]),
            ("user", [RESULT, RESULT | {"tool_use_id": "b"}]),
        ],
    ),
    "ids that begin anew in every answer": (
        [
            user("q"),
            assistant(None, call("a")),
            result("a", "1"),
            assistant(None, call("a")),
            result("a", "2"),
        ],
        [
            ("user", text("q")),
            ("assistant", [USE]),
            ("user", [RESULT | {"content": "1"}]),
            ("assistant", [USE | {"id": "a_2"}]),
            ("user", [RESULT | {"tool_use_id": "a_2", "content": "2"}]),
        ],
    ),
    "ids of another alphabet": (
        [user("q"), assistant(None, call("functions.weather:0")), result("functions.weather:0")],
        [
            ("user", text("q")),
            ("assistant", [USE | {"id": "functions_weather_0_c8cf447133ca"}]),
            ("user", [RESULT | {"tool_use_id": "functions_weather_0_c8cf447133ca"}]),
        ],
    ),
    "a picture in a result": (
        [
            user("q"),
            assistant(None, call("a")),
            result(
                "a", [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]
            ),
        ],
        [("user", text("q")), ("assistant", [USE]), ("user", [RESULT | {"content": [IMAGE]}])],
    ),
    "the calls of before there were tools": (
        [
            user("q"),
            assistant(None, function_call={"name": "weather", "arguments": "{}"}),
            {"role": "function", "name": "weather", "content": "ok"},
        ],
        [
            ("user", text("q")),
            ("assistant", [USE | {"id": "weather"}]),
            ("user", [RESULT | {"tool_use_id": "weather"}]),
        ],
    ),
    "a call of a free-form tool": (
        [
            user("q"),
            assistant(None, {"id": "a", "type": "custom", "custom": {"name": "sh", "input": "ls"}}),
            result("a"),
        ],
        [
            ("user", text("q")),
            ("assistant", [USE | {"name": "sh", "input": {"_raw": "ls"}}]),
            ("user", [RESULT]),
        ],
    ),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_becomes_turns(name: str) -> None:
    messages, wanted = CONVERSATIONS[name]
    assert turns(*messages) == wanted


@pytest.mark.parametrize("role", ["system", "developer"])
def test_leading_system_messages_are_the_system_prompt(role: str) -> None:
    params = encoded(request(system("a", role), system([{"type": "text", "text": "b"}]), user("c")))
    assert params["system"] == text("a", "b")
    assert params["messages"] == [user(text("c"))]


def test_a_system_prompt_alone_is_the_question() -> None:
    params = encoded(request(system("Say hello.")))
    assert "system" not in params
    assert params["messages"] == [user(text("Say hello."))]


def test_a_conversation_may_move_between_models_in_the_middle_of_a_tool_loop() -> None:
    """Local, Claude, another Claude, Gemini, local again: at every step Claude takes it."""
    kept = {"toolu_1": {"before": [THOUGHT, *text("I look.")]}}
    steps = [
        [user("q")],
        [assistant("Hm.", call("call_0", arguments='{"city": "Ulm')), result("call_0", "broken")],
        [
            assistant("I look.", call("toolu_1"), call("toolu_2")),
            result("toolu_2"),
            result("toolu_1"),
        ],
        [assistant(None, call("functions.weather:3")), result("functions.weather:3")],
        [assistant("", call("call_0")), result("call_0", [PICTURE])],
        [assistant(None, call(None), call("")), result(""), result(None)],
        [assistant("Rain."), user("Thanks."), assistant("Bye.", reasoning_content="Done.")],
    ]
    history: list[Any] = [system("s")]
    for step in steps:
        for message in step:
            history.append(message)
            params = encoded(request(*history, tools=[WEATHER]), recall=kept.get)
    blocks = [block for turn in params["messages"] for block in turn["content"]]
    assert [block["type"] for block in blocks].count("thinking") == 1
    assert [block["id"] for block in blocks if block["type"] == "tool_use"][:3] == [
        *("call_0", "toolu_1", "toolu_2")
    ]
    texts = "".join(block["text"] for block in blocks if block["type"] == "text")
    assert all(said in texts for said in ("q", "Hm.", "I look.", "Rain.", "Thanks.", "Bye."))


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ('{"a": [1, null]}', {"a": [1, None]}),
        ("", {}),
        ("  ", {}),
        (None, {}),
        ({"a": 1}, {"a": 1}),
        ('{"a": ', {"_raw": '{"a": '}),
        ("[1]", {"_raw": "[1]"}),
        ('{"n": NaN}', {"_raw": '{"n": NaN}'}),
        ("plain words", {"_raw": "plain words"}),
        (7, {}),
    ],
)
def test_arguments_are_always_an_object(arguments: Any, wanted: Any) -> None:
    messages = turns(user("q"), assistant(None, call("a", arguments=arguments)), result("a"))
    assert messages[1][1][0]["input"] == wanted


def test_tools_of_the_history_are_defined_even_if_none_may_be_called() -> None:
    params = encoded(request(user("q"), assistant(None, call("a", "b.c")), result("a")))
    assert [tool["name"] for tool in params["tools"]] == ["b_c_b476cc5a2c58"]
    assert params["tool_choice"] == {"type": "none"}


# Thoughts

THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s"}
HIDDEN = {"type": "redacted_thinking", "data": "x"}


def test_thoughts_come_back_where_they_were() -> None:
    kept = {
        "a": {"before": [THOUGHT, *text("I look. "), HIDDEN]},
        "b": {"before": [THOUGHT | {"signature": "t"}]},
    }
    content = "I look."  # a client may trim
    messages = turns(
        user("q"),
        assistant(content, call("a"), call("b")),
        result("a"),
        result("b"),
        recall=kept.get,
    )
    b = [THOUGHT | {"signature": "t"}, USE | {"id": "b"}]
    assert messages[1] == ("assistant", [THOUGHT, *text("I look. "), HIDDEN, USE, *b])


def test_thoughts_come_before_a_text_that_the_caller_changed() -> None:
    kept = {"a": {"before": [THOUGHT, *text("I look."), HIDDEN]}}
    messages = turns(user("q"), assistant("I looked.", call("a")), result("a"), recall=kept.get)
    assert messages[1] == ("assistant", [THOUGHT, HIDDEN, *text("I looked."), USE])


def test_a_model_that_must_not_think_is_not_given_thoughts() -> None:
    kept = {"a": {"before": [THOUGHT]}}
    asked = request(user("q"), assistant(None, call("a")), result("a"), reasoning_effort="none")
    params = encoded(asked, abilities=ALL, recall=kept.get)
    assert params["thinking"] == {"type": "disabled"}
    assert params["messages"][1]["content"] == [USE]


def test_what_one_answer_says_goes_back_as_it_was() -> None:
    messages = turns(user("q"), assistant("b", call("a")), result("a"), recall={}.get)
    assert messages[1] == ("assistant", [*text("b"), USE])


# Content parts


def part_of(part: Any, **options: Any) -> Any:
    [(_, [block])] = turns(user([part]), **options)
    return block


@pytest.mark.parametrize(
    ("url", "source"),
    [
        (f"data:image/png;base64,{PIXEL}", IMAGE["source"]),
        (f"data:image/jpeg;base64,{PIXEL}", IMAGE["source"]),  # says JPEG, is PNG
        (f"data:IMAGE/PNG;charset=utf-8;BASE64,{PIXEL}", IMAGE["source"]),
        (
            "data:image/jpg;base64,AAAA",
            {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"},
        ),
        (
            "data:image/gif,GIF89a%00",
            {"type": "base64", "media_type": "image/gif", "data": "R0lGODlhAA=="},
        ),
        (
            "data:image/png;base64,UklGRiQAAABXRUJQVlA4",
            {"type": "base64", "media_type": "image/webp", "data": "UklGRiQAAABXRUJQVlA4"},
        ),
        ("https://example.com/a.png", {"type": "url", "url": "https://example.com/a.png"}),
    ],
)
def test_pictures(url: str, source: Any) -> None:
    wanted = {"type": "image", "source": source}
    assert part_of({"type": "image_url", "image_url": {"url": url, "detail": "low"}}) == wanted
    assert part_of({"type": "input_image", "image_url": url}) == wanted


DOCUMENT = {"type": "base64", "media_type": "application/pdf", "data": PDF}


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ({"file_data": f"data:application/pdf;base64,{PDF}"}, {"source": DOCUMENT}),
        ({"file_data": PDF, "filename": "a.pdf"}, {"source": DOCUMENT, "title": "a.pdf"}),
        (
            {"file_data": "data:text/markdown;base64,SGnDqQ==", "filename": "a.md"},
            {
                "source": {"type": "text", "media_type": "text/plain", "data": "Hié"},
                "title": "a.md",
            },
        ),
        (
            {"file_url": "https://example.com/a.pdf"},
            {"source": {"type": "url", "url": "https://example.com/a.pdf"}},
        ),
    ],
)
def test_documents(file: dict[str, Any], wanted: Any) -> None:
    assert part_of({"type": "file", "file": file}) == {"type": "document"} | wanted
    assert part_of({"type": "input_file", **file}) == {"type": "document"} | wanted


def test_a_picture_sent_as_a_file_is_a_picture() -> None:
    file = {"file_data": f"data:image/png;base64,{PIXEL}"}
    assert part_of({"type": "file", "file": file}) == IMAGE


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}, "audio"),
        ({"type": "video_url", "video_url": {"url": "https://x"}}, "video_url"),
        ({"type": "image_url", "image_url": {"url": "http://example.com/a.png"}}, "https"),
        ({"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,AAAA"}}, "svg"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,A*A"}}, "base64"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}, "empty"),
        ({"type": "image_url", "image_url": {}}, "image_url"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file_data"),
        ({"type": "file", "file": {"file_data": "data:application/zip;base64,AAAA"}}, "zip"),
        ({"type": "file", "file": {"file_data": "hello"}}, "data URI"),
        ({"type": "text"}, "text"),
    ],
)
def test_what_claude_cannot_read_makes_it_unfit(part: Any, said: str) -> None:
    with pytest.raises(BackendUnfit, match=said) as raised:
        turns(user("a"), user([{"type": "text", "text": "b"}, part]))
    assert raised.value.param == "messages[1].content[1]"
    assert raised.value.retryable


@pytest.mark.parametrize(
    ("part", "can"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x/a.png"}}, Abilities(images=False)),
        ({"type": "file", "file": {"file_data": PDF}}, Abilities(pdfs=False)),
    ],
)
def test_a_model_without_eyes_is_unfit(part: Any, can: Abilities) -> None:
    with pytest.raises(BackendUnfit, match="This Claude model cannot"):
        turns(user([part]), abilities=can)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{"name": "x"}]}, "functions"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [CLOCK], "tool_choice": {"type": "custom"}}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": named("x")}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": allowed("auto", "x")}, "tool_choice"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"messages": [user(" ")]}, "messages"),
        ({"messages": [system([{"type": "input_audio"}]), user("a")]}, "messages[0].content[0]"),
        ({"messages": [assistant(None, audio={"id": "x"}), user("a")]}, "messages[0].audio"),
        ({"messages": [assistant([PICTURE]), user("a")]}, "messages[0]"),
        ({"messages": [system([PICTURE]), user("a")]}, "messages[0]"),
    ],
)
def test_what_claude_cannot_do_makes_it_unfit(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BackendUnfit) as raised:
        encoded(request(**fields))
    assert raised.value.param == param
    assert raised.value.status == 400


# Tools


def test_tools() -> None:
    assert encoded(request(tools=[WEATHER, CLOCK]))["tools"] == [
        {
            "name": "weather",
            "description": "Now.",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
        {"name": "clock", "input_schema": {"type": "object", "properties": {}}},
    ]


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": named("clock")}, {"type": "tool", "name": "clock"}),
        ({"tool_choice": allowed("auto", "weather", "clock")}, None),
        ({"tool_choice": allowed("required", "weather", "clock")}, {"type": "any"}),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        (
            {"parallel_tool_calls": False, "tool_choice": named("clock")},
            {"type": "tool", "name": "clock", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
    ],
)
def test_tool_choice(fields: dict[str, Any], wanted: Any) -> None:
    params = encoded(request(tools=[WEATHER, CLOCK], **fields), abilities=ALL)
    assert params.get("tool_choice") == wanted
    assert [tool["name"] for tool in params["tools"]] == ["weather", "clock"]


def test_tools_that_are_not_allowed_are_not_shown() -> None:
    params = encoded(request(tools=[WEATHER, CLOCK], tool_choice=allowed("required", "clock")))
    assert [tool["name"] for tool in params["tools"]] == ["clock"]
    assert params["tool_choice"] == {"type": "any"}


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_a_tool_choice_without_tools_is_nothing(choice: str) -> None:
    assert "tool_choice" not in encoded(request(tool_choice=choice))


@pytest.mark.parametrize("choice", ["required", named("clock")])
def test_a_forced_choice_needs_tools(choice: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        encoded(request(tool_choice=choice))
    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("required", "Call one of your tools now; do not answer with text alone."),
        (named("clock"), "Call the tool `clock` now; do not answer with text alone."),
    ],
)
def test_a_model_that_cannot_be_forced_is_told(choice: Any, told: str) -> None:
    asked = request(system("s"), user("q"), tools=[WEATHER, CLOCK], tool_choice=choice)
    params = encoded(asked, abilities=ALWAYS_THINKING)
    assert "tool_choice" not in params
    assert params["messages"] == [user(text("q", told))]
    assert params["system"] == text("s")
    sent = claude.encode(asked, MODEL, max_tokens=1, abilities=ALWAYS_THINKING)
    assert (sent.demand, sent.dropped) == (told, ("tool_choice",))


@pytest.mark.parametrize(
    ("can", "wanted", "effort", "thinking"),
    [
        (ALL, None, None, {"type": "disabled"}),
        (ALL, "high", "high", {"type": "disabled"}),
        (ALL, "max", "high", {"type": "disabled"}),
        (ALL, "none", None, {"type": "disabled"}),
        (replace(ALL, thinking_off=None), "high", "high", None),
        (replace(ALL, adaptive_thinking=False), "high", "high", None),
        (Abilities(), None, None, None),
    ],
)
def test_a_forced_choice_is_worth_more_than_thinking(
    can: Abilities, wanted: Any, effort: Any, thinking: Any
) -> None:
    asked = request(tools=[CLOCK], tool_choice="required", reasoning_effort=wanted)
    params = encoded(asked, abilities=can)
    assert params["tool_choice"] == {"type": "any"}
    assert params.get("output_config", {}).get("effort") == effort
    assert params.get("thinking") == thinking


def test_names_that_claude_refuses_are_exchanged_and_can_be_told_back() -> None:
    tools = [named("files.read"), named("files:read"), named("x" * 200), named("fine-1")]
    asked = request(tools=tools, tool_choice=named("files.read"))
    params = encoded(asked)
    ours = [tool["name"] for tool in params["tools"]]
    assert len(set(ours)) == 4
    assert ours[3] == "fine-1"
    assert params["tool_choice"] == {"type": "tool", "name": ours[0]}
    assert claude.encode(asked, MODEL, max_tokens=1).names == dict(
        zip(ours, ["files.read", "files:read", "x" * 200], strict=False)
    )


# Parameters


def test_the_least_that_is_sent() -> None:
    assert encoded(request(user("Hi"))) == {
        "model": MODEL,
        "max_tokens": 8192,
        "cache_control": {"type": "ephemeral"},
        "messages": [user(text("Hi"))],
        "stream": True,
    }


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, 8192),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": -1}, 8192),
        ({"max_completion_tokens": 7}, 7),
        ({"max_completion_tokens": 7, "max_tokens": 5}, 7),
        ({"max_tokens": 100_000}, 64_000),
    ],
)
def test_the_answers_limit(fields: dict[str, Any], wanted: int) -> None:
    assert encoded(request(**fields), abilities=ALL)["max_tokens"] == wanted


def test_the_default_limit_is_clamped_too() -> None:
    assert encoded(request(), abilities=Abilities(max_tokens=4096))["max_tokens"] == 4096


@pytest.mark.parametrize(
    ("stop", "wanted", "left_out"),
    [
        (None, None, ()),
        ("END", ["END"], ()),
        (["a", "b"], ["a", "b"], ()),
        (["a", "\n"], ["a"], ("stop",)),
        ("\n\n", None, ("stop",)),
        ([], None, ()),
    ],
)
def test_stop(stop: Any, wanted: Any, left_out: tuple[str, ...]) -> None:
    assert encoded(request(stop=stop)).get("stop_sequences") == wanted
    assert dropped(stop=stop) == left_out


@pytest.mark.parametrize("field", ["user", "safety_identifier"])
def test_whose_request_it_is(field: str) -> None:
    assert encoded(request(**{field: "user-17_a"}))["metadata"] == {"user_id": "user-17_a"}


@pytest.mark.parametrize("user", ["ann@example.com", "+49 170 1234567", "0170123", "Ann Lee"])
def test_people_are_named_by_a_digest(user: str) -> None:
    sent = encoded(request(user=user))["metadata"]["user_id"]
    assert re.fullmatch("[0-9a-f]{64}", sent)
    assert encoded(request(user=user))["metadata"]["user_id"] == sent


@pytest.mark.parametrize(
    ("wanted", "can", "effort", "thinking"),
    [
        (None, ALL, None, None),
        ("none", ALL, None, {"type": "disabled"}),
        ("minimal", ALL, None, {"type": "disabled"}),
        ("low", ALL, "low", {"type": "adaptive", "display": "summarized"}),
        ("medium", ALL, "medium", {"type": "adaptive", "display": "summarized"}),
        ("xhigh", ALL, "high", {"type": "adaptive", "display": "summarized"}),
        ("max", ALL, "max", {"type": "adaptive", "display": "summarized"}),
        (None, ALWAYS_THINKING, None, {"type": "adaptive", "display": "summarized"}),
        ("none", ALWAYS_THINKING, "low", {"type": "adaptive", "display": "summarized"}),
        ("xhigh", ALWAYS_THINKING, "xhigh", {"type": "adaptive", "display": "summarized"}),
        ("low", Abilities(efforts=("medium", "high")), "medium", None),
        ("none", BETWEEN_TOOLS, None, {"type": "between_tools"}),
        ("low", BETWEEN_TOOLS, "low", {"type": "adaptive", "display": "summarized"}),
    ],
)
def test_reasoning_effort(wanted: Any, can: Abilities, effort: Any, thinking: Any) -> None:
    sent = claude.encode(request(reasoning_effort=wanted), MODEL, max_tokens=9, abilities=can)
    assert_acceptable(sent.params)
    assert sent.params.get("output_config", {}).get("effort") == effort
    assert sent.params.get("thinking") == thinking
    assert sent.dropped == ()


@pytest.mark.parametrize("can", [Abilities(), Abilities(efforts=())])
def test_effort_that_a_model_does_not_have_is_said_to_be_left_out(can: Abilities) -> None:
    asked = request(reasoning_effort="high")
    assert claude.encode(asked, MODEL, max_tokens=9, abilities=can).dropped == ("reasoning_effort",)


def test_tuning_knobs_are_left_out_and_named() -> None:
    knobs = {
        "temperature": 0.2,
        "top_p": 0.9,
        "top_k": 5,
        "seed": 7,
        "frequency_penalty": 0.5,
        "presence_penalty": 0.5,
        "logit_bias": {"1": 2},
        "logprobs": True,
        "top_logprobs": 3,
        "prediction": {"type": "content", "content": "x"},
        "verbosity": "low",
        "service_tier": "flex",
        "store": True,
        "metadata": {"a": "b"},
        "web_search_options": {"x": 1},
        "min_p": 0.1,
    }
    assert set(dropped(**knobs)) == knobs.keys()
    assert not knobs.keys() - {"metadata"} & encoded(request(**knobs)).keys()


def test_fields_that_say_nothing_are_not_named() -> None:
    nothing = {
        "temperature": 1,
        "top_p": 1.0,
        "n": 1,
        "seed": None,
        "logprobs": False,
        "frequency_penalty": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "store": False,
        "parallel_tool_calls": True,
        "modalities": ["text"],
        "logit_bias": {},
    }
    assert dropped(**nothing) == ()


def test_names_of_speakers_are_left_out_and_said_so() -> None:
    assert dropped(messages=[{"role": "user", "content": "a", "name": "ann"}]) == ("messages.name",)


def test_only_field_names_that_fit_into_a_header_are_repeated() -> None:
    assert dropped(**{"x\r\ny": 1, "é": 1, "": 1, "a" * 65: 1, "ok_1": 1}) == ("ok_1",)


# Formats

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "age": {"type": ["integer", "null"]},
    },
    "required": ["name", "age", "gone"],
    "additionalProperties": False,
}
STRICT_PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": '{"minLength":1}'},
        "age": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def json_schema(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, **more}}


def test_a_json_schema_is_an_output_format() -> None:
    params = encoded(request(response_format=json_schema(PERSON)), abilities=ALL)
    assert params["output_config"] == {"format": {"type": "json_schema", "schema": STRICT_PERSON}}
    assert "system" not in params


def test_a_schemas_description_is_kept() -> None:
    params = encoded(request(response_format=json_schema(PERSON, description="A person.")))
    assert params["output_config"]["format"]["schema"]["description"] == "A person."


FREE_KEYS = {"type": "object", "additionalProperties": {"type": "integer"}}


@pytest.mark.parametrize(
    ("schema", "can"),
    [(FREE_KEYS, ALL), ({"type": "object"}, ALL), ({}, ALL), (PERSON, Abilities(structured=False))],
)
def test_a_schema_that_cannot_be_had_is_asked_for_in_words(schema: Any, can: Abilities) -> None:
    asked = request(system("s"), user("q"), response_format=json_schema(schema))
    params = encoded(asked, abilities=can)
    assert "output_config" not in params
    assert params["system"][0] == text("s")[0]
    assert orjson.dumps(schema).decode() in params["system"][1]["text"]
    assert claude.encode(asked, MODEL, max_tokens=1, abilities=can).dropped == ("response_format",)


@pytest.mark.parametrize("wanted", [{"type": "json_object"}, {"type": "json_schema"}])
def test_a_json_object_is_asked_for_in_words(wanted: Any) -> None:
    params = encoded(request(response_format=wanted))
    assert "one JSON object and nothing else" in params["system"][0]["text"]


def test_plain_text_is_the_usual_format() -> None:
    assert "system" not in encoded(request(response_format={"type": "text"}))


def strict(parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "x", "strict": True, "parameters": parameters}}


def test_strict_tools() -> None:
    [tool] = encoded(request(tools=[strict(PERSON)]), abilities=ALL)["tools"]
    assert tool == {"name": "x", "strict": True, "input_schema": STRICT_PERSON}


@pytest.mark.parametrize(
    ("parameters", "can"), [(FREE_KEYS, ALL), (PERSON, Abilities(structured=False))]
)
def test_strictness_that_cannot_be_had_is_said_to_be_left_out(parameters: Any, can: Any) -> None:
    asked = request(tools=[strict(parameters)])
    sent = claude.encode(asked, MODEL, max_tokens=1, abilities=can)
    assert sent.dropped == ("tools.strict",)
    assert sent.params["tools"] == [{"name": "x", "input_schema": {"properties": {}, **parameters}}]


TREE = {
    "type": "object",
    "properties": {"next": {"$ref": "#/$defs/n"}},
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"type": "integer", "minimum": 1}, {"type": "integer", "description": '{"minimum":1}'}),
        (
            {"type": "string", "format": "date", "description": "d"},
            {"type": "string", "format": "date", "description": "d"},
        ),
        (
            {"type": "string", "format": "phone", "description": "d"},
            {"type": "string", "description": 'd\n\n{"format":"phone"}'},
        ),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 3},
            {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "description": '{"maxItems":3}',
            },
        ),
        ({"type": "string", "enum": ["a", None]}, {"enum": ["a", None]}),
        ({"type": ["string", "null"], "enum": ["a", None]}, {"enum": ["a", None]}),
        ({"const": 3}, {"const": 3}),
        (
            {"oneOf": [{"type": "string"}, {"const": 1}]},
            {"anyOf": [{"type": "string"}, {"const": 1}]},
        ),
        ({"$ref": "#/$defs/n", "$defs": {"n": TREE}}, {"$defs": {"n": TREE}, "$ref": "#/$defs/n"}),
        (
            {
                "$schema": "x",
                "type": "object",
                "properties": {"a": {"type": "boolean", "title": "A"}},
            },
            {
                "type": "object",
                "properties": {"a": {"type": "boolean", "title": "A"}},
                "additionalProperties": False,
            },
        ),
    ],
)
def test_schemas_are_kept_as_far_as_the_grammar_goes(schema: Any, wanted: Any) -> None:
    asked = request(response_format=json_schema(schema))
    assert encoded(asked)["output_config"]["format"]["schema"] == wanted


@pytest.mark.parametrize("name", ["anyOf", "oneOf"])
def test_alternatives_at_the_top_of_a_tools_input_become_one_object(name: str) -> None:
    one = {"properties": {"a": {"type": "string"}}, "required": ["id", "a"]}
    other = {"properties": {"b": {"type": "string"}}, "required": ["id", "b"]}
    tool = named("x")
    tool["function"]["parameters"] = {
        "properties": {"id": {"type": "integer"}},
        name: [one, other, "rubbish"],
    }
    [made] = encoded(request(tools=[tool]))["tools"]
    assert made["input_schema"] == {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "id": {"type": "integer"}},
        "required": ["id"],
    }


# Caching


@pytest.mark.parametrize("can", [Abilities(), ALL, ALWAYS_THINKING])
def test_the_prefix_is_the_same_bytes_from_turn_to_turn(can: Abilities) -> None:
    """Also where a model that cannot be forced was told to call a tool, in the first turn only."""
    history: list[dict[str, Any]] = [system("You are kind."), user("What is the weather?")]
    kept: dict[str, Any] = {}
    fields = {"tools": [WEATHER, CLOCK], "response_format": {"type": "json_object"}, "user": "u"}
    before: bytes | None = None
    for step in range(4):
        choice = "required" if step == 0 and can.forced_choice is False else "auto"
        asked = request(*history, **fields, tool_choice=choice)
        sent = claude.encode(asked, MODEL, max_tokens=9, abilities=can, recall=kept.get)
        assert_acceptable(sent.params)
        head = {name: value for name, value in sent.params.items() if name != "messages"}
        prefix = orjson.dumps([head, sent.params["messages"]])[:-2]  # without "]]"
        if before is not None:
            assert prefix.startswith(before)
        before = prefix
        assert bool(sent.demand) == (choice == "required")
        kept[f"toolu_{step}"] = {
            "before": [THOUGHT, *text(f"Step {step}.")],
            claude.DEMAND: sent.demand,
        }
        history += [
            assistant(f"Step {step}.", call(f"toolu_{step}", arguments=f'{{"city": "Ulm{step}"}}')),
            result(f"toolu_{step}", f"Rain {step}."),
            system("Mind the time.", "developer"),
        ]


def test_a_callers_own_cache_marks_are_kept_and_no_other_is_set() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    asked = request(system([{"type": "text", "text": "s", "cache_control": mark}]), user("q"))
    params = encoded(asked)
    assert params["system"] == [{"type": "text", "text": "s", "cache_control": mark}]
    assert "cache_control" not in params


HOUR = {"type": "ephemeral", "ttl": "1h"}
SHORT = {"type": "ephemeral"}


def breakpoint_part(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, "prompt_cache_breakpoint": {"mode": "explicit", **more}}


@pytest.mark.parametrize(
    ("parts", "options", "marked", "automatic"),
    [
        (0, None, "", SHORT),
        (0, {"ttl": "30m"}, "", HOUR),
        (0, {"mode": "explicit"}, "", None),
        (2, None, "01", SHORT),
        (2, {"mode": "implicit"}, "01", SHORT),
        (2, {"mode": "explicit", "ttl": "30m"}, "01", None),
        (5, None, "234", SHORT),  # Claude takes four in all: the latest
        (5, {"mode": "explicit"}, "1234", None),
    ],
)
def test_openais_cache_breakpoints_are_claudes(
    parts: int, options: Any, marked: str, automatic: Any
) -> None:
    said = [breakpoint_part(str(i), ttl="30m") for i in range(parts)]
    params = encoded(request(user([*said, *text("q")]), prompt_cache_options=options))
    blocks = params["messages"][0]["content"]
    assert "".join(b["text"] for b in blocks if b.get("cache_control") == HOUR) == marked
    assert params.get("cache_control") == automatic
    assert dropped(prompt_cache_options=options) == ()


def test_a_mark_inside_a_tools_result_is_set_on_the_whole_of_it() -> None:
    content = [breakpoint_part("one"), *text("two")]
    messages = turns(user("q"), assistant(None, call("a")), result("a", content))
    assert messages[2][1] == [RESULT | {"content": text("one", "two"), "cache_control": HOUR}]


# What the Models API says


def test_abilities_are_read_from_the_models_api() -> None:
    def can(yes: bool = True) -> dict[str, Any]:
        return {"supported": yes}

    info = {
        "id": MODEL,
        "max_tokens": 128_000,
        "max_input_tokens": 1_000_000,
        "capabilities": {
            "image_input": can(),
            "pdf_input": can(False),
            "structured_outputs": can(),
            "effort": {"supported": True, "low": can(), "high": can(), "max": can(False)},
            "thinking": {
                "types": {"adaptive": can(), "disabled": can(False), "between_tools": can()}
            },
        },
    }
    assert abilities(info) == Abilities(
        max_tokens=128_000,
        max_input_tokens=1_000_000,
        images=True,
        pdfs=False,
        structured=True,
        efforts=("low", "high"),
        adaptive_thinking=True,
        thinking_off=False,
        between_tools=True,
        forced_choice=False,
    )
    assert abilities({"id": MODEL, "max_tokens": None, "capabilities": None}) == Abilities()
    assert (
        abilities({"capabilities": {"effort": 1, "thinking": []}, "max_tokens": "9"}) == Abilities()
    )


# Any body at all

words = st.sampled_from(["", " ", "a", "b.c", "🙂", '{"a":1}', "<system>"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=6,
)
ids = st.sampled_from(["a", "b", "call:1", ""]) | st.none() | st.integers(0, 1)
schemas = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "string", "array", ["string", "null"], 7]),
            "enum": st.lists(words, max_size=2),
            "description": words,
            "required": st.lists(words, max_size=2) | st.none(),
            "additionalProperties": st.booleans(),
            "minLength": st.integers(0, 2),
            "format": words,
        },
    ),
    lambda inner: (
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(words, inner, max_size=2)}
        )
        | st.fixed_dictionaries({"anyOf": st.lists(inner, max_size=2)})
        | st.fixed_dictionaries({"type": st.just("array"), "items": inner})
    ),
    max_leaves=5,
)
parts = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": words}),
    st.fixed_dictionaries({"type": st.just("refusal"), "refusal": words}),
    st.just(PICTURE),
    st.just({"type": "file", "file": {"file_data": PDF}}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "image_url", "file", "input_audio"])},
        optional={"text": json_values, "image_url": json_values, "file": json_values},
    ),
)
plain_parts = st.lists(parts, max_size=2)
contents = st.none() | words | plain_parts
functions = st.fixed_dictionaries(
    {}, optional={"name": words | st.integers(0, 9), "arguments": json_values}
)
calls = st.fixed_dictionaries(
    {}, optional={"id": ids, "function": functions | json_values, "custom": json_values}
)
messages = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer", "user"]), "content": contents},
        optional={"name": words},
    ),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": contents},
        optional={
            "tool_calls": st.none() | st.lists(calls, max_size=3),
            "refusal": json_values,
            "function_call": json_values,
            "audio": json_values,
        },
    ),
    st.fixed_dictionaries(
        {"role": st.sampled_from(["tool", "function"]), "content": contents},
        optional={"tool_call_id": ids, "name": words},
    ),
)
tools = st.builds(
    lambda name, schema, strict: {
        "type": "function",
        "function": {"name": name or "x", "parameters": schema, "strict": strict},
    },
    words,
    schemas | json_values,
    st.booleans(),
)
bodies = st.fixed_dictionaries(
    {"messages": st.lists(messages, min_size=1, max_size=7)},
    optional={
        "tools": st.none() | st.lists(tools, max_size=2),
        "tool_choice": st.sampled_from(["auto", "none", "required"]) | json_values,
        "parallel_tool_calls": json_values,
        "response_format": st.builds(json_schema, schemas) | json_values,
        "stop": json_values,
        "reasoning_effort": st.sampled_from(["none", "low", "xhigh"]) | json_values,
        "user": json_values,
        "n": st.just(1) | json_values,
        "modalities": json_values,
        "temperature": json_values,
    },
)


@given(bodies, st.sampled_from([Abilities(), ALL, ALWAYS_THINKING]), st.booleans())
def test_any_body_is_sent_in_a_form_that_claude_takes_or_is_unfit(
    body: dict[str, Any], can: Abilities, remembers: bool
) -> None:
    asked = ChatRequest.parse(orjson.dumps(body))
    kept = {"a": {"before": [THOUGHT, *text("a")]}} if remembers else {}
    try:
        sent = claude.encode(asked, MODEL, max_tokens=99, abilities=can, recall=kept.get)
    except (BackendUnfit, InvalidRequest):
        return
    assert_acceptable(sent.params)
    assert orjson.loads(orjson.dumps(sent.params)) == sent.params
    assert all(name.isascii() for name in sent.dropped)
