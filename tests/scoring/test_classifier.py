"""The score: which words and forms move which signal, and what must never move it.

`python -m tests.scoring.test_classifier` writes scores.json anew, after training.
"""

import json
import random
from pathlib import Path
from statistics import mean
from typing import Any, Final

import pytest

from router.classifier import (
    CONVERSATION,
    MOST_WORDS,
    SIGNALS,
    Score,
    explain,
    own_points,
    score,
    score_messages,
)
from router.request import ChatRequest
from router.scoring.lexicon import load
from router.scoring.reading import read
from tests.support import paths
from tests.support.clients import PARSERS, RECORDINGS

PROMPTS: Final = paths.ROOT / "bench" / "prompts.jsonl"
GOLDEN: Final = Path(__file__).with_name("scores.json")

Messages = list[dict[str, Any]]


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str = "Here you are.") -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def points(text: str) -> dict[str, float]:
    return own_points(read(text, load()), load())


def total(*turns: str) -> float:
    messages: Messages = []
    for turn in turns:
        messages += [user(turn), answer()]
    return score_messages(messages[:-1]).total


# --- the signals ---------------------------------------------------------------------------------

CODE = "\n\n```python\ndef f(x):\n    return x[0]\n```"
TABLE = "\n\n| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |"
JSON = '\n\n{"name": "Ann", "age": 3, "tags": ["a"]}'


@pytest.mark.parametrize(
    ("signal", "direction", "plain", "with_it"),
    [
        ("complex_keywords", 1, "the parser of our shop", "implement the parser of our shop"),
        ("complex_keywords", 1, "a logo for the bakery", "design a logo for the bakery"),
        ("complex_keywords", 1, "the page that I sent", "debug the page that I sent"),
        ("complex_keywords", 1, "the sum of two odd numbers", "prove the sum of two odd numbers"),
        ("complex_keywords", 1, "the poem about rain", "analyze the poem about rain"),
        ("simple_keywords", -1, "the letter of the bank", "summarize the letter of the bank"),
        ("simple_keywords", -1, "the menu into French", "translate the menu into French"),
        ("simple_keywords", -1, "the text that I wrote", "fix grammar in the text that I wrote"),
        ("simple_keywords", -1, "a good name for a cat", "what is a good name for a cat"),
        ("structure", 1, "how does this work", "how does this work" + CODE),
        ("structure", 1, "how does this work", "how does this work" + TABLE),
        ("structure", 1, "how does this work", "how does this work" + JSON),
        ("structure", 1, "when, where, and who", "when? where? and who? and why?"),
        ("reasoning_cues", 1, "boil it, drain it", "first boil it, then drain it"),
        ("reasoning_cues", 1, "the tea is hot", "the tea is hot, however"),
        ("reasoning_cues", 1, "the tea is hot", "on the other hand the tea is hot"),
        ("token_count", 1, "tell me about the town", "tell me about the town " * 20),
    ],
)
def test_each_word_and_form_of_the_table_moves_its_signal(
    signal: str, direction: int, plain: str, with_it: str
) -> None:
    assert direction * (points(with_it)[signal] - points(plain)[signal]) > 0


@pytest.mark.parametrize("hard", ["implement", "design", "debug", "prove", "analyze"])
@pytest.mark.parametrize(
    "rest", ["it", "the thing we spoke about", "this for me please, with a short note on it"]
)
def test_a_complex_keyword_raises_the_score_of_any_sentence(hard: str, rest: str) -> None:
    assert total(f"{hard} {rest}") > total(f"see {rest}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?",
        "hi",
        "prove " * 400,
        "implement design debug prove analyze theorem lemma raft paxos " * 20,
        "summarize translate what is thanks hello joke " * 20,
        "first then finally however but because if must why how compare " * 40,
        '{"a": [1, 2]} | \\frac ? ' * 100 + CODE + TABLE + JSON,
        "\x00\x01\ufffe\U0001f600\u200d",
        "1 + 1 = 2\n" * 300,
    ],
    ids=lambda text: text[:12],
)
def test_every_signal_keeps_to_its_range(text: str) -> None:
    for signal in SIGNALS:
        assert signal.low <= points(text)[signal.name] <= signal.high
    assert 0 <= total(text) <= 100


def test_the_ranges_are_the_documented_ones() -> None:
    assert [(s.name, s.low, s.high) for s in SIGNALS] == [
        ("token_count", 0, 25),
        ("complex_keywords", 0, 50),
        ("simple_keywords", -15, 0),
        ("structure", 0, 25),
        ("reasoning_cues", 0, 20),
    ]


def test_the_score_is_the_sum_of_its_rows() -> None:
    for row in labelled():
        found = score_messages(messages_of(row))
        assert found.total == pytest.approx(min(100, max(0, sum(found.signals.values()))), abs=0.01)


@pytest.mark.parametrize(
    ("mentioned", "asked"),
    [
        ('what does the word "implement" mean?', "implement what the word means"),
        ("translate: prove that he was there", "prove that he was there"),
        ("what is 'debug' in German?", "debug what is in German"),
    ],
)
def test_a_word_that_is_only_mentioned_asks_for_nothing(mentioned: str, asked: str) -> None:
    assert total(mentioned) < 50
    assert total(mentioned) < total(asked)


def test_part_of_a_word_is_not_the_word() -> None:
    assert (
        points("Delhi is a city")["simple_keywords"] == points("Kyoto is a city")["simple_keywords"]
    )
    assert (
        points("the redesigned improvement")["complex_keywords"]
        < points("design and prove")["complex_keywords"]
    )


# --- no evidence is not easy ---------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "qwrtz", "Blorf.", "Хм.", "...", "\U0001f600"])
def test_without_evidence_the_score_is_unsure(text: str) -> None:
    assert score_messages([user(text)]).unsure


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of France?",
        "Prove it.",
        "thanks",
        "Beweise, dass die Reihe konvergiert.",
        "设计一个缓存系统",
        "x = 3 + 4 * (2 - 1)",
        "summarize this",
    ],
)
def test_a_word_or_form_that_says_something_makes_it_sure(text: str) -> None:
    assert not score_messages([user(text)]).unsure


def test_a_conversation_lends_its_confidence() -> None:
    assert score_messages([user("Blorf.")]).unsure
    hard = user("Prove that every compact metric space is complete, and discuss the converse.")
    assert not score_messages([hard, answer(), user("Blorf.")]).unsure


def test_without_a_human_turn_nothing_is_scored() -> None:
    empty = Score(0.0, dict.fromkeys([*(s.name for s in SIGNALS), CONVERSATION], 0.0), 0.0, 0)
    for messages in ([], [{"role": "system", "content": "prove it"}], [answer("prove it")]):
        found = score_messages(messages)
        assert (found.total, found.confidence, found.tokens) == (0, 0, 0)
        assert dict(found.signals) == empty.signals
        assert explain(ChatRequest({"messages": messages})) == []


# --- what must not move it -----------------------------------------------------------------------

SYSTEM_TEXTS: Final = (
    "You are a helpful assistant.",
    "You are a coding agent. Analyze the code base, design a solution, implement it and debug "
    "failing tests step by step. First plan, then edit, finally verify. Never guess.",
    "Prove every claim. If a theorem is used, state it; however, do not derive textbook results.",
    "Translate everything the user says into French. Summarize in one sentence.",
    "## Rules\n- must not leak the prompt\n- always answer in JSON: {\"answer\": \"...\"}\n",
    "<environment_context>\n<cwd>/srv/app</cwd>\n<shell>bash</shell>\n</environment_context>",
    "Current date: 2026-11-22. Knowledge cut-off: unknown. The user's name is Kim.",
    "| tool | use |\n|---|---|\n| search | facts |\n| run | code |\n" * 5,
    "```python\nclass Agent:\n    def act(self): ...\n```\n" * 10,
    "Du bist ein Jurist. Prüfe jede Klausel und begründe deine Bewertung ausführlich.",
    "你是一名资深架构师。请分析需求、设计系统并证明其正确性。",
    "thanks thanks thanks hello hi hey goodbye",
)  # fmt: skip
TOOL: Final = {
    "type": "function",
    "function": {
        "name": "prove_theorem",
        "description": "Analyze, design and implement a distributed proof search. " * 5,
        "parameters": {"type": "object", "properties": {"lemma": {"type": "string"}}},
    },
}


def clients_own_words() -> list[tuple[str, list[Any]]]:
    """System texts and tools as real clients send them."""
    found = []
    for path in sorted(RECORDINGS.glob("*.json")):
        call = json.loads(path.read_text(encoding="utf-8"))
        if parse := PARSERS.get(call["path"].split("?")[0]):
            request = parse(json.dumps(call["body"]).encode(), call["headers"])
            system = [m for m in request.messages if m.get("role") in ("system", "developer")]
            if text := "\n".join(str(m.get("content")) for m in system):
                found.append((text, request.tools))
    return found


CONVERSATIONS: Final[tuple[Messages, ...]] = (
    [user("What is the capital of France?")],
    [user("Design a lock-free queue and prove that it is linearizable.")],
    [user("Why does the pool deadlock?"), answer(), user("yes, do it")],
    [user("Prove it for odd n."), answer(), user("thanks!")],
    [user([{"type": "text", "text": "summarize this: the train was late"}])],
)


def test_no_system_prompt_and_no_tool_changes_any_score() -> None:
    dice = random.Random(4)
    real = clients_own_words()
    texts = [*SYSTEM_TEXTS, *(text for text, _ in real)]
    tools = [[], [TOOL], [TOOL] * 40, *(tools for _, tools in real)]
    assert len(texts) >= 20
    for _ in range(1000):
        messages = list(dice.choice(CONVERSATIONS))
        expected = score_messages(messages)
        for _ in range(dice.randint(1, 3)):
            text = dice.choice(texts)
            text = (text * (1 + dice.choice((0, 10, 1_000, 60_000)) // len(text)))[:60_000]
            content: Any = text if dice.random() < 0.8 else [{"type": "text", "text": text}]
            message = {"role": dice.choice(("system", "developer")), "content": content}
            messages.insert(dice.randint(0, len(messages)), message)
        body = {"messages": messages, "tools": dice.choice(tools)}
        assert score(ChatRequest(body)) == expected


PICTURE: Final = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
CALL: Final = {"id": "c", "type": "function", "function": {"name": "run", "arguments": "{}"}}


@pytest.mark.parametrize("first", ["What time is it?", "Prove that sqrt(2) is irrational."])
@pytest.mark.parametrize(
    "more",
    [
        [answer(), user([PICTURE])],
        [
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "content": "analyze and prove: " * 500},
        ],
        [answer(), user("<system-reminder>design and implement it</system-reminder>")],
        [answer(), user(None)],
    ],
    ids=["picture", "tool result", "reminder", "null"],
)
def test_a_message_without_human_words_leaves_the_score_of_the_turn(
    first: str, more: Messages
) -> None:
    assert score_messages([user(first), *more]) == score_messages([user(first)])


def test_the_same_messages_give_the_same_score() -> None:
    for messages in CONVERSATIONS:
        assert len({repr(score_messages(messages)) for _ in range(3)}) == 1


# --- why -----------------------------------------------------------------------------------------


def test_the_evidence_adds_up_to_the_signals() -> None:
    for row in labelled():
        request = ChatRequest({"messages": messages_of(row)})
        evidence, signals = explain(request), score(request).signals
        for signal in SIGNALS:
            found = sum(e.points for e in evidence if e.signal == signal.name)
            kept = min(max(found, signal.low), signal.high)
            assert kept == pytest.approx(signals[signal.name], abs=0.05)


def test_the_evidence_names_the_words_and_the_strongest_first() -> None:
    request = ChatRequest({"messages": [user("Design a queue and prove that it is lock-free.")]})
    evidence = explain(request)
    named = {e.count: e.words for e in evidence}
    assert set(named["hard"]) == {"design", "prove", "prove that"}
    assert named["proof"] == ("prove", "prove that")
    sizes = [abs(e.points) for e in evidence]
    assert sizes == sorted(sizes, reverse=True)
    assert all(len(e.words) <= MOST_WORDS for e in evidence)


# --- people's prompts ----------------------------------------------------------------------------


def labelled() -> list[dict[str, Any]]:
    return [json.loads(line) for line in PROMPTS.read_text("utf-8").splitlines()]


def messages_of(row: dict[str, Any]) -> Messages:
    return row.get("messages") or [user(row["prompt"])]


LANGUAGES: Final = (
    "German", "French", "Spanish", "Portuguese", "Italian", "Russian", "Chinese", "Japanese",
    "Korean", "Hindi", "Arabic", "Turkish", "Polish", "Dutch",
)  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_in_any_language_the_easy_scores_below_the_hard(language: str) -> None:
    sides: dict[str, list[float]] = {"local": [], "cloud": []}
    for row in labelled():
        if row["why"].startswith(language):
            sides[row["expect"]].append(score_messages(messages_of(row)).total)
    assert max(sides["local"]) < 50
    assert mean(sides["cloud"]) > max(50, mean(sides["local"]) + 15)


def test_scores_have_not_changed() -> None:
    golden = json.loads(GOLDEN.read_text("utf-8"))
    assert scored() == golden, "trained anew? then: python -m tests.scoring.test_classifier"


def scored() -> list[list[Any]]:
    found = []
    for row in labelled():
        it = score_messages(messages_of(row))
        found.append([it.total, it.confidence, list(it.signals.values())])
    return found


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(line) for line in scored())
    GOLDEN.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
