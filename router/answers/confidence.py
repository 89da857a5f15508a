"""Measures how sure a local model was of its answer, from its own probabilities.

There are two signals, both log-odds that the answer is good enough. A calibration (calibration.py)
turns them into a probability:

- `words`: from the log-probabilities of the answer's tokens, without thoughts. It is the mean of
  the worst token and of the sum divided by the square root of the number of tokens. The sum alone
  falls with each token, so long answers would always look unsure. A mean hides one wrong word.
  The square root lies between the two, and was at least as good as either in measurements on
  answers of a word, a sentence and a paragraph.
- `check`: from the probability of a yes, when the model is asked whether its answer is right.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from router.backend import Token

Signal = Literal["words", "check"]

LEAST_LOGPROB: Final = -20.0
"""Lower values are raised to it: some servers report -9999 or -inf for an unrated token."""
_ENDS_OF_THOUGHTS: Final = (
    *("</think>", "</thinking>", "</thought>", "[/THINK]", "<|channel|>final<|message|>"),
)
_THOUGHTS: Final = ("<think>", "<thinking>", "<thought>", "[THINK]", "<|channel|>analysis")
MOST_LOG_ODDS: Final = 14.0
"""Limit of log-odds, for probabilities that are rounded to 0 or 1."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """Figures from the log-probabilities of an answer's tokens, in natural logarithms."""

    tokens: int
    worst: float
    total: float
    first_entropy: float | None = None
    """Entropy of the first token over the listed alternatives; None if none were listed."""

    @property
    def mean(self) -> float:
        """Return the mean log-probability of a token."""
        return self.total / self.tokens

    @property
    def score(self) -> float:
        """Return the signal `words`: log-odds, higher for a surer model."""
        return log_odds((self.worst + self.total / math.sqrt(self.tokens)) / 2)


def confidence(logprobs: Iterable[float], first: Sequence[float] = ()) -> Confidence | None:
    """Return the figures of an answer's log-probabilities; None if there are none.

    `first`: the log-probabilities of the first token and its alternatives.
    """
    tokens, total, worst = 0, 0.0, 0.0
    for logprob in logprobs:
        logprob = max(logprob, LEAST_LOGPROB) if logprob < 0 else 0.0
        tokens += 1
        total += logprob
        worst = min(worst, logprob)
    if not tokens:
        return None
    return Confidence(tokens, worst, total, _entropy(first) if len(first) > 1 else None)


def without_thoughts(tokens: Sequence[Token]) -> Sequence[Token]:
    """Return the tokens after the model's thoughts and the blanks that follow them.

    The list is empty if the thoughts have not ended.
    """
    text = "".join(token for token, _ in tokens)
    ends = [at + len(mark) for mark in _ENDS_OF_THOUGHTS if (at := text.rfind(mark)) >= 0]
    if not ends:
        return [] if text.lstrip().startswith(_THOUGHTS) else tokens
    at = 0
    for number, (token, _) in enumerate(tokens):
        if at >= max(ends) and token.strip():
            return tokens[number:]
        at += len(token)
    return []


def check_score(p_yes: float) -> float:
    """Return the signal `check` for the probability of a yes."""
    return log_odds(math.log(p_yes) if p_yes > 0 else -math.inf)


def log_odds(logprob: float) -> float:
    """Return the log-odds of a log-probability, within +-MOST_LOG_ODDS."""
    if logprob >= 0:
        return MOST_LOG_ODDS
    odds = logprob - math.log(-math.expm1(logprob))
    return max(-MOST_LOG_ODDS, min(MOST_LOG_ODDS, odds))


def _entropy(logprobs: Sequence[float]) -> float:
    return -sum(math.exp(one) * one for one in logprobs if one > LEAST_LOGPROB)
