"""The question about an answer, and the probability of its yes."""

import math
from typing import Any

import pytest

from router.answers.self_check import QUESTION, probability_of_yes, self_check
from router.request import ChatRequest

USER = {"role": "user", "content": "2+2?"}
TOOL = {"type": "function", "function": {"name": "look"}}


def document(**probabilities: float) -> dict[str, Any]:
    listed = [{"token": t, "logprob": math.log(p)} for t, p in probabilities.items()]
    return {"choices": [{"logprobs": {"content": [{"top_logprobs": listed}]}}]}


def test_the_question_follows_the_conversation_and_the_answer() -> None:
    asked = ChatRequest({"messages": [USER], "max_tokens": 900, "stream": True, "tools": [TOOL]})
    check = self_check(asked, "4")
    said = {"role": "assistant", "content": "4"}
    assert check.messages == [USER, said, {"role": "user", "content": QUESTION}]
    assert (check.stream, check.max_tokens, check.tools) == (False, 1, [TOOL])
    assert check.body["tool_choice"] == "none"


def test_a_yes_is_weighed_against_a_no_in_every_spelling() -> None:
    found = document(**{"Y": 0.4, " yes": 0.2, "N": 0.15, "No": 0.05, "The": 0.2})
    assert probability_of_yes(found) == pytest.approx(0.75)


@pytest.mark.parametrize(
    "found",
    [
        document(The=0.9, Y=0.05),
        {"choices": [{"message": {"content": "Y"}}]},
        {"choices": [{"logprobs": {"content": []}}]},
        {"choices": [{"logprobs": {"content": [{"top_logprobs": [7, {"token": 7}]}]}}]},
        {},
    ],
)
def test_an_answer_without_a_probability_says_nothing(found: dict[str, Any]) -> None:
    assert probability_of_yes(found) is None
