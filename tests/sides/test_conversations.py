"""Recognising a conversation by the history that its caller sends."""

from typing import Any

from router.request import ChatRequest
from router.sides.conversations import CACHE_LIVES_S, Conversations, prefixes_of

QUESTION = {"role": "user", "content": "Prove it."}
ANSWER = {"role": "assistant", "content": "Since..."}


def prefixes(*messages: dict[str, Any]) -> list[bytes]:
    return prefixes_of(ChatRequest({"messages": list(messages)}))


def store(limit: int = 10) -> Conversations:
    return Conversations(limit, clock=lambda: 0)


def test_the_next_turn_finds_the_last_answer() -> None:
    conversations = store()
    memory = conversations.memory("cloud", escalated=True, private=None)
    conversations.remember(prefixes(QUESTION), memory)
    later = prefixes(QUESTION, ANSWER, {"role": "user", "content": "and now?"})
    assert conversations.recall(later) == memory


def test_a_changing_system_prompt_does_not_make_it_another_conversation() -> None:
    conversations = store()
    memory = conversations.memory("local", escalated=False, private=None)
    noon, one = ({"role": "system", "content": f"It is {t} o'clock."} for t in (12, 1))
    conversations.remember(prefixes(noon, QUESTION), memory)
    assert conversations.recall(prefixes(one, QUESTION, ANSWER, QUESTION)) == memory


def test_a_tool_loop_is_one_conversation() -> None:
    conversations = store()
    memory = conversations.memory("cloud", escalated=False, private=None)
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1"}]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "42"}
    conversations.remember(prefixes(QUESTION, call, result), memory)
    assert conversations.recall(prefixes(QUESTION, call, result, ANSWER, QUESTION)) == memory


def test_another_answer_makes_another_conversation() -> None:
    conversations = store()
    first, second = (conversations.memory(t, escalated=False, private=None) for t in TARGETS)
    other = {"role": "assistant", "content": "No."}
    conversations.remember(prefixes(QUESTION, ANSWER, QUESTION), first)
    conversations.remember(prefixes(QUESTION, other, QUESTION), second)
    assert conversations.recall(prefixes(QUESTION, ANSWER, QUESTION, ANSWER, QUESTION)) == first


def test_a_conversation_that_was_never_seen_is_not_found() -> None:
    conversations = store()
    conversations.remember(
        prefixes(QUESTION), conversations.memory("local", escalated=False, private=None)
    )
    assert conversations.recall(prefixes({"role": "user", "content": "Hello"})) is None
    assert conversations.recall([]) is None


def test_the_oldest_are_forgotten() -> None:
    conversations = store(limit=2)
    memory = conversations.memory("local", escalated=False, private=None)
    for n in range(3):
        conversations.remember(prefixes({"role": "user", "content": str(n)}), memory)
    assert conversations.recall(prefixes({"role": "user", "content": "0"})) is None
    assert conversations.recall(prefixes({"role": "user", "content": "2"})) == memory


def test_a_cache_is_taken_to_be_warm_for_a_few_minutes() -> None:
    now = 0.0
    conversations = Conversations(clock=lambda: now)
    memory = conversations.memory("cloud", escalated=False, private=None)
    now = CACHE_LIVES_S - 1
    assert conversations.is_warm(memory)
    now = CACHE_LIVES_S + 1
    assert not conversations.is_warm(memory)


TARGETS: tuple[Any, ...] = ("local", "cloud")
