import json
import time
from typing import Any

import pytest

from router.errors import InvalidRequest
from router.request import ChatRequest, checked
from router.scoring.turns import (
    DROPPED,
    PROSE,
    RESTARTS,
    UNWRAPPED,
    human_text,
    human_turns,
    stripped,
)
from tests.support.clients import PARSERS, RECORDINGS


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def answer(text: str = "Done.") -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [turn.text for turn in human_turns(messages)]


def recorded() -> list[Any]:
    found = []
    for path in sorted(RECORDINGS.glob("*.json")):
        call = json.loads(path.read_text(encoding="utf-8"))
        if call["path"].split("?")[0] in PARSERS and call["human"] is not None:
            found.append(pytest.param(call, id=path.stem))
    return found


@pytest.mark.parametrize("call", recorded())
def test_the_text_typed_into_a_real_client_is_the_last_turn(call: dict[str, Any]) -> None:
    parse = PARSERS[call["path"].split("?")[0]]
    request = parse(json.dumps(call["body"]).encode(), call["headers"])
    assert texts(request.messages)[-1] == call["human"].strip('"')


@pytest.mark.parametrize("envelope", DROPPED, ids=lambda e: e.name)
def test_an_envelope_is_dropped_wherever_it_stands(envelope: Any) -> None:
    close = f"</{envelope.name}>"
    block = f"<{envelope.name}>\nanalyze <b>this</b> and prove it\n{close}"
    assert stripped(f"{block}\nfix the typo") == "fix the typo"
    assert stripped(f"fix the typo\n\n{block}") == "fix the typo"
    assert stripped(f"fix {block}the typo") == "fix the typo"
    assert stripped(block) == ""


@pytest.mark.parametrize("envelope", UNWRAPPED, ids=lambda e: e.name)
def test_a_wrapper_around_the_humans_words_is_removed(envelope: Any) -> None:
    wrapped = f"<{envelope.name}>\nfix the typo\n</{envelope.name}>"
    assert stripped(wrapped) == "fix the typo"
    rest = "<environment_details>\n# Visible files\na.py\n</environment_details>"
    assert stripped(f"{wrapped}\n\n{rest}") == "fix the typo"


@pytest.mark.parametrize(
    "start", [p for p in PROSE if p.name not in RESTARTS], ids=lambda e: e.name[:30]
)
def test_text_of_a_program_is_no_turn(start: Any) -> None:
    messages = [user("prove it"), answer(), user(f"{start.name} and so on: analyze everything.")]
    assert texts(messages) == ["prove it"]


def test_markup_of_the_humans_own_stays() -> None:
    html = "why is <div class='context'>a</div> wider than <task-list>?"
    assert stripped(html) == html


def test_an_envelope_that_never_ends_is_text() -> None:
    text = "what does <system-reminder> mean in these logs?"
    assert stripped(text) == text


def test_metadata_fences_and_stamps_of_chat_bridges_are_dropped() -> None:
    text = (
        'Conversation info (untrusted metadata):\n```json\n{"message_id": "1"}\n```\n\n'
        'Sender (untrusted metadata):\n```json\n{"name": "Kim"}\n```\n\n'
        "[Wed 2026-02-11 09:12 UTC] say hello\n[message_id: abc-1]"
    )
    assert stripped(text) == "say hello"


def test_a_tool_report_in_a_user_message_is_no_turn() -> None:
    report = user("[read_file for 'src/a.py'] Result:\nimport os\n")
    assert texts([user("rename a.py"), answer(), report]) == ["rename a.py"]


def test_words_in_quotes_of_the_shell_are_the_words() -> None:
    assert stripped('"What does hello.py print?"') == "What does hello.py print?"
    assert stripped('"a" is not "b"') == '"a" is not "b"'


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "   \n",
        [],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}],
        [{"type": "text", "text": ""}],
        "<system-reminder>analyze it</system-reminder>",
        [{"type": "text", "text": "<environment_context>\n<cwd>/</cwd>\n</environment_context>"}],
    ],
    ids=["null", "empty", "blank", "no parts", "picture", "empty part", "reminder", "environment"],
)
def test_a_message_without_words_leaves_the_turn_before_it_standing(content: Any) -> None:
    assert texts([user("prove it"), answer(), user(content)]) == ["prove it"]
    assert texts([user(content)]) == []


def test_a_picture_with_words_is_a_turn() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    content = [picture, {"type": "text", "text": "what is this?"}]
    assert texts([user("prove it"), answer(), user(content)]) == ["prove it", "what is this?"]


def test_tool_results_are_never_read() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "run", "arguments": "{}"}}
    loop: list[dict[str, Any]] = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "analyze, prove and design it"},
    ]
    assert texts([user("run the tests"), *loop * 3]) == ["run the tests"]


def test_system_text_is_never_read_wherever_it_stands() -> None:
    system = {"role": "system", "content": "analyze"}
    developer = {"role": "developer", "content": "prove"}
    messages = [system, user("one"), developer, answer(), system, user("two"), developer]
    assert texts(messages) == ["one", "two"]


def test_two_user_messages_in_a_row_are_one_turn() -> None:
    assert texts([user("here is the file"), user("rename it")]) == ["here is the file\n\nrename it"]


def test_turns_come_oldest_first_and_not_without_end() -> None:
    messages = [message for i in range(50) for message in (user(f"turn {i}"), answer())]
    assert texts(messages) == [f"turn {i}" for i in range(44, 50)]


@pytest.mark.parametrize(
    "summary",
    [
        "Another language model started to solve this problem and produced a summary: x",
        "Summary of the conversation so far:\n\nThey want a kite.",
    ],
)
def test_a_summary_ends_the_turn_before_it(summary: str) -> None:
    assert texts([user("old words"), user(summary), user("new words")])[-1] == "new words"


def test_messages_before_a_switch_to_another_code_base_are_not_read() -> None:
    example = [user("Refactor hello() into its own file."), answer()]
    switch = [user("I switched to a new code base. Please don't consider the above."), answer()]
    assert texts([*example, *switch, user("fix the typo")]) == ["fix the typo"]


def test_the_size_of_a_turn_counts_what_is_pasted_into_it() -> None:
    (turn,) = human_turns([user("summarize:\n\n" + "word " * 20_000)])
    assert turn.tokens > 20_000


@pytest.mark.parametrize(
    "text",
    [
        "<system-reminder>" * 25_000,
        "</system-reminder>" * 25_000,
        "<" * 400_000,
        "<task>a</task>" * 30_000,
        "<task>" * 60_000 + "</task>",
        "<system-reminder>a</system-reminder>" * 12_000,
        "x (untrusted metadata):\n```" * 15_000,
        "[" * 400_000,
        '"' * 400_000,
        "[message_id: " * 30_000,
    ],
    ids=lambda text: text[:20],
)
def test_hostile_text_takes_no_longer_than_other_text(text: str) -> None:
    started = time.thread_time()
    human_text(text)
    assert time.thread_time() - started < 0.03


def test_content_must_be_text_a_list_or_null() -> None:
    with pytest.raises(InvalidRequest):
        checked({"messages": [{"role": "user", "content": 5}]})
    assert ChatRequest(checked({"messages": [user(None)]})).messages[0]["content"] is None
