"""Conversations in Gemini's form: turns, parts, tool calls and their results."""

import subprocess
import sys
from typing import Any

import orjson
import pytest
from google.genai import types

from router.errors import BackendBroken, BackendUnfit, RouterError
from router.request import ChatRequest, checked
from router.wire.gemini import generate_content
from router.wire.gemini.contents import CONTINUE, NO_RESULT, START
from router.wire.gemini.generate_content import (
    NO_SIGNATURE,
    SIGNATURE,
    encode,
    picture_urls,
)
from tests.support import paths
from tests.support.gemini_words import (
    NEW,
    PDF,
    PNG,
    WEATHER,
    answer,
    assert_valid,
    assistant,
    body_of,
    call,
    function,
    request_of,
    result,
    text,
    turn,
    user,
)

TURNS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "user and assistant": (
        [user("Hi"), assistant("Hello"), user("Bye")],
        [turn("user", text("Hi")), turn("model", text("Hello")), turn("user", text("Bye"))],
    ),
    "consecutive turns of one role are one": (
        [user("a"), user("b"), assistant("c"), assistant("d"), user("e")],
        [
            turn("user", text("a"), text("b")),
            turn("model", text("c"), text("d")),
            turn("user", text("e")),
        ],
    ),
    "text parts": (
        [user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])],
        [turn("user", text("a"), text("b"))],
    ),
    "empty and null content is left out": (
        [user("a"), assistant(None), user(""), user([]), user([{"type": "text", "text": ""}])],
        [turn("user", text("a"))],
    ),
    "a refusal becomes text": (
        [
            user("a"),
            {"role": "assistant", "content": None, "refusal": "No."},
            assistant([{"type": "refusal", "refusal": "Never."}]),
            user("b"),
        ],
        [
            turn("user", text("a")),
            turn("model", text("No."), text("Never.")),
            turn("user", text("b")),
        ],
    ),
    "a picture as data": (
        [user([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}])],
        [turn("user", {"inlineData": {"mimeType": "image/png", "data": PNG}})],
    ),
    "a picture of the type that is not quite one": (
        [user([{"type": "image_url", "image_url": "data:image/JPG;base64,AAAA"}])],
        [turn("user", {"inlineData": {"mimeType": "image/jpeg", "data": "AAAA"}})],
    ),
    "a picture of another type than its sender names": (
        [user([{"type": "image_url", "image_url": {"url": f"data:image/webp;base64,{PNG}"}}])],
        [turn("user", {"inlineData": {"mimeType": "image/png", "data": PNG}})],
    ),
    "a picture that is not in base64": (
        [user([{"type": "image_url", "image_url": {"url": "data:image/gif,GIF89a%00"}}])],
        [turn("user", {"inlineData": {"mimeType": "image/gif", "data": "R0lGODlhAA=="}})],
    ),
    "a picture sent as a file": (
        [user([{"type": "file", "file": {"file_data": f"data:image/png;base64,{PNG}"}}])],
        [turn("user", {"inlineData": {"mimeType": "image/png", "data": PNG}})],
    ),
    "text files, whatever they are called": (
        [
            user(
                [
                    {"type": "file", "file": {"file_data": f"data:{kind};base64,e30="}}
                    for kind in ("application/json", "text/x-rst")
                ]
            )
        ],
        [turn("user", *2 * [{"inlineData": {"mimeType": "text/plain", "data": "e30="}}])],
    ),
    "a PDF": (
        [
            user(
                [
                    {
                        "type": "file",
                        "file": {
                            "filename": "a.pdf",
                            "file_data": f"data:application/pdf;base64,{PDF}",
                        },
                    },
                    {"type": "file", "file": {"file_data": PDF}},
                ]
            )
        ],
        [
            turn(
                "user",
                {"inlineData": {"mimeType": "application/pdf", "data": PDF}},
                {"inlineData": {"mimeType": "application/pdf", "data": PDF}},
            )
        ],
    ),
    "audio": (
        [user([{"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}}])],
        [turn("user", {"inlineData": {"mimeType": "audio/wav", "data": PNG}})],
    ),
    "text next to a tool call, and its answer": (
        [user("a"), assistant("I look.", ("c1", "f", '{"x": 1}')), result("c1", "42")],
        [
            turn("user", text("a")),
            turn("model", text("I look."), call("c1", "f", {"x": 1}, NO_SIGNATURE)),
            turn("user", answer("c1", "f", output="42")),
        ],
    ),
    "parallel calls: one signature; answers in one turn, in the order of the calls": (
        [
            user("a"),
            assistant(None, ("c1", "f", "{}"), ("c2", "g", "")),
            result("c2", "two"),
            result("c1", [{"type": "text", "text": "one"}, {"type": "text", "text": "more"}]),
            user("go on"),
        ],
        [
            turn("user", text("a")),
            turn("model", call("c1", "f", {}, NO_SIGNATURE), call("c2", "g", {})),
            turn(
                "user",
                answer("c1", "f", output="one\nmore"),
                answer("c2", "g", output="two"),
                text("go on"),
            ),
        ],
    ),
    "steps one after the other: each has its signature": (
        [
            user("a"),
            assistant(None, ("c1", "f", "{}")),
            result("c1", "1"),
            assistant(None, ("c1", "g", "{}")),
            result("c1", "2"),
        ],
        [
            turn("user", text("a")),
            turn("model", call("c1", "f", {}, NO_SIGNATURE)),
            turn("user", answer("c1", "f", output="1")),
            turn("model", call("c1", "g", {}, NO_SIGNATURE)),
            turn("user", answer("c1", "g", output="2")),
        ],
    ),
    "a call without a result": (
        [user("a"), assistant(None, ("c1", "f", "{}")), user("never mind")],
        [
            turn("user", text("a")),
            turn("model", call("c1", "f", {}, NO_SIGNATURE)),
            turn(
                "user",
                answer("c1", "f", error=NO_RESULT),
                text("never mind"),
            ),
        ],
    ),
    "an empty tool result is an answer": (
        [user("a"), assistant(None, ("c1", "f", "{}")), result("c1", "")],
        [
            turn("user", text("a")),
            turn("model", call("c1", "f", {}, NO_SIGNATURE)),
            turn("user", answer("c1", "f", output="")),
        ],
    ),
    "a picture that a tool returned": (
        [
            user("a"),
            assistant(None, ("c1", "f", "{}")),
            result(
                "c1", [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]
            ),
        ],
        [
            turn("user", text("a")),
            turn("model", call("c1", "f", {}, NO_SIGNATURE)),
            turn(
                "user",
                answer("c1", "f", output=""),
                {"inlineData": {"mimeType": "image/png", "data": PNG}},
            ),
        ],
    ),
    "arguments that are no JSON object": (
        [user("a"), assistant(None, ("c1", "f", '{"x":'), ("c2", "f", "[1]")), result("c1", "1")],
        [
            turn("user", text("a")),
            turn(
                "model",
                call("c1", "f", {"_raw": '{"x":'}, NO_SIGNATURE),
                call("c2", "f", {"_raw": "[1]"}),
            ),
            turn(
                "user",
                answer("c1", "f", output="1"),
                answer("c2", "f", error=NO_RESULT),
            ),
        ],
    ),
    "a tool whose name Gemini would refuse": (
        [user("a"), assistant(None, ("c1", "7zip/x", "{}")), result("c1", "1")],
        [
            turn("user", text("a")),
            turn("model", call("c1", "_7zip_x_f743c7f647e6", {}, NO_SIGNATURE)),
            turn("user", answer("c1", "_7zip_x_f743c7f647e6", output="1")),
        ],
    ),
    "results may come after the user's next words": (
        [user("a"), assistant(None, ("c1", "f", "{}")), user("and?"), result("c1", "1")],
        [
            turn("user", text("a")),
            turn("model", call("c1", "f", {}, NO_SIGNATURE)),
            turn("user", answer("c1", "f", output="1"), text("and?")),
        ],
    ),
    "a step in two assistant messages": (
        [
            user("a"),
            assistant(None, ("c1", "f", "{}")),
            assistant("hm", ("c2", "g", "{}")),
            result("c2", "2"),
            result("c1", "1"),
        ],
        [
            turn("user", text("a")),
            turn("model", call("c1", "f", {}, NO_SIGNATURE), text("hm"), call("c2", "g", {})),
            turn("user", answer("c1", "f", output="1"), answer("c2", "g", output="2")),
        ],
    ),
    "a result without a call becomes text": (
        [user("a"), result("gone", "42"), result("lost", "")],
        [
            turn(
                "user",
                text("a"),
                text("Result of the tool call gone:"),
                text("42"),
                text("Result of the tool call lost:"),
                text("(empty)"),
            )
        ],
    ),
    "a result that comes too late becomes text": (
        [
            user("a"),
            assistant(None, ("c1", "f", "{}")),
            user("b"),
            assistant("x"),
            result("c1", "late"),
        ],
        [
            turn("user", text("a")),
            turn("model", call("c1", "f", {}, NO_SIGNATURE)),
            turn("user", answer("c1", "f", error=NO_RESULT), text("b")),
            turn("model", text("x")),
            turn("user", text("Result of the tool call c1:"), text("late")),
        ],
    ),
    "the second result of one call becomes text": (
        [user("a"), assistant(None, ("c1", "f", "{}")), result("c1", "1"), result("c1", "2")],
        [
            turn("user", text("a")),
            turn("model", call("c1", "f", {}, NO_SIGNATURE)),
            turn(
                "user",
                answer("c1", "f", output="1"),
                text("Result of the tool call c1:"),
                text("2"),
            ),
        ],
    ),
    "ids that were forgotten or given twice": (
        [
            user("a"),
            {
                "role": "assistant",
                "tool_calls": [
                    {"type": "function", "function": {"name": "f"}},
                    {"id": "c1", "type": "function", "function": {"name": "g"}},
                    {"id": "c1", "type": "function", "function": {"name": "h"}},
                ],
            },
            {"role": "tool", "content": "1"},
            result("c1", "2"),
            result("c1", "3"),
        ],
        [
            turn("user", text("a")),
            turn(
                "model",
                call("call", "f", {}, NO_SIGNATURE),
                call("c1", "g", {}),
                call("c1_2", "h", {}),
            ),
            turn(
                "user",
                answer("call", "f", output="1"),
                answer("c1", "g", output="2"),
                answer("c1_2", "h", output="3"),
            ),
        ],
    ),
    "the calls of before there were tools": (
        [
            user("a"),
            {"role": "assistant", "function_call": {"name": "f", "arguments": '{"x": 1}'}},
            {"role": "function", "name": "f", "content": "1"},
        ],
        [
            turn("user", text("a")),
            turn("model", call("f", "f", {"x": 1}, NO_SIGNATURE)),
            turn("user", answer("f", "f", output="1")),
        ],
    ),
    "a call of a free-form tool": (
        [
            user("a"),
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "c1", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
                ],
            },
            result("c1", "1"),
        ],
        [
            turn("user", text("a")),
            turn("model", call("c1", "sh", {"_raw": "ls"}, NO_SIGNATURE)),
            turn("user", answer("c1", "sh", output="1")),
        ],
    ),
    "a trailing assistant turn is asked to go on": (
        [user("Count."), assistant("1, 2,")],
        [
            turn("user", text("Count.")),
            turn("model", text("1, 2,")),
            turn("user", text(CONTINUE)),
        ],
    ),
    "a conversation that begins with the assistant": (
        [assistant("Hello"), user("Hi")],
        [
            turn("user", text(START)),
            turn("model", text("Hello")),
            turn("user", text("Hi")),
        ],
    ),
}


@pytest.mark.parametrize("name", TURNS)
def test_turns_become_contents(name: str) -> None:
    messages, contents = TURNS[name]
    body = body_of(*messages)
    assert body["contents"] == contents
    assert_valid(body)


def test_instructions_anywhere_are_joined_in_order() -> None:
    body = body_of(
        {"role": "system", "content": "One."},
        user("a"),
        {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
    )
    assert body["systemInstruction"] == {"parts": [text("One.\n\nTwo.")]}
    assert body["contents"] == [turn("user", text("a"))]
    assert_valid(body)


def test_an_instruction_alone_is_the_prompt() -> None:
    body = body_of({"role": "system", "content": "Say hi."})
    assert body == {
        "contents": [turn("user", text("Say hi."))],
        "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
    }


def test_fetched_pictures_go_inside() -> None:
    url = "https://example.com/cat.png"
    request = request_of(
        user([{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "?"}])
    )
    assert picture_urls(request) == {url: "messages[0].content[0]"}
    body = encode(request, NEW, pictures={url: (b"\x89PNG\r\n\x1a\n", "image/png")}).body
    assert body["contents"] == [
        turn("user", {"inlineData": {"mimeType": "image/png", "data": PNG}}, text("?"))
    ]
    assert_valid(body)


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "a picture on the web that was not fetched": (
        {"messages": [user([{"type": "image_url", "image_url": {"url": "https://x/y.png"}}])]},
        "messages[0].content[0]",
    ),
    "a drawing": (
        {
            "messages": [
                user(
                    [{"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,AAAA"}}]
                )
            ]
        },
        "messages[0].content[0]",
    ),
    "a picture that is not base64": (
        {
            "messages": [
                user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}])
            ]
        },
        "messages[0].content[0]",
    ),
    "a recording that is not base64": (
        {
            "messages": [
                user([{"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}}])
            ]
        },
        "messages[0].content[0]",
    ),
    "a file kept elsewhere": (
        {"messages": [user([{"type": "file", "file": {"file_id": "file-1"}}])]},
        "messages[0].content[0]",
    ),
    "a spreadsheet": (
        {
            "messages": [
                user(
                    [
                        {
                            "type": "file",
                            "file": {"file_data": f"data:application/vnd.ms-excel;base64,{PDF}"},
                        }
                    ]
                )
            ]
        },
        "messages[0].content[0]",
    ),
    "an audio format": (
        {
            "messages": [
                user([{"type": "input_audio", "input_audio": {"data": PNG, "format": "amr"}}])
            ]
        },
        "messages[0].content[0]",
    ),
    "a part of unknown type": (
        {"messages": [user("a"), user([{"type": "hologram"}])]},
        "messages[1].content[0]",
    ),
    "an earlier spoken answer": (
        {"messages": [user("a"), {"role": "assistant", "audio": {"id": "audio_1"}}, user("b")]},
        "messages[1].audio",
    ),
    "a picture among the instructions": (
        {
            "messages": [
                {
                    "role": "system",
                    "content": [
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
                    ],
                }
            ]
        },
        "messages[0]",
    ),
    "a custom tool": (
        {"messages": [user("a")], "tools": [{"type": "custom", "custom": {"name": "f"}}]},
        "tools[0]",
    ),
    "old-style functions": ({"messages": [user("a")], "functions": [{"name": "f"}]}, "functions"),
    "several answers": ({"messages": [user("a")], "n": 2}, "n"),
    "a spoken answer": ({"messages": [user("a")], "modalities": ["text", "audio"]}, "modalities"),
    "nothing at all": ({"messages": [user("")]}, "messages"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_content_that_gemini_cannot_express_is_named(name: str) -> None:
    body, param = UNFIT[name]
    with pytest.raises(BackendUnfit) as caught:
        encode(ChatRequest(checked(body)), NEW)
    assert (caught.value.param, caught.value.status) == (param, 400)


def test_a_signature_goes_back_with_its_call_and_no_placeholder_beside_it() -> None:
    vault = {"c1": {SIGNATURE: "QUJD"}}
    messages = [user("a"), assistant(None, ("c1", "f", "{}"), ("c2", "f", "{}")), result("c1", "1")]
    body = encode(request_of(*messages), NEW, recall=vault.get).body
    assert body["contents"][1] == turn("model", call("c1", "f", {}, "QUJD"), call("c2", "f", {}))
    assert_valid(body)


def test_the_strict_form_does_without_signatures_that_may_have_been_refused() -> None:
    request = request_of(user("a"), assistant(None, ("c1", "f", "{}")), result("c1", "1"))
    body = encode(request, NEW, recall={"c1": {SIGNATURE: "QUJD"}}.get, strict=True).body
    assert body["contents"][1] == turn("model", call("c1", "f", {}, NO_SIGNATURE))


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-2.0-flash", "gemma-3-27b-it"])
def test_models_that_need_no_signature_get_no_placeholder(model: str) -> None:
    body = body_of(user("a"), assistant(None, ("c1", "f", "{}")), result("c1", "1"), model=model)
    assert body["contents"][1] == turn("model", call("c1", "f", {}))


def test_the_placeholder_is_the_documented_one() -> None:
    documented = types.Part(text="x", thought_signature=b"skip_thought_signature_validator")
    assert documented.model_dump(mode="json")["thought_signature"] == NO_SIGNATURE


def test_the_callers_request_is_left_as_it_was() -> None:
    request = request_of(
        user("a"),
        assistant("b", ("c1", "f", "{}")),
        result("c1", "1"),
        user("c"),
        tools=[function("f", parameters=WEATHER)],
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": WEATHER}},
    )
    before = orjson.dumps(request.body)
    encode(request, NEW)
    encode(request, NEW, strict=True)
    assert orjson.dumps(request.body) == before


def test_importing_the_format_does_not_import_the_sdk() -> None:
    code = (
        "import sys, router.wire.gemini.generate_content; sys.exit('google.genai' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=paths.ROOT)


def test_every_failure_is_a_router_error() -> None:
    assert issubclass(generate_content.Malformed, BackendBroken)
    assert issubclass(generate_content.UnknownGeminiModel, RouterError)
