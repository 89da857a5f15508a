"""Recognising a conversation by the history that its caller sends."""

from typing import Any

import pytest

from router.request import ChatRequest
from router.sides.conversations import (
    GIST_CHARS,
    MOST_MESSAGES,
    Conversations,
    Memory,
    in_tool_loop,
    marks_of,
    prefixes_of,
)

QUESTION = {"role": "user", "content": "Prove it."}
ANSWER = {"role": "assistant", "content": "Since..."}


def prefixes(*messages: dict[str, Any]) -> list[bytes]:
    return prefixes_of(ChatRequest({"messages": list(messages)}))


def store(limit: int = 10) -> Conversations:
    return Conversations(limit, clock=lambda: 0)


def test_the_next_turn_finds_the_last_answer() -> None:
    conversations = store()
    memory = conversations.memory("cloud", escalated=True)
    conversations.remember(prefixes(QUESTION), memory)
    later = prefixes(QUESTION, ANSWER, {"role": "user", "content": "and now?"})
    assert conversations.recall(later) == memory


def test_a_changing_system_prompt_does_not_make_it_another_conversation() -> None:
    conversations = store()
    memory = conversations.memory("local", escalated=False)
    noon, one = ({"role": "system", "content": f"It is {t} o'clock."} for t in (12, 1))
    conversations.remember(prefixes(noon, QUESTION), memory)
    assert conversations.recall(prefixes(one, QUESTION, ANSWER, QUESTION)) == memory


def test_a_tool_loop_is_one_conversation() -> None:
    conversations = store()
    memory = conversations.memory("cloud", escalated=False)
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1"}]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "42"}
    conversations.remember(prefixes(QUESTION, call, result), memory)
    assert conversations.recall(prefixes(QUESTION, call, result, ANSWER, QUESTION)) == memory


def test_another_answer_makes_another_conversation() -> None:
    conversations = store()
    first, second = (conversations.memory(t, escalated=False) for t in TARGETS)
    other = {"role": "assistant", "content": "No."}
    conversations.remember(prefixes(QUESTION, ANSWER, QUESTION), first)
    conversations.remember(prefixes(QUESTION, other, QUESTION), second)
    assert conversations.recall(prefixes(QUESTION, ANSWER, QUESTION, ANSWER, QUESTION)) == first


def test_a_conversation_that_was_never_seen_is_not_found() -> None:
    conversations = store()
    conversations.remember(prefixes(QUESTION), conversations.memory("local", escalated=False))
    assert conversations.recall(prefixes({"role": "user", "content": "Hello"})) is None
    assert conversations.recall([]) is None


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


LONG = "x" * 3 * GIST_CHARS


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([user("a")], [user("b")]),
        ([user("a")], [{"role": "tool", "content": "a"}]),
        ([user(LONG + "a")], [user(LONG + "b")]),
        ([user("a" + LONG)], [user("b" + LONG)]),
        ([user("a" + LONG + "b")], [user("a" + LONG + "xb")]),
        ([user("a"), ANSWER, user("b")], [user("a"), user("b")]),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
            [{"role": "user", "content": [{"type": "text", "text": "b"}]}],
        ),
        (
            [{"role": "user", "content": [{"type": "image_url"}]}],
            [{"role": "user", "content": [{"type": "input_audio"}]}],
        ),
        (
            [
                user("a"),
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                user("b"),
            ],
            [
                user("a"),
                {"role": "assistant", "content": None, "tool_calls": [{"id": "2"}]},
                user("b"),
            ],
        ),
    ],
    ids=[
        *("text", "role", "end of a long text", "start of a long text", "length of a long text"),
        *("an answer in between", "text of a part", "kind of a part", "tool calls"),
    ],
)
def test_different_conversations_have_different_memories(
    one: list[dict[str, Any]], other: list[dict[str, Any]]
) -> None:
    assert prefixes(*one)[-1] != prefixes(*other)[-1]


def test_only_messages_of_the_caller_end_a_prefix() -> None:
    assert len(prefixes({"role": "system", "content": "s"}, QUESTION, ANSWER, user("b"))) == 2
    assert len(prefixes(*[QUESTION] * (MOST_MESSAGES + 5))) == MOST_MESSAGES


def test_the_middle_of_a_long_text_is_not_read() -> None:
    half = "x" * GIST_CHARS
    assert prefixes(user(f"{half}a{half}")) == prefixes(user(f"{half}b{half}"))
    assert prefixes(user(f"{half[1:]}a{half}")) != prefixes(user(f"{half[1:]}b{half}"))


def test_the_latest_of_several_memories_is_found() -> None:
    conversations = store()
    first, second = (conversations.memory(t, escalated=False) for t in TARGETS)
    history = [QUESTION, ANSWER, user("and now?")]
    conversations.remember(prefixes(QUESTION), first)
    conversations.remember(prefixes(*history), second)
    assert conversations.recall(prefixes(*history, ANSWER, user("why?"))) == second


def test_a_full_memory_forgets_the_oldest_conversation() -> None:
    conversations = store(limit=2)
    memory = conversations.memory("local", escalated=False)
    for text in ("0", "1", "0", "2"):
        conversations.remember(prefixes(user(text)), memory)
    found = [conversations.recall(prefixes(user(text))) for text in ("0", "1", "2")]
    assert found == [memory, None, memory]


def test_a_memory_holds_the_side_the_time_and_the_failure() -> None:
    memory = store().memory("cloud", escalated=True)
    assert memory == Memory("cloud", 0, escalated=True)


@pytest.mark.parametrize(("after_s", "warm"), [(0, True), (299.9, True), (300, False)])
def test_a_cloud_keeps_a_prompt_cached_for_five_minutes(after_s: float, warm: bool) -> None:
    now = 1000.0
    conversations = Conversations(clock=lambda: now)
    memory = conversations.memory("cloud", escalated=False)
    now += after_s
    assert conversations.is_warm(memory) is warm


@pytest.mark.parametrize(
    ("messages", "loop"),
    [
        ([QUESTION], False),
        ([QUESTION, ANSWER], False),
        ([QUESTION, ANSWER, {"role": "tool", "content": "42"}], True),
        ([QUESTION, {"role": "function", "content": "42"}], True),
        ([QUESTION, {"role": "tool", "content": "42"}, user("go on")], False),
        ([QUESTION, {"role": "tool", "content": "42"}, user("")], True),
        ([{"role": "system", "content": "Be brief."}] * 3, False),
        ([], False),
    ],
)
def test_a_tool_loop_is_a_turn_that_goes_on_with_results(
    messages: list[dict[str, Any]], loop: bool
) -> None:
    assert in_tool_loop(ChatRequest({"messages": messages})) is loop


def test_that_the_local_model_has_failed_is_not_forgotten_when_another_answer_ends_later() -> None:
    conversations = store()
    conversations.remember(prefixes(QUESTION), conversations.memory("cloud", escalated=True))
    conversations.remember(prefixes(QUESTION), conversations.memory("local", escalated=False))
    memory = conversations.recall(prefixes(QUESTION))
    assert memory is not None
    assert (memory.target, memory.escalated) == ("local", True)


def marks(*messages: dict[str, Any]) -> set[bytes]:
    return set(marks_of(ChatRequest({"messages": list(messages)})).own)


def known_by(*messages: dict[str, Any]) -> set[bytes]:
    return set(marks_of(ChatRequest({"messages": list(messages)})).all)


CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "call_x1"}]}
RESULT = {"role": "tool", "tool_call_id": "call_x1", "content": "42"}
TASK = {"role": "user", "content": "Look into the settings of this project, please."}


def test_a_conversation_is_known_by_each_of_its_messages() -> None:
    whole = marks(TASK, CALL, RESULT, ANSWER, {"role": "user", "content": "and now?"})
    for trimmed in ([CALL], [RESULT], [TASK], [ANSWER, {"role": "user", "content": "and now?"}]):
        assert whole & known_by(*trimmed, {"role": "user", "content": "Something else entirely?"})


def test_a_tool_result_that_was_cleared_does_not_hide_the_conversation() -> None:
    cleared = RESULT | {"content": "[Old tool result content cleared]"}
    assert marks(TASK, CALL, RESULT) & known_by(CALL, cleared)


def test_short_and_repeated_messages_do_not_identify_a_conversation() -> None:
    preface = {
        "role": "user",
        "content": "<environment>the same in every conversation</environment>",
    }
    go_on = {"role": "user", "content": "go on"}
    first = marks({"role": "system", "content": "Be helpful."}, preface, TASK, ANSWER, go_on)
    other = {"role": "user", "content": "Another question of some length, about something else."}
    second = known_by(
        {"role": "system", "content": "Be helpful."},
        preface,
        other,
        {"role": "assistant", "content": "Because."},
        go_on,
    )
    assert not first & second


def test_an_exchange_of_greetings_does_not_identify_a_conversation() -> None:
    hi = {"role": "user", "content": "Hi!"}
    hello = {"role": "assistant", "content": "Hello! How can I assist you today?"}
    other = {"role": "user", "content": "What is the tallest mountain of all?"}
    assert marks(hi, hello, TASK) == marks(TASK)
    assert not marks(hi, hello, TASK, ANSWER) & known_by(hi, hello, other)
    assert marks(TASK, hello) & known_by(hello, other)


def test_the_same_question_about_another_file_is_another_conversation() -> None:
    def asking(data: str) -> dict[str, Any]:
        file = {"type": "file", "file": {"filename": "a.txt", "file_data": data}}
        return {"role": "user", "content": [{"type": "text", "text": "Look at this file."}, file]}

    assert not marks(asking("data:text/plain,one")) & marks(asking("data:text/plain,two"))


def test_marks_of_a_very_long_conversation_are_of_its_beginning_and_its_end() -> None:
    said = [
        {"role": "user" if n % 2 else "assistant", "content": f"{n} " * 20} for n in range(2000)
    ]
    found = marks(*said)
    assert len(found) <= 800
    assert found & marks(said[0])
    assert found & marks(said[-1])


TARGETS: tuple[Any, ...] = ("local", "cloud")
