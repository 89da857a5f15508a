"""The self-check: the local model is asked whether its own answer is right, Y or N.

Only the probability of its yes is used. The question follows the conversation and the answer, which
the server has in its prompt cache.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from router.request import ChatRequest

QUESTION: Final = (
    "Look at your last answer again. Is it correct and complete, and does it do what was asked?"
    " Reply with one letter: Y or N."
)
ALTERNATIVES: Final = 20
"""Alternatives for the first token that are asked for; both letters are nearly always there."""
LEAST_MASS: Final = 0.1
"""If yes and no together are less likely, the model did not answer the question."""
_YES: Final = frozenset({"y", "yes"})
_NO: Final = frozenset({"n", "no"})


def self_check(request: ChatRequest, answer: str) -> ChatRequest:
    """Return the request that asks the model about its answer."""
    asked = [{"role": "assistant", "content": answer}, {"role": "user", "content": QUESTION}]
    body: dict[str, Any] = {
        "messages": [*request.messages, *asked],
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": ALTERNATIVES,
    }
    if request.tools:  # part of the cached prompt
        body |= {"tools": request.tools, "tool_choice": "none"}
    return ChatRequest(body)


def probability_of_yes(document: Mapping[str, Any]) -> float | None:
    """Return P(yes) / (P(yes) + P(no)); None if the answer does not tell."""
    yes = no = 0.0
    for token, logprob in _first_alternatives(document):
        letter = token.strip(" \n\t\"'*.").lower()
        yes += math.exp(logprob) if letter in _YES else 0.0
        no += math.exp(logprob) if letter in _NO else 0.0
    return yes / (yes + no) if yes + no >= LEAST_MASS else None


def _first_alternatives(document: Mapping[str, Any]) -> list[tuple[str, float]]:
    match document:
        case {"choices": [{"logprobs": {"content": [{"top_logprobs": [*listed]}, *_]}}, *_]}:
            return [
                (one["token"], min(one["logprob"], 0.0))
                for one in listed
                if isinstance(one, dict)
                and isinstance(one.get("token"), str)
                and isinstance(one.get("logprob"), int | float)
            ]
    return []
