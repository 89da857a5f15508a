"""Conversations of any shape as Claude's turns, and their content."""

from typing import Any

import pytest

from router.errors import BackendUnfit
from router.wire.anthropic.claude_model import Abilities
from router.wire.anthropic.claude_turns import CONTINUE, NO_RESULT, START
from tests.support.claude_words import (
    ALL,
    HIDDEN,
    IMAGE,
    PDF,
    PICTURE,
    PIXEL,
    RESULT,
    THOUGHT,
    USE,
    WEATHER,
    assistant,
    call,
    encoded,
    request,
    result,
    system,
    text,
    turns,
    user,
)

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
    "a refusal becomes text": (
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
    "a result without a call becomes text": (
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
    "a result that comes too late becomes text": (
        [user("q"), assistant(None, call("a")), user("w"), assistant("x"), result("a", "late")],
        [
            ("user", text("q")),
            ("assistant", [USE]),
            ("user", [RESULT | {"content": NO_RESULT, "is_error": True}, *text("w")]),
            ("assistant", text("x")),
            ("user", text("Result of the tool call a:", "late")),
        ],
    ),
    "the second result of one call becomes text": (
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
    """Local, Claude, another Claude, Gemini, local again: Claude accepts it at every step."""
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


def test_thoughts_return_to_their_places() -> None:
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


def test_an_answer_goes_back_unchanged() -> None:
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
def test_content_that_claude_cannot_read_is_unfit(part: Any, said: str) -> None:
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
